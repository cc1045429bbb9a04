using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>
/// Convolution of u8 codes with s8 or 4-bit codes, implicit GEMM over a padded NHWC image; a linear layer is the 1×1 case. A thread has 4 × 4 sums in registers:
/// <code>
///                      columns: output channels                  Codes come four at a time in a 32-bit word. Weights are laid out [K/4][columns], and the
///                 16 threads  again       again       again      columns of a thread lie 16 apart, so that the threads of a line always read and write
///                ┌───────────┬───────────┬───────────┬─ ─ ─      neighbours; the word of the input is the same for all of them. Nothing is shared, so
///    line 0      │  4 rows   │           │           │           there is no barrier to wait at: the OpenCL that ILGPU writes orders global memory
///    rows:       ├───────────┼───────────┼───────────┼─ ─ ─      alone at a barrier.
///    output      │  line 1   │           │           │
///    pixels      └───────────┴───────────┴───────────┴─ ─ ─
/// </code>
/// </summary>
internal static class TileKernel
{
    internal const int Lanes = 16;
    internal const int Rows = 4;
    internal const int Columns = 4;

    internal static void Run<TProducts, TInput, TWeights>(
        ArrayView<byte> input, ArrayView<uint> words, ArrayView<ushort> nibbles, ArrayView<uint> bases, ArrayView<int> sums, ArrayView<float> scales, ArrayView<int> runs, ArrayView<int> segments,
        ArrayView<float> quantizer, ArrayView<float> bias, ArrayView<float> imageVector, ArrayView<float> residual, ArrayView<float> output, LayerNumbers numbers)
        where TProducts : struct, IByteProducts
        where TInput : struct, IInputWords
        where TWeights : struct, IWeightWords
    {
        int row = ((Grid.IdxX * Group.DimY) + Group.IdxY) * Rows, column = (Grid.IdxY * Lanes * Columns) + Group.IdxX;
        if (row >= numbers.Rows || column >= numbers.Columns) return;
        LayerViews views = new(input, words, nibbles, bases, sums, scales, runs, segments, quantizer, bias, imageVector, residual, output);
        IntQuad corners = new(
            LayerNumbers.Corner(numbers, row), LayerNumbers.Corner(numbers, row + 1), LayerNumbers.Corner(numbers, row + 2), LayerNumbers.Corner(numbers, row + 3));
        FloatQuad values0 = FloatQuad.Nothing, values1 = values0, values2 = values0, values3 = values0;
        int word = 0;
        for (int segment = 0; segment < numbers.Segments; segment++)
        {
            int end = views.Segments[2 * segment], range = views.Segments[(2 * segment) + 1], at = (segment * numbers.PaddedColumns) + column;
            WordQuad lowest = new(TWeights.Base(views, at), TWeights.Base(views, at + Lanes), TWeights.Base(views, at + (2 * Lanes)), TWeights.Base(views, at + (3 * Lanes)));
            IntQuad sums0 = default, sums1 = default, sums2 = default, sums3 = default;
            for (; word < end; word++)
            {
                int from = (word * numbers.PaddedColumns) + column, run = views.Runs[word];
                WordQuad b = new(
                    TWeights.Load(views, from, lowest.X), TWeights.Load(views, from + Lanes, lowest.Y),
                    TWeights.Load(views, from + (2 * Lanes), lowest.Z), TWeights.Load(views, from + (3 * Lanes), lowest.W));
                sums0 = Multiply<TProducts>(TInput.Load(views.Input, corners.X + run), b, sums0);
                sums1 = Multiply<TProducts>(TInput.Load(views.Input, corners.Y + run), b, sums1);
                sums2 = Multiply<TProducts>(TInput.Load(views.Input, corners.Z + run), b, sums2);
                sums3 = Multiply<TProducts>(TInput.Load(views.Input, corners.W + run), b, sums3);
            }

            IntQuad centre = new(
                Finish.Centre(views, numbers, segment, range, column), Finish.Centre(views, numbers, segment, range, column + Lanes),
                Finish.Centre(views, numbers, segment, range, column + (2 * Lanes)), Finish.Centre(views, numbers, segment, range, column + (3 * Lanes)));
            FloatQuad factor = new(
                Finish.Factor(views, numbers, segment, range, column), Finish.Factor(views, numbers, segment, range, column + Lanes),
                Finish.Factor(views, numbers, segment, range, column + (2 * Lanes)), Finish.Factor(views, numbers, segment, range, column + (3 * Lanes)));
            values0 = Add(values0, sums0, centre, factor);
            values1 = Add(values1, sums1, centre, factor);
            values2 = Add(values2, sums2, centre, factor);
            values3 = Add(values3, sums3, centre, factor);
        }

        Store(views, numbers, row, column, values0);
        Store(views, numbers, row + 1, column, values1);
        Store(views, numbers, row + 2, column, values2);
        Store(views, numbers, row + 3, column, values3);
    }

    private static IntQuad Multiply<TProducts>(uint a, WordQuad b, IntQuad sums) where TProducts : struct, IByteProducts =>
        new(TProducts.Add(a, b.X, sums.X), TProducts.Add(a, b.Y, sums.Y), TProducts.Add(a, b.Z, sums.Z), TProducts.Add(a, b.W, sums.W));

    private static FloatQuad Add(FloatQuad values, IntQuad sums, IntQuad centre, FloatQuad factor) => new(
        Finish.Add(values.X, sums.X, centre.X, factor.X), Finish.Add(values.Y, sums.Y, centre.Y, factor.Y),
        Finish.Add(values.Z, sums.Z, centre.Z, factor.Z), Finish.Add(values.W, sums.W, centre.W, factor.W));

    private static void Store(in LayerViews views, in LayerNumbers numbers, int row, int column, FloatQuad values)
    {
        Finish.Store(views, numbers, row, column, values.X);
        Finish.Store(views, numbers, row, column + Lanes, values.Y);
        Finish.Store(views, numbers, row, column + (2 * Lanes), values.Z);
        Finish.Store(views, numbers, row, column + (3 * Lanes), values.W);
    }
}
