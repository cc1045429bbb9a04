using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>Shapes of an attention: <c>softmax(q kᵀ/√HeadWidth + mask) v</c> over dense rows, head after head.</summary>
/// <param name="Batch">Images.</param>
/// <param name="Heads">Heads.</param>
/// <param name="Queries">Tokens of an image that ask.</param>
/// <param name="Keys">Tokens of an image that are looked at.</param>
/// <param name="HeadWidth">Channels of a head of queries and keys.</param>
/// <param name="ValueWidth">Channels of a head of values.</param>
/// <param name="Causal">Query i sees keys 0 … i only.</param>
public readonly record struct AttentionShape(int Batch, int Heads, int Queries, int Keys, int HeadWidth, int ValueWidth, bool Causal)
{
    /// <summary>Elements of queries.</summary>
    public long QueryElements => (long)Batch * Queries * Heads * HeadWidth;

    /// <summary>Elements of keys.</summary>
    public long KeyElements => (long)Batch * Keys * Heads * HeadWidth;

    /// <summary>Elements of values.</summary>
    public long ValueElements => (long)Batch * Keys * Heads * ValueWidth;

    /// <summary>Elements of the output.</summary>
    public long OutputElements => (long)Batch * Queries * Heads * ValueWidth;

    internal float Scale => (float)(1 / Math.Sqrt(HeadWidth));
}

/// <summary>Attention in single precision and its gradients; results do not depend on the number of threads.</summary>
public static unsafe class AttentionGradients
{
    /// <summary>The attention itself (<see cref="FloatAttention"/>).</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="query">Queries.</param>
    /// <param name="key">Keys.</param>
    /// <param name="value">Values.</param>
    /// <param name="mask">Added to the scores: <c>[Batch, Keys]</c>, <c>[Keys]</c> for all images, or empty.</param>
    /// <param name="output">Output, overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit the shape.</exception>
    public static void Forward(
        WorkerPool pool, in AttentionShape shape, ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> mask, Span<float> output)
    {
        Require(shape, query, key, value, mask, output);
        fixed (float* q = query, k = key, v = value, m = mask, y = output)
        {
            nint channels = (nint)shape.Heads * shape.HeadWidth, valueChannels = (nint)shape.Heads * shape.ValueWidth;
            AttentionJob job = new()
            {
                Batch = shape.Batch,
                Heads = shape.Heads,
                Queries = shape.Queries,
                Keys = shape.Keys,
                HeadWidth = shape.HeadWidth,
                ValueWidth = shape.ValueWidth,
                Query = new RowView(q, channels),
                Key = new RowView(k, channels),
                Value = new RowView(v, valueChannels),
                Output = new RowView(y, valueChannels),
                Scale = shape.Scale,
                Causal = shape.Causal,
                Mask = m,
                MaskStride = MaskStride(shape, mask),
            };
            using NativeBuffer scratch = new((nuint)FloatAttention.ScratchBytes(job, pool.Threads));
            FloatAttention.Run(pool, job, scratch.Pointer);
        }
    }

    /// <summary>The gradients.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="query">Queries.</param>
    /// <param name="key">Keys.</param>
    /// <param name="value">Values.</param>
    /// <param name="mask">As in <see cref="Forward"/>.</param>
    /// <param name="outputGradient">Gradient of the output.</param>
    /// <param name="queryGradient">Gradient of the queries, overwritten.</param>
    /// <param name="keyGradient">Gradient of the keys, overwritten.</param>
    /// <param name="valueGradient">Gradient of the values, overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit the shape.</exception>
    public static void Backward(
        WorkerPool pool, in AttentionShape shape, ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> mask,
        ReadOnlySpan<float> outputGradient, Span<float> queryGradient, Span<float> keyGradient, Span<float> valueGradient)
    {
        Require(shape, query, key, value, mask, outputGradient);
        Require(shape, queryGradient, keyGradient, valueGradient, mask, outputGradient);
        fixed (float* q = query, k = key, v = value, m = mask, dy = outputGradient, dq = queryGradient, dk = keyGradient, dv = valueGradient)
        {
            LevelJob job = new(pool, shape.Batch * shape.Heads, new AttentionGradientJob
            {
                Heads = shape.Heads,
                Queries = shape.Queries,
                Keys = shape.Keys,
                HeadWidth = shape.HeadWidth,
                ValueWidth = shape.ValueWidth,
                Scale = shape.Scale,
                Causal = shape.Causal,
                Query = q,
                Key = k,
                Value = v,
                Mask = m,
                MaskStride = MaskStride(shape, mask),
                OutputGradient = dy,
                QueryGradient = dq,
                KeyGradient = dk,
                ValueGradient = dv,
            });
            SimdDispatch.Run(SimdLevel.Auto, ref job);
        }
    }

    private static nint MaskStride(in AttentionShape shape, ReadOnlySpan<float> mask) => mask.Length == shape.Keys ? 0 : shape.Keys;

    private static void Require(in AttentionShape shape, ReadOnlySpan<float> query, ReadOnlySpan<float> key, ReadOnlySpan<float> value, ReadOnlySpan<float> mask, ReadOnlySpan<float> output)
    {
        if (query.Length != shape.QueryElements || key.Length != shape.KeyElements || value.Length != shape.ValueElements || output.Length != shape.OutputElements)
            throw new ArgumentException($"{query.Length} queries, {key.Length} keys, {value.Length} values and {output.Length} outputs do not fit {shape}");
        if (!mask.IsEmpty && mask.Length != shape.Keys && mask.Length != shape.Batch * shape.Keys) throw new ArgumentException($"a mask of {mask.Length} elements does not fit {shape}");
    }

    private readonly struct LevelJob(WorkerPool pool, int pieces, AttentionGradientJob job) : ISimdJob
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct => pool.For(pieces, new AttentionGradientBody<TSimd, TVector>(job));
    }
}
