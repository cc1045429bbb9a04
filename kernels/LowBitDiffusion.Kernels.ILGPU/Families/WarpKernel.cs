using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>
/// The same convolution by products of a whole warp (<see cref="IWarpProducts"/>), which computes 32 rows × 32 columns:
/// <code>
///                 8 columns  8 columns  8 columns  8 columns       Lane 4·g + t of 32. Eight words of K at a time: it reads words t and t + 4 of rows
///                ┌──────────┬──────────┬──────────┬──────────┐     g, g + 8, g + 16, g + 24 of the input and of column g of each block of weights, which
///     16 rows    │  upper   │  upper   │  upper   │  upper   │     is just what its share of the product is: nothing passes from lane to lane. Words
///                ├──────────┼──────────┼──────────┼──────────┤     behind the end of a segment count as weights of zero; they are read at its last
///     16 rows    │  lower   │  lower   │  lower   │  lower   │     word, so that no lane takes another path.
///                └──────────┴──────────┴──────────┴──────────┘
/// </code>
/// The warps of a group lie above each other and read the same weights.
/// </summary>
internal static class WarpKernel
{
    internal const int Lanes = 32;
    internal const int Rows = 32;
    internal const int Columns = 32;

    private const int Step = 8;

    /// <summary>A lane's sums in a block of 32 rows × 8 columns.</summary>
    private readonly struct Sums(IntQuad upper, IntQuad lower)
    {
        internal readonly IntQuad Upper = upper, Lower = lower;
    }

    /// <summary>A lane's values in such a block.</summary>
    private readonly struct Values(FloatQuad upper, FloatQuad lower)
    {
        internal readonly FloatQuad Upper = upper, Lower = lower;
    }

    /// <summary>The words that a lane reads in one step: where they are, and whether they are there.</summary>
    private readonly struct Words(int first, int second, uint firstMask, uint secondMask)
    {
        internal readonly int First = first, Second = second;
        internal readonly uint FirstMask = firstMask, SecondMask = secondMask;
    }

    internal static void Run<TProducts, TInput, TWeights>(
        ArrayView<byte> input, ArrayView<uint> words, ArrayView<ushort> nibbles, ArrayView<uint> bases, ArrayView<int> sums, ArrayView<float> scales, ArrayView<int> runs, ArrayView<int> segments,
        ArrayView<float> quantizer, ArrayView<float> bias, ArrayView<float> imageVector, ArrayView<float> residual, ArrayView<float> output, LayerNumbers numbers)
        where TProducts : struct, IWarpProducts
        where TInput : struct, IInputWords
        where TWeights : struct, IWeightWords
    {
        int lane = Group.IdxX, g = lane / 4, t = lane % 4;
        int firstRow = ((Grid.IdxX * Group.DimY) + Group.IdxY) * Rows, column = Grid.IdxY * Columns;
        if (firstRow >= numbers.Rows) return;
        LayerViews views = new(input, words, nibbles, bases, sums, scales, runs, segments, quantizer, bias, imageVector, residual, output);
        IntQuad corners = new(
            LayerNumbers.Corner(numbers, firstRow + g), LayerNumbers.Corner(numbers, firstRow + g + 8),
            LayerNumbers.Corner(numbers, firstRow + g + 16), LayerNumbers.Corner(numbers, firstRow + g + 24));
        Values values0 = new(FloatQuad.Nothing, FloatQuad.Nothing), values1 = values0, values2 = values0, values3 = values0;
        int word = 0;
        for (int segment = 0; segment < numbers.Segments; segment++)
        {
            int end = views.Segments[2 * segment], range = views.Segments[(2 * segment) + 1], ranged = (segment * numbers.PaddedColumns) + column + g;
            WordQuad lowest = new(TWeights.Base(views, ranged), TWeights.Base(views, ranged + 8), TWeights.Base(views, ranged + 16), TWeights.Base(views, ranged + 24));
            Sums sums0 = default, sums1 = default, sums2 = default, sums3 = default;
            for (; word < end; word += Step)
            {
                int first = IntrinsicMath.Min(word + t, end - 1), second = IntrinsicMath.Min(word + t + 4, end - 1), run = views.Runs[first], further = views.Runs[second];
                Words at = new(
                    (first * numbers.PaddedColumns) + column + g, (second * numbers.PaddedColumns) + column + g, Mask(word + t < end), Mask(word + t + 4 < end));
                WordQuad upper = new(
                    TInput.Load(views.Input, corners.X + run), TInput.Load(views.Input, corners.Y + run),
                    TInput.Load(views.Input, corners.X + further), TInput.Load(views.Input, corners.Y + further));
                WordQuad lower = new(
                    TInput.Load(views.Input, corners.Z + run), TInput.Load(views.Input, corners.W + run),
                    TInput.Load(views.Input, corners.Z + further), TInput.Load(views.Input, corners.W + further));
                sums0 = Multiply<TProducts, TWeights>(views, at, 0, lowest.X, upper, lower, sums0);
                sums1 = Multiply<TProducts, TWeights>(views, at, 8, lowest.Y, upper, lower, sums1);
                sums2 = Multiply<TProducts, TWeights>(views, at, 16, lowest.Z, upper, lower, sums2);
                sums3 = Multiply<TProducts, TWeights>(views, at, 24, lowest.W, upper, lower, sums3);
            }

            word = end;
            int pair = column + (2 * t);
            values0 = Add(views, numbers, segment, range, pair, values0, sums0);
            values1 = Add(views, numbers, segment, range, pair + 8, values1, sums1);
            values2 = Add(views, numbers, segment, range, pair + 16, values2, sums2);
            values3 = Add(views, numbers, segment, range, pair + 24, values3, sums3);
        }

        Store(views, numbers, firstRow + g, column + (2 * t), values0);
        Store(views, numbers, firstRow + g, column + (2 * t) + 8, values1);
        Store(views, numbers, firstRow + g, column + (2 * t) + 16, values2);
        Store(views, numbers, firstRow + g, column + (2 * t) + 24, values3);
    }

    private static uint Mask(bool there) => there ? uint.MaxValue : 0;

    private static Sums Multiply<TProducts, TWeights>(in LayerViews views, Words words, int block, uint lowest, WordQuad upper, WordQuad lower, Sums sums)
        where TProducts : struct, IWarpProducts
        where TWeights : struct, IWeightWords
    {
        uint b = TWeights.Load(views, words.First + block, lowest) & words.FirstMask, further = TWeights.Load(views, words.Second + block, lowest) & words.SecondMask;
        return new Sums(TProducts.Add(upper, b, further, sums.Upper), TProducts.Add(lower, b, further, sums.Lower));
    }

    private static Values Add(in LayerViews views, in LayerNumbers numbers, int segment, int range, int column, Values values, Sums sums)
    {
        int left = Finish.Centre(views, numbers, segment, range, column), right = Finish.Centre(views, numbers, segment, range, column + 1);
        float leftFactor = Finish.Factor(views, numbers, segment, range, column), rightFactor = Finish.Factor(views, numbers, segment, range, column + 1);
        return new Values(Add(values.Upper, sums.Upper, left, right, leftFactor, rightFactor), Add(values.Lower, sums.Lower, left, right, leftFactor, rightFactor));
    }

    private static FloatQuad Add(FloatQuad values, IntQuad sums, int left, int right, float leftFactor, float rightFactor) => new(
        Finish.Add(values.X, sums.X, left, leftFactor), Finish.Add(values.Y, sums.Y, right, rightFactor),
        Finish.Add(values.Z, sums.Z, left, leftFactor), Finish.Add(values.W, sums.W, right, rightFactor));

    private static void Store(in LayerViews views, in LayerNumbers numbers, int row, int column, Values values)
    {
        Store(views, numbers, row, column, values.Upper);
        Store(views, numbers, row + 16, column, values.Lower);
    }

    private static void Store(in LayerViews views, in LayerNumbers numbers, int row, int column, FloatQuad values)
    {
        Finish.Store(views, numbers, row, column, values.X);
        Finish.Store(views, numbers, row, column + 1, values.Y);
        Finish.Store(views, numbers, row + 8, column, values.Z);
        Finish.Store(views, numbers, row + 8, column + 1, values.W);
    }
}
