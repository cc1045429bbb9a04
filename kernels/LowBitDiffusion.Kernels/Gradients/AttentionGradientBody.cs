using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Gradients of one head of one image, in blocks of 64 queries so that no matrix of all queries × keys is stored. The probabilities are computed again:
/// <code>
///   P  = softmax(q kᵀ·scale + mask)
///   dv += Pᵀ dy        dP = dy vᵀ        dS = P∘(dP − rowsum(P∘dP))·scale        dq = dS k        dk += dSᵀ q
/// </code>
/// Every product is written as a sum over rows of both factors (<see cref="OuterProductTile{TSimd, TVector}"/>), for which q, k, v and dy are also laid down transposed.
/// </summary>
[SkipLocalsInit]
internal readonly unsafe struct AttentionGradientBody<TSimd, TVector>(AttentionGradientJob job) : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
{
    private const int Block = 64;
    private const int Lanes = 16;

    public void Run(int index)
    {
        int image = index / job.Heads, head = index % job.Heads;
        int width = Pad(job.HeadWidth), valueWidth = Pad(job.ValueWidth), keys = Pad(job.Keys);
        using NativeBuffer scratch = new((nuint)sizeof(float) * (nuint)(
            2 * job.Keys * width + job.HeadWidth * keys + job.Keys * valueWidth + job.ValueWidth * keys + Block * (2 * width + valueWidth + 2 * keys) + (job.HeadWidth + job.ValueWidth + keys) * Block));
        float* next = (float*)scratch.Pointer;
        float* Take(int count) => (next += count) - count;
        float* k = Take(job.Keys * width), dk = Take(job.Keys * width), kt = Take(job.HeadWidth * keys), dv = Take(job.Keys * valueWidth), vt = Take(job.ValueWidth * keys);
        float* q = Take(Block * width), dq = Take(Block * width), dy = Take(Block * valueWidth), p = Take(Block * keys), ds = Take(Block * keys);
        float* qt = Take(job.HeadWidth * Block), dyt = Take(job.ValueWidth * Block), dst = Take(keys * Block);

        nint channels = (nint)job.Heads * job.HeadWidth, valueChannels = (nint)job.Heads * job.ValueWidth;
        nint keyStart = (nint)image * job.Keys * channels + head * job.HeadWidth, valueStart = (nint)image * job.Keys * valueChannels + head * job.ValueWidth;
        Gather(job.Key + keyStart, channels, job.Keys, job.HeadWidth, k, width);
        Matrices.Transpose(job.Key + keyStart, channels, job.Keys, job.HeadWidth, kt, keys);
        Matrices.Transpose(job.Value + valueStart, valueChannels, job.Keys, job.ValueWidth, vt, keys);
        for (int first = 0; first < job.Queries; first += Block)
        {
            int rows = Math.Min(Block, job.Queries - first);
            nint row = (nint)image * job.Queries + first;
            float* queries = job.Query + row * channels + head * job.HeadWidth, upstream = job.OutputGradient + row * valueChannels + head * job.ValueWidth;
            Gather(queries, channels, rows, job.HeadWidth, q, width);
            Matrices.Transpose(queries, channels, rows, job.HeadWidth, qt, Block);
            Gather(upstream, valueChannels, rows, job.ValueWidth, dy, valueWidth);
            Matrices.Transpose(upstream, valueChannels, rows, job.ValueWidth, dyt, Block);

            Product(rows, keys, job.HeadWidth, qt, Block, kt, keys, p, clear: true);
            Product(rows, keys, job.ValueWidth, dyt, Block, vt, keys, ds, clear: true);
            for (int i = 0; i < rows; i++)
            {
                int visible = job.Causal ? Math.Min(first + i + 1, job.Keys) : job.Keys;
                Softmax(p + i * keys, visible, keys, job.Mask == null ? null : job.Mask + image * job.MaskStride);
                ScoreGradient(p + i * keys, ds + i * keys, keys);
            }

            Product(job.Keys, valueWidth, rows, p, keys, dy, valueWidth, dv, clear: false);
            Product(job.Keys, width, rows, ds, keys, q, width, dk, clear: false);
            Matrices.Transpose(ds, keys, rows, job.Keys, dst, Block);
            Product(rows, width, job.Keys, dst, Block, k, width, dq, clear: true);
            Scatter(dq, width, rows, job.HeadWidth, job.QueryGradient + row * channels + head * job.HeadWidth, channels);
        }

        Scatter(dk, width, job.Keys, job.HeadWidth, job.KeyGradient + keyStart, channels);
        Scatter(dv, valueWidth, job.Keys, job.ValueWidth, job.ValueGradient + valueStart, valueChannels);
    }

    private static int Pad(int columns) => (columns + Lanes - 1) / Lanes * Lanes;

    /// <summary><c>c += aᵀ·b</c> over <paramref name="count"/> rows of both; the columns are a multiple of 16.</summary>
    private static void Product(int rows, int columns, int count, float* a, int aStride, float* b, int bStride, float* c, bool clear)
    {
        const int chunk = 128;
        if (clear) new Span<float>(c, rows * columns).Clear();
        float** pointers = stackalloc float*[chunk];
        int height = MatrixTile<TSimd, TVector>.MaxRows;
        for (int first = 0; first < count; first += chunk)
        {
            int terms = Math.Min(chunk, count - first);
            for (int m = 0; m < terms; m++) pointers[m] = b + (nint)(first + m) * bStride;
            for (int column = 0; column < columns; column += 2 * TSimd.Count)
            {
                int vectors = columns - column > TSimd.Count ? 2 : 1;
                for (int row = 0; row < rows; row += height)
                {
                    OuterProductTile<TSimd, TVector>.Add(
                        Math.Min(height, rows - row), vectors, terms, a + (nint)first * aStride + row, aStride, pointers, column, c + (nint)row * columns + column, columns);
                }
            }
        }
    }

    /// <summary>Probabilities in place of raw products; 0 for keys that are not visible.</summary>
    private void Softmax(float* row, int visible, int padded, float* mask)
    {
        float max = float.NegativeInfinity;
        for (int j = 0; j < visible; j++)
        {
            row[j] = row[j] * job.Scale + (mask == null ? 0 : mask[j]);
            max = MathF.Max(max, row[j]);
        }

        for (int j = visible; j < padded; j++) row[j] = float.NegativeInfinity;
        for (int j = 0; j < padded; j += TSimd.Count) TSimd.Store(row + j, Functions.Exp<TSimd, TVector>(TSimd.Subtract(TSimd.Load(row + j), TSimd.Create(max))));
        double sum = 0;
        for (int j = 0; j < visible; j++) sum += row[j];
        TVector inverse = TSimd.Create((float)(1 / sum));
        for (int j = 0; j < padded; j += TSimd.Count) TSimd.Store(row + j, TSimd.Multiply(TSimd.Load(row + j), inverse));
    }

    private void ScoreGradient(float* p, float* dp, int padded)
    {
        double dot = 0;
        for (int j = 0; j < padded; j++) dot += (double)p[j] * dp[j];
        TVector mean = TSimd.Create((float)dot), scale = TSimd.Create(job.Scale);
        for (int j = 0; j < padded; j += TSimd.Count)
            TSimd.Store(dp + j, TSimd.Multiply(TSimd.Multiply(TSimd.Load(p + j), TSimd.Subtract(TSimd.Load(dp + j), mean)), scale));
    }

    private static void Gather(float* source, nint stride, int rows, int columns, float* target, int targetStride)
    {
        for (int i = 0; i < rows; i++) new ReadOnlySpan<float>(source + i * stride, columns).CopyTo(new Span<float>(target + (nint)i * targetStride, columns));
    }

    private static void Scatter(float* source, int sourceStride, int rows, int columns, float* target, nint stride)
    {
        for (int i = 0; i < rows; i++) new ReadOnlySpan<float>(source + (nint)i * sourceStride, columns).CopyTo(new Span<float>(target + i * stride, columns));
    }
}

/// <summary>What <see cref="AttentionGradients"/> asks of each piece.</summary>
internal unsafe struct AttentionGradientJob
{
    public int Heads;
    public int Queries;
    public int Keys;
    public int HeadWidth;
    public int ValueWidth;
    public float Scale;
    public bool Causal;
    public float* Query;
    public float* Key;
    public float* Value;
    public float* Mask;
    public nint MaskStride;
    public float* OutputGradient;
    public float* QueryGradient;
    public float* KeyGradient;
    public float* ValueGradient;
}
