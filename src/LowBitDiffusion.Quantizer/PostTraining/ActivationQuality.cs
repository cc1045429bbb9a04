using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Metrics;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>Noise that the quantizers of layer inputs add, by layer and timestep. Layers that share a table are measured once.</summary>
internal sealed class ActivationQuality(IReadOnlyDictionary<string, QuantizedModule> modules)
{
    private readonly Dictionary<Node, List<QuantizedModule>> _watched = [];
    private readonly Dictionary<TimestepTable, SortedDictionary<float, SignalQuality>> _quality = [];

    /// <summary>Nodes to observe.</summary>
    public IEnumerable<Node> Watch(Graph graph, SplitInputs split)
    {
        foreach (ModuleInputs layer in ModuleInputs.Of(graph, split))
        {
            if (!modules.TryGetValue(layer.Op.Module, out QuantizedModule? module)) continue;
            foreach (Node input in layer.Inputs)
            {
                if (!_watched.TryGetValue(input, out List<QuantizedModule>? readers)) _watched.Add(input, readers = []);
                if (!readers.Any(reader => reader.Input == module.Input)) readers.Add(module);
            }
        }

        return _watched.Keys;
    }

    /// <summary>Takes note of a value, as dense rows of channels.</summary>
    public void Observe(Node node, ReadOnlySpan<float> rows, float timestep)
    {
        foreach (QuantizedModule module in _watched[node])
        {
            if (!_quality.TryGetValue(module.Input, out SortedDictionary<float, SignalQuality>? steps)) _quality.Add(module.Input, steps = []);
            if (!steps.TryGetValue(timestep, out SignalQuality? quality)) steps.Add(timestep, quality = new SignalQuality());
            Compare(module, rows, timestep, quality);
        }
    }

    /// <summary>SQNR in decibels over all timesteps and of the worst; null where nothing was seen or nothing was lost.</summary>
    public (double? All, double? Worst, float? Timestep) Of(QuantizedModule module)
    {
        if (!_quality.TryGetValue(module.Input, out SortedDictionary<float, SignalQuality>? steps)) return (null, null, null);
        double signal = steps.Values.Sum(quality => quality.Signal), noise = steps.Values.Sum(quality => quality.Noise);
        if (signal == 0 || noise == 0) return (null, null, null);
        (float timestep, SignalQuality worst) = steps.Where(step => step.Value.Signal > 0).MinBy(step => step.Value.Sqnr);
        return (10 * Math.Log10(signal / noise), worst.Sqnr, timestep);
    }

    // A row at a time, which stays in the cache.
    private static void Compare(QuantizedModule module, ReadOnlySpan<float> rows, float timestep, SignalQuality quality)
    {
        int channels = module.InChannels;
        float[] steps = new float[channels], zeros = new float[channels], quantized = new float[channels];
        foreach (ChannelSegment segment in module.Segments)
        {
            (float scale, int zero) = module.Input.At(timestep, segment.InputSegment);
            for (int c = segment.Start; c < segment.Start + segment.Count; c++) (steps[c], zeros[c]) = (module.InputChannelScales is { } divisors ? scale * divisors[c] : scale, zero);
        }

        QuantizedValue quantize = new(module.Input.Bits);
        for (int start = 0; start < rows.Length; start += channels)
        {
            ReadOnlySpan<float> row = rows.Slice(start, channels);
            Vectors.Map(row, steps, zeros, quantized, quantize);
            quality.Add(row, quantized);
        }
    }

    /// <summary>What the integer contract makes of x with step and zero point: <c>q = clamp(round_half_even(x·(1/step)) + z, 0, 2^bits − 1)</c>, back to <c>(q − z)·step</c>.</summary>
    private readonly struct QuantizedValue(int bits) : IFunction
    {
        private readonly float _last = (1 << bits) - 1;

        public Vector256<float> Invoke(Vector256<float> x, Vector256<float> step, Vector256<float> zero) =>
            (Vector256.Min(Vector256.Max(Vector256.Round(x * (Vector256<float>.One / step)) + zero, Vector256<float>.Zero), Vector256.Create(_last)) - zero) * step;
    }
}
