using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// A product of bytes with a tile of queries: <c>sum[row][query] = start[row] + Σ vectors[group][query][4]·rows[row][group][4]</c>.
/// </summary>
internal unsafe struct ByteProductArguments
{
    /// <summary>Unsigned codes <c>[group][32 queries][4]</c>; where weights go.</summary>
    public byte* Vectors;

    /// <summary>Signed codes of the first row: keys for scores, channels for outputs. The assembled routines advance it, as they do <see cref="Starts"/>,
    /// <see cref="Scales"/> and <see cref="Output"/>.</summary>
    public sbyte* Rows;

    /// <summary>Distance of rows in bytes.</summary>
    public nint RowStride;

    /// <summary>Distance of a row's groups of four in bytes.</summary>
    public nint GroupStride;

    /// <summary>Groups of a row times <see cref="GroupStride"/>.</summary>
    public nint RowEnd;

    /// <summary>Rows; for the assembled routines tiles of rows.</summary>
    public nint Count;

    /// <summary>What the sums begin with, or null for 0.</summary>
    public int* Starts;

    /// <summary>Scores: factor of each row.</summary>
    public float* Scales;

    /// <summary>One number per query. Scores: running maxima, updated. Outputs: factor on what is there.</summary>
    public float* Queries;

    /// <summary>Result <c>[row][32 queries]</c>.</summary>
    public float* Output;

    /// <summary>Outputs: scores <c>[key][32 queries]</c>.</summary>
    public float* Scores;

    /// <summary>Outputs: factor of each query's scores.</summary>
    public float* Factors;

    /// <summary>Outputs: what is added to each query's scores.</summary>
    public float* Offsets;

    /// <summary>Set by the assembled routines: how weights get into their places.</summary>
    public Vector512<byte> Order;

    /// <summary>Set by the assembled routines.</summary>
    public float Polynomial0, Polynomial1, Polynomial2, Polynomial3;
}

/// <summary>The two products of attention.</summary>
internal interface IByteProduct
{
    /// <summary><c>output = float(sum)·scale</c>, and the queries' maxima of it.</summary>
    void Score(ref ByteProductArguments arguments);

    /// <summary><c>vectors = round(255·2^(scores·factor + offset))</c>, then <c>output = output·factor + float(sum)</c>, rounded once.</summary>
    void WeighAndMix(ref ByteProductArguments arguments);
}

/// <summary>255·2^r for 0 ≤ r ≤ 1; largest relative error 7.5e−5.</summary>
internal static class WeightPolynomial
{
    /// <summary>Of 1, r, r², r³.</summary>
    public static ReadOnlySpan<float> Coefficients => [254.98092651367188f, 177.4375457763672f, 57.647125244140625f, 19.89625358581543f];
}

/// <summary>The products over lanes of some width: four rows × two vectors at a time.</summary>
internal readonly unsafe struct ByteProduct<TSimd, TLanes, TFloat, TInt> : IByteProduct
    where TSimd : struct, ISimd<TFloat>
    where TLanes : struct, IByteLanes<TFloat, TInt>
    where TFloat : struct
    where TInt : struct
{
    private const int Tile = Int8AttentionLayout.QueryTile, TileRows = 4;

    /// <inheritdoc/>
    public void Score(ref ByteProductArguments arguments)
    {
        int* sums = stackalloc int[TileRows * Tile];
        for (int row = 0; row < arguments.Count; row += TileRows)
        {
            Multiply(arguments, row, sums);
            for (int i = row; i < Math.Min(row + TileRows, arguments.Count); i++)
            {
                TFloat scale = TSimd.Create(arguments.Scales[i]);
                for (int query = 0; query < Tile; query += TSimd.Count)
                {
                    TFloat score = TSimd.Multiply(TLanes.ToFloat(TLanes.Load(sums + ((i - row) * Tile) + query)), scale);
                    TSimd.Store(arguments.Output + (i * Tile) + query, score);
                    TSimd.Store(arguments.Queries + query, TSimd.Max(TSimd.Load(arguments.Queries + query), score));
                }
            }
        }
    }

    /// <inheritdoc/>
    public void WeighAndMix(ref ByteProductArguments arguments)
    {
        for (int query = 0; query < Tile; query += TSimd.Count) Weigh(arguments, query);
        int* sums = stackalloc int[TileRows * Tile];
        for (int row = 0; row < arguments.Count; row += TileRows)
        {
            Multiply(arguments, row, sums);
            int length = (int)Math.Min(TileRows, arguments.Count - row) * Tile;
            for (int i = 0; i < length; i += TSimd.Count)
            {
                float* output = arguments.Output + (row * Tile) + i;
                TSimd.Store(output, TSimd.FusedMultiplyAdd(TSimd.Load(output), TSimd.Load(arguments.Queries + (i % Tile)), TLanes.ToFloat(TLanes.Load(sums + i))));
            }
        }
    }

    /// <summary>Scores of one vector of queries become weights; the codes of four keys share a lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh(in ByteProductArguments arguments, int query)
    {
        TFloat factor = TSimd.Load(arguments.Factors + query), offset = TSimd.Load(arguments.Offsets + query);
        float* scores = arguments.Scores + query;
        byte* weights = arguments.Vectors + (query * 4);
        for (nint group = 0; group < arguments.RowEnd; group += arguments.GroupStride, scores += 4 * Tile, weights += 4 * Tile)
        {
            TLanes.Store(weights, TLanes.Interleave(
                Weight(TSimd.Load(scores), factor, offset), Weight(TSimd.Load(scores + Tile), factor, offset),
                Weight(TSimd.Load(scores + (2 * Tile)), factor, offset), Weight(TSimd.Load(scores + (3 * Tile)), factor, offset)));
        }
    }

    /// <summary>round(255·2^x) with x = score·factor + offset ≤ 0: 255·2^r for r = x − ⌊x⌋ is a polynomial, 2^⌊x⌋ an exponent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TInt Weight(TFloat score, TFloat factor, TFloat offset)
    {
        TFloat x = TSimd.FusedMultiplyAdd(score, factor, offset), r = TLanes.Fraction(x);
        TFloat p = TSimd.FusedMultiplyAdd(TSimd.Create(WeightPolynomial.Coefficients[3]), r, TSimd.Create(WeightPolynomial.Coefficients[2]));
        p = TSimd.FusedMultiplyAdd(TSimd.FusedMultiplyAdd(p, r, TSimd.Create(WeightPolynomial.Coefficients[1])), r, TSimd.Create(WeightPolynomial.Coefficients[0]));
        return TLanes.Round(TLanes.ScaleByFloor(p, x));
    }

    /// <summary>Four rows; where there are fewer left, the last one again.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(in ByteProductArguments arguments, int row, int* sums)
    {
        nint last = arguments.Count - 1;
        sbyte* r0 = arguments.Rows + (row * arguments.RowStride), r1 = arguments.Rows + (Math.Min(row + 1, last) * arguments.RowStride);
        sbyte* r2 = arguments.Rows + (Math.Min(row + 2, last) * arguments.RowStride), r3 = arguments.Rows + (Math.Min(row + 3, last) * arguments.RowStride);
        int* starts = arguments.Starts;
        TInt i0 = Start(starts, row), i1 = Start(starts, Math.Min(row + 1, last)), i2 = Start(starts, Math.Min(row + 2, last)), i3 = Start(starts, Math.Min(row + 3, last));
        for (int query = 0; query < Tile; query += 2 * TSimd.Count)
        {
            TInt s00 = i0, s01 = i0, s10 = i1, s11 = i1, s20 = i2, s21 = i2, s30 = i3, s31 = i3;
            byte* vector = arguments.Vectors + (query * 4);
            for (nint offset = 0; offset < arguments.RowEnd; offset += arguments.GroupStride, vector += Tile * 4)
            {
                TInt v0 = TLanes.Load(vector), v1 = TLanes.Load(vector + (TSimd.Count * 4));
                Add(*(int*)(r0 + offset), v0, v1, ref s00, ref s01);
                Add(*(int*)(r1 + offset), v0, v1, ref s10, ref s11);
                Add(*(int*)(r2 + offset), v0, v1, ref s20, ref s21);
                Add(*(int*)(r3 + offset), v0, v1, ref s30, ref s31);
            }

            Store(sums + query, s00, s01);
            Store(sums + query + Tile, s10, s11);
            Store(sums + query + (2 * Tile), s20, s21);
            Store(sums + query + (3 * Tile), s30, s31);
        }
    }

    private static TInt Start(int* starts, nint row) => TLanes.Create(starts == null ? 0 : starts[row]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(int signed, TInt v0, TInt v1, ref TInt s0, ref TInt s1)
    {
        s0 = TLanes.Dot(s0, v0, signed);
        s1 = TLanes.Dot(s1, v1, signed);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(int* sums, TInt s0, TInt s1)
    {
        TLanes.Store(sums, s0);
        TLanes.Store(sums + TSimd.Count, s1);
    }
}
