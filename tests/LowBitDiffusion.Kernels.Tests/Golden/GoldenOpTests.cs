using System.Text.Json;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Golden;

/// <summary>Every golden case of kind "op", at every level. An op that is not known here fails.</summary>
public unsafe class GoldenOpTests
{
    private static IEnumerable<TestCaseData> Cases =>
        from name in GoldenOp.Names from level in SimdLevels.Supported select new TestCaseData(name, level);

    private readonly List<IDisposable> _owned = [];
    private readonly WorkerPool _pool = new(2);

    [OneTimeTearDown]
    public void DisposePool() => _pool.Dispose();

    [TearDown]
    public void DisposeArrays()
    {
        _owned.ForEach(o => o.Dispose());
        _owned.Clear();
    }

    [TestCaseSource(nameof(Cases))]
    public void EqualsTheReference(string name, SimdLevel level)
    {
        GoldenOp golden = GoldenOp.Load(name);
        float[] found = Compute(golden, level), expected = golden["out"].Data;
        Assert.That(found, Has.Length.EqualTo(expected.Length), golden.Definition);
        for (int i = 0; i < expected.Length; i++) Assert.That(found[i], Is.EqualTo(expected[i]).Within(golden.MaxAbs), $"{golden.Definition}: element {i}");
    }

    private float[] Compute(GoldenOp golden, SimdLevel level)
    {
        GoldenTensor x = golden.Find("in.x") ?? golden.Find("in.q") ?? golden["in.timesteps"];
        int channels = x.Shape[^1], rows = x.Data.Length / channels;
        RowShape shape = new(1, rows, channels);
        NativeArray<float> input = Own(new NativeArray<float>(x.Data)), output = Own(new NativeArray<float>(golden["out"].Data.Length, float.NaN));
        switch (golden.Op)
        {
            case var op when op.StartsWith("conv2d", StringComparison.Ordinal):
                return Convolve(golden, level);
            case var op when op.StartsWith("linear", StringComparison.Ordinal):
                Linear(golden, input, output, rows, channels, level);
                break;
            case "geglu":
                int wide = golden["in.weight"].Shape[0];
                NativeArray<float> hidden = Own(new NativeArray<float>(rows * wide));
                Linear(golden, input, hidden, rows, channels, level);
                Activations.Geglu(_pool, new RowShape(1, rows, wide / 2), hidden.Rows(wide), output.Rows(wide / 2), level);
                break;
            case var op when op.StartsWith("attention", StringComparison.Ordinal):
                return Attend(golden, level);
            case var op when op.StartsWith("group_norm", StringComparison.Ordinal):
                return NormalizeGroups(golden, level);
            case var op when op.StartsWith("layer_norm", StringComparison.Ordinal):
                float* weight = Pointer(golden, "in.weight"), bias = Pointer(golden, "in.bias");
                LayerNorm.Apply(_pool, shape, input.Rows(channels), golden.Parameters.GetProperty("eps").GetSingle(), weight, bias, output.Rows(channels), level);
                break;
            case "softmax":
                Softmax.Apply(_pool, shape, input.Rows(channels), output.Rows(channels), level);
                break;
            case "silu" or "gelu" or "gelu_tanh" or "quick_gelu":
                Activation activation = golden.Op switch { "silu" => Activation.Silu, "gelu" => Activation.Gelu, "gelu_tanh" => Activation.GeluTanh, _ => Activation.QuickGelu };
                Activations.Apply(_pool, shape, input.Rows(channels), activation, output.Rows(channels), level);
                break;
            case "avg_pool_2x2":
                NativeArray<float> image = ToRows(x), pooled = Own(new NativeArray<float>(output.Length));
                Resampling.AveragePool(_pool, x.Shape[0], x.Shape[2], x.Shape[3], x.Shape[1], image.Rows(x.Shape[1]), pooled.Rows(x.Shape[1]), level);
                return ToPlanes(pooled, golden["out"].Shape);
            case var op when op.StartsWith("upsample_nearest", StringComparison.Ordinal):
                return Upsample(golden, level);
            case var op when op.StartsWith("timestep_embedding", StringComparison.Ordinal):
                JsonElement p = golden.Parameters;
                int features = p.GetProperty("dim").GetInt32();
                Embeddings.Sinusoidal(input.Pointer, input.Length, features, p.GetProperty("flip_sin_to_cos").GetBoolean(), p.GetProperty("downscale_freq_shift").GetSingle(), output.Rows(features));
                break;
            default:
                throw new NotSupportedException($"{golden.Name}: no kernel for {golden.Op}");
        }

        return output.ToArray();
    }

    private void Linear(GoldenOp golden, NativeArray<float> input, NativeArray<float> output, int rows, int channels, SimdLevel level)
    {
        int features = golden["in.weight"].Shape[0];
        PackedFloatWeights weights = Own(FloatConvKernel.Pack(golden["in.weight"].Data, features, channels, level: level));
        ConvEpilogue epilogue = new() { Bias = Pointer(golden, "in.bias"), OutputScale = 1, Output = output.Pointer, OutputStride = features };
        FloatConvKernel.Run(_pool, new ConvWalk(ConvGeometry.Linear(rows, channels, features)), input.Pointer, weights, epilogue);
    }

    private float[] Convolve(GoldenOp golden, SimdLevel level)
    {
        int[] x = golden["in.x"].Shape, w = golden["in.weight"].Shape;
        int stride = golden.Parameters.GetProperty("stride").GetInt32();
        int[] border = [0, 0, 0, 0];
        if (golden.Parameters.TryGetProperty("padding_left_right_top_bottom", out JsonElement sides)) border = [.. sides.EnumerateArray().Select(e => e.GetInt32())];
        else if (golden.Parameters.TryGetProperty("padding", out JsonElement same)) border = [.. same.EnumerateArray().Select(e => e.GetInt32())];
        StagingJob job = Image(golden["in.x"]) with { Left = border[0], Right = border[1], Top = border[2], Bottom = border[3] };
        NativeArray<float> padded = Own(new NativeArray<float>((int)job.DestinationLength, float.NaN));
        StagingPass.Store(_pool, job, padded.Pointer, level);

        ConvGeometry geometry = new(x[0], job.PaddedHeight, job.PaddedWidth, x[1], w[0], w[2], w[3], stride);
        NativeArray<float> output = Own(new NativeArray<float>(geometry.Rows * w[0], float.NaN));
        PackedFloatWeights weights = Own(FloatConvKernel.Pack(golden["in.weight"].Data, w[0], w[1], w[2], w[3], level));
        ConvEpilogue epilogue = new() { Bias = Pointer(golden, "in.bias"), OutputScale = 1, Output = output.Pointer, OutputStride = w[0] };
        FloatConvKernel.Run(_pool, new ConvWalk(geometry), padded.Pointer, weights, epilogue);
        return ToPlanes(output, golden["out"].Shape);
    }

    private float[] NormalizeGroups(GoldenOp golden, SimdLevel level)
    {
        GoldenTensor x = golden["in.x"];
        int channels = x.Shape[1], pixels = x.Data.Length / x.Shape[0] / channels;
        RowShape shape = new(x.Shape[0], pixels, channels);
        NativeArray<float> factor = Own(new NativeArray<float>(x.Shape[0] * channels)), offset = Own(new NativeArray<float>(factor.Length)), output = Own(new NativeArray<float>(x.Data.Length));
        NativeArray<byte> scratch = Own(new NativeArray<byte>((int)GroupNorm.ScratchBytes(shape)));
        StagingJob job = Image(x) with { Factor = factor.Pointer, Offset = offset.Pointer, AffineStride = channels };
        GroupNorm.Fold(
            _pool, shape, new NormSources(job.First, channels), golden.Parameters.GetProperty("groups").GetInt32(), golden.Parameters.GetProperty("eps").GetSingle(),
            Pointer(golden, "in.weight"), Pointer(golden, "in.bias"), default, default, factor.Pointer, offset.Pointer, scratch.Pointer, level);
        StagingPass.Store(_pool, job, output.Pointer, level);
        return ToPlanes(output, x.Shape);
    }

    private float[] Upsample(GoldenOp golden, SimdLevel level)
    {
        int[] target = golden["out"].Shape;
        StagingJob job = Image(golden["in.x"]) with { Height = target[2], Width = target[3] };
        NativeArray<float> staged = Own(new NativeArray<float>((int)job.DestinationLength)), alone = Own(new NativeArray<float>(staged.Length));
        StagingPass.Store(_pool, job, staged.Pointer, level);
        Resampling.Nearest(_pool, job.Batch, job.SourceHeight, job.SourceWidth, job.Channels, job.First, job.Height, job.Width, alone.Rows(job.Channels));
        Assert.That(staged.ToArray(), Is.EqualTo(alone.ToArray()), "the staging pass and the operation alone");
        return ToPlanes(staged, target);
    }

    private float[] Attend(GoldenOp golden, SimdLevel level)
    {
        int[] q = golden["in.q"].Shape, k = golden["in.k"].Shape, v = golden["in.v"].Shape;
        int heads = q[1];
        NativeArray<float> output = Own(new NativeArray<float>(q[0] * q[2] * heads * v[3], float.NaN));
        AttentionJob job = new()
        {
            Batch = q[0],
            Heads = heads,
            Queries = q[2],
            Keys = k[2],
            HeadWidth = q[3],
            ValueWidth = v[3],
            Query = new(SwapHeadsAndTokens(golden["in.q"].Data, q[0], heads, q[2], q[3]).Pointer, heads * q[3]),
            Key = new(SwapHeadsAndTokens(golden["in.k"].Data, k[0], heads, k[2], k[3]).Pointer, heads * k[3]),
            Value = new(SwapHeadsAndTokens(golden["in.v"].Data, v[0], heads, v[2], v[3]).Pointer, heads * v[3]),
            Output = output.Rows(heads * v[3]),
            Scale = 1 / MathF.Sqrt(q[3]),
            Causal = golden.Op.EndsWith("causal", StringComparison.Ordinal),
            Mask = Pointer(golden, "in.mask"),
            MaskStride = k[2],
        };
        NativeArray<byte> scratch = Own(new NativeArray<byte>((int)FloatAttention.ScratchBytes(job, _pool.Threads, level)));
        FloatAttention.Run(_pool, job, scratch.Pointer, level);
        return SwapHeadsAndTokens(output.ToArray(), q[0], q[2], heads, v[3]).ToArray();
    }

    /// <summary><c>[B, first, second, width] → [B, second, first, width]</c>.</summary>
    private NativeArray<float> SwapHeadsAndTokens(float[] data, int batch, int first, int second, int width)
    {
        NativeArray<float> swapped = Own(new NativeArray<float>(data.Length));
        for (int i = 0; i < data.Length; i++)
        {
            int d = i % width, s = i / width % second, f = i / width / second % first, b = i / width / second / first;
            swapped.Span[((b * second + s) * first + f) * width + d] = data[i];
        }

        return swapped;
    }

    private StagingJob Image(GoldenTensor x) => new()
    {
        First = ToRows(x).Rows(x.Shape[1]),
        FirstChannels = x.Shape[1],
        Batch = x.Shape[0],
        SourceHeight = x.Shape[2],
        SourceWidth = x.Shape[3],
        Height = x.Shape[2],
        Width = x.Shape[3],
    };

    private NativeArray<float> ToRows(GoldenTensor x)
    {
        NativeArray<float> planes = Own(new NativeArray<float>(x.Data)), rows = Own(new NativeArray<float>(x.Data.Length));
        Layout.ToRows(_pool, new RowShape(x.Shape[0], x.Shape[2] * x.Shape[3], x.Shape[1]), planes.Pointer, rows.Rows(x.Shape[1]));
        return rows;
    }

    private float[] ToPlanes(NativeArray<float> rows, int[] shape)
    {
        NativeArray<float> planes = Own(new NativeArray<float>(rows.Length));
        Layout.ToPlanes(_pool, new RowShape(shape[0], rows.Length / shape[0] / shape[1], shape[1]), rows.Rows(shape[1]), planes.Pointer);
        return planes.ToArray();
    }

    private float* Pointer(GoldenOp golden, string tensor) => golden.Find(tensor) is { } found ? Own(new NativeArray<float>(found.Data)).Pointer : null;

    private T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }
}
