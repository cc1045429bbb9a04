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
        float[] y = Vectors.Allocate(x.Length);
        pool.Chunks(shape[0] * rows, Math.Max(1, Vectors.Grain / channels), (start, end) =>
        {
            for (int row = start; row < end; row++)
            {
                ChannelParameters image = images[row / rows];
                ReadOnlySpan<float> source = x.AsSpan(row * channels, channels);
                Span<float> target = y.AsSpan(row * channels, channels);
                image.Quantize(source, target, Last);
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
            float[] upstream = new float[channels], steps = new float[channels], outside = new float[channels];
            for (int first = 0; first < rows; first += FlushRows)
            {
                Array.Clear(steps);
                Array.Clear(outside);
                for (int row = n * rows + first; row < n * rows + Math.Min(rows, first + FlushRows); row++)
                {
                    ReadOnlySpan<float> source = x.AsSpan(row * channels, channels), gradient = dy.AsSpan(row * channels, channels);
                    Span<float> result = dx.AsSpan(row * channels, channels);
                    if (settings.Drop is { } drop)
                    {
                        gradient.CopyTo(upstream);
                        Omission.Of(drop, module).Clear(row * channels, upstream);
                        image.Propagate(source, upstream, result, steps, outside, Last);
                        Vectors.Map(result, gradient, upstream, result, new PlusDifference());
                    }
                    else
                    {
                        image.Propagate(source, gradient, result, steps, outside, Last);
                    }

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

    private sealed record ChannelParameters(int Entry, float[] Inverses, float[] Steps, float[] ZeroPoints, float[]? InverseScales)
    {
        /// <summary>The quantized values of a row.</summary>
        public void Quantize(ReadOnlySpan<float> x, Span<float> y, float last)
        {
            int lanes = Vector256<float>.Count, i = 0;
            for (; i <= x.Length - lanes; i += lanes)
            {
                Vector256<float> z = Vector256.Create(ZeroPoints, i);
                ((FakeQuantizer.Clamp(FakeQuantizer.Code(Vector256.Create(x.Slice(i, lanes)) * Vector256.Create(Inverses, i), z), last) - z) * Vector256.Create(Steps, i)).CopyTo(y[i..]);
            }

            for (; i < x.Length; i++) y[i] = (Math.Clamp(MathF.Round(x[i] * Inverses[i]) + ZeroPoints[i], 0, last) - ZeroPoints[i]) * Steps[i];
        }

        /// <summary>Gradient of a row; adds what each channel contributes to the gradient of its step, and the gradients that are outside the codes' range.</summary>
        public void Propagate(ReadOnlySpan<float> x, ReadOnlySpan<float> gradient, Span<float> result, Span<float> steps, Span<float> outside, float last)
        {
            int lanes = Vector256<float>.Count, i = 0;
            for (; i <= x.Length - lanes; i += lanes)
            {
                Vector256<float> z = Vector256.Create(ZeroPoints, i), u = Vector256.Create(x.Slice(i, lanes)) * Vector256.Create(Inverses, i), g = Vector256.Create(gradient.Slice(i, lanes));
                Vector256<float> inside = FakeQuantizer.Inside(FakeQuantizer.Code(u, z), last);
                (g & inside).CopyTo(result[i..]);
                (Vector256.Create<float>(steps.Slice(i, lanes)) + g * FakeQuantizer.StepDerivative(u, z, last)).CopyTo(steps[i..]);
                (Vector256.Create<float>(outside.Slice(i, lanes)) + (g & ~inside)).CopyTo(outside[i..]);
            }

            for (; i < x.Length; i++)
            {
                float u = x[i] * Inverses[i], code = MathF.Round(u) + ZeroPoints[i];
                bool inside = code >= 0 && code <= last;
                result[i] = inside ? gradient[i] : 0;
                steps[i] += gradient[i] * (Math.Clamp(code, 0, last) - ZeroPoints[i] - (inside ? u : 0));
                if (!inside) outside[i] += gradient[i];
            }
        }
    }

    /// <summary>a + (b − c).</summary>
    private readonly struct PlusDifference : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a + (b - c);
    }
}
