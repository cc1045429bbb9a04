using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>
/// Simulated quantizer of a layer's input, with steps and zero points per timestep that are gathered for each image, so that a mini-batch mixes timesteps and all entries learn side by side (temporal
/// parallel quantizer of DilateQuant; TALSQ of EfficientDM; finite set calibration of TFMQ-DM). Zero points are real numbers, rounded in every pass.
/// <code>
/// inv[c] = 1/(d·s[c])        d, z of the channel's half at the image's timestep; s = divisor of the input channel, 1 without
/// xhat   = (clamp(round(x·inv[c]) + round(z), 0, 2^bits − 1) − round(z))·d          stands for x/s[c]
/// </code>
/// </summary>
public sealed class FakeQuantizedInput
{
    /// <summary>Steps are kept above this by optimizers.</summary>
    internal const float LeastStep = 1e-8f;

    private const int FlushRows = 32;

    private readonly TimestepTable _initial;

    /// <summary>Creates the quantizer; it starts at a table's values and does not learn until its variables are made trainable.</summary>
    /// <param name="name">The module's name; variables are called <c>name.input_scales</c> and <c>name.input_zero_points</c>.</param>
    /// <param name="table">Steps and zero points.</param>
    /// <param name="splitChannel">First channel of the second half where the table has two segments; else 0.</param>
    /// <param name="channelScales">Divisor of each input channel, or null.</param>
    public FakeQuantizedInput(string name, TimestepTable table, int splitChannel = 0, float[]? channelScales = null)
    {
        if ((table.Segments == 2) != (splitChannel > 0)) throw new ArgumentException($"{name}: {table.Segments} segments do not fit a split at {splitChannel}", nameof(splitChannel));
        _initial = table;
        (SplitChannel, ChannelScales) = (splitChannel, channelScales);
        Scales = new Variable($"{name}.input_scales", table.Scales.ToArray()) { Minimum = LeastStep, Trainable = false };
        ZeroPoints = new Variable($"{name}.input_zero_points", Array.ConvertAll(table.ZeroPoints.ToArray(), z => (float)z)) { Minimum = 0, Maximum = Last, Trainable = false };
    }

    /// <summary>Steps <c>[timesteps, segments]</c>.</summary>
    public Variable Scales { get; }

    /// <summary>Zero points <c>[timesteps, segments]</c>, real.</summary>
    public Variable ZeroPoints { get; }

    /// <summary>Both.</summary>
    public IReadOnlyList<Variable> Variables => [Scales, ZeroPoints];

    /// <summary>First channel of the second half; 0 for none.</summary>
    public int SplitChannel { get; }

    /// <summary>Divisor of each input channel, or null.</summary>
    public float[]? ChannelScales { get; }

    /// <summary>Whether anything is learned.</summary>
    internal bool Learns => Scales.Trainable || ZeroPoints.Trainable;

    private int Last => (1 << _initial.Bits) - 1;

    /// <summary>Today's steps and rounded zero points.</summary>
    public TimestepTable ToTable() =>
        new([.. _initial.Timesteps], [.. Scales.Value], Array.ConvertAll(ZeroPoints.Value, z => (int)MathF.Round(z)), _initial.Segments, _initial.Bits);

    internal float[] Forward(WorkerPool pool, string module, float[] x, TensorShape shape, RunSettings settings)
    {
        ChannelParameters[] images = Gather(module, shape, settings);
        int channels = shape.Channels, rows = shape.Positions;
        Quantized codes = new(Last);
        float[] y = Vectors.Allocate(x.Length);
        pool.Chunks(shape[0] * rows, Math.Max(1, Vectors.Grain / channels), (start, end) =>
        {
            for (int row = start; row < end; row++)
            {
                ChannelParameters image = images[row / rows];
                ReadOnlySpan<float> source = x.AsSpan(row * channels, channels);
                Span<float> target = y.AsSpan(row * channels, channels);
                Vectors.Map(source, image.Inverses, image.ZeroPoints, target, codes);
                Vectors.Map(target, image.Steps, default, target, new Product());
                if (settings.Drop is { } drop) Omission.Of(drop, module).Replace(row * channels, source, ChannelScales, target);
            }
        });
        return y;
    }

    /// <summary>Gradient of the input for the gradient <paramref name="dy"/> of the quantized one; adds those of steps and zero points where they are learned.</summary>
    internal float[] Backward(WorkerPool pool, string module, float[] x, TensorShape shape, RunSettings settings, float[] dy)
    {
        ChannelParameters[] images = Gather(module, shape, settings);
        int channels = shape.Channels, rows = shape.Positions, segments = _initial.Segments;
        float[] dx = Vectors.Allocate(x.Length);
        double[] stepSums = new double[images.Length * segments], zeroSums = new double[images.Length * segments];
        pool.Chunks(images.Length, 1, (n, _) =>
        {
            ChannelParameters image = images[n];
            float[] upstream = new float[channels], steps = new float[channels], outside = new float[channels], buffer = new float[channels];
            for (int first = 0; first < rows; first += FlushRows)
            {
                Array.Clear(steps);
                Array.Clear(outside);
                for (int row = n * rows + first; row < n * rows + Math.Min(rows, first + FlushRows); row++)
                {
                    ReadOnlySpan<float> source = x.AsSpan(row * channels, channels), gradient = dy.AsSpan(row * channels, channels);
                    gradient.CopyTo(upstream);
                    if (settings.Drop is { } drop) Omission.Of(drop, module).Clear(row * channels, upstream);
                    Span<float> result = dx.AsSpan(row * channels, channels);
                    Vectors.Map(source, image.Inverses, image.ZeroPoints, result, new InsideMask(Last));
                    Vectors.Map(result, upstream, default, result, new Product());
                    Vectors.Map(upstream, result, outside, outside, new DifferencePlus());
                    Vectors.Map(source, image.Inverses, image.ZeroPoints, buffer, new StepDerivative(Last));
                    Vectors.Map(buffer, upstream, steps, steps, new ProductPlus());
                    if (settings.Drop is not null) Vectors.Map(result, gradient, upstream, result, new PlusDifference());
                    if (image.InverseScales is { } inverse) Vectors.Map(result, inverse, default, result, new Product());
                }

                for (int c = 0; c < channels; c++)
                {
                    int entry = n * segments + Segment(c);
                    stepSums[entry] += steps[c];
                    zeroSums[entry] -= (double)outside[c] * image.Steps[c];
                }
            }
        });

        for (int n = 0; n < images.Length; n++)
        {
            for (int segment = 0; segment < segments; segment++)
            {
                int entry = images[n].Entry * segments + segment;
                if (Scales.Trainable) Scales.Gradient[entry] += (float)stepSums[n * segments + segment];
                if (ZeroPoints.Trainable) ZeroPoints.Gradient[entry] += (float)zeroSums[n * segments + segment];
            }
        }

        return dx;
    }

    private int Segment(int channel) => SplitChannel > 0 && channel >= SplitChannel ? 1 : 0;

    /// <summary>The parameters of each image, spread over the channels; images of one timestep share them.</summary>
    private ChannelParameters[] Gather(string module, TensorShape shape, RunSettings settings)
    {
        if (!_initial.IsStatic && settings.Timesteps.Length == 0)
            throw new InvalidRequestException("timestep", $"'{module}' has a scale for each of {_initial.Timesteps.Length} timesteps, and no timestep was given");
        Dictionary<int, ChannelParameters> entries = [];
        ChannelParameters[] images = new ChannelParameters[shape[0]];
        for (int n = 0; n < images.Length; n++)
        {
            // A layer may see several rows per image as if they were images (the six sizes SDXL is told), or one for all.
            float timestep = settings.Timesteps.Length == 0 ? 0 : settings.Timesteps[(int)((long)n * settings.Timesteps.Length / images.Length)];
            int entry = _initial.IndexOf(timestep);
            if (!entries.TryGetValue(entry, out ChannelParameters? known)) entries.Add(entry, known = Spread(entry, shape.Channels));
            images[n] = known;
        }

        return images;
    }

    private ChannelParameters Spread(int entry, int channels)
    {
        float[] inverses = new float[channels], steps = new float[channels], zeroPoints = new float[channels];
        for (int c = 0; c < channels; c++)
        {
            int i = entry * _initial.Segments + Segment(c);
            steps[c] = Scales.Value[i];
            zeroPoints[c] = MathF.Round(ZeroPoints.Value[i]);
            inverses[c] = 1 / (ChannelScales is { } s ? steps[c] * s[c] : steps[c]);
        }

        return new ChannelParameters(entry, inverses, steps, zeroPoints, ChannelScales is null ? null : Array.ConvertAll(ChannelScales, s => 1 / s));
    }

    private sealed record ChannelParameters(int Entry, float[] Inverses, float[] Steps, float[] ZeroPoints, float[]? InverseScales);

    /// <summary>Centred code of a = x with b = inv and c = z.</summary>
    private readonly struct Quantized(float last) : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => FakeQuantizer.Clamp(FakeQuantizer.Code(a * b, c), last) - c;
    }

    /// <summary>1 where the code is within range.</summary>
    private readonly struct InsideMask(float last) : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Vector256<float>.One & FakeQuantizer.Inside(FakeQuantizer.Code(a * b, c), last);
    }

    private readonly struct StepDerivative(float last) : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => FakeQuantizer.StepDerivative(a * b, c, last);
    }

    /// <summary>(a − b) + c.</summary>
    private readonly struct DifferencePlus : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a - b + c;
    }

    /// <summary>a + (b − c).</summary>
    private readonly struct PlusDifference : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a + (b - c);
    }
}
