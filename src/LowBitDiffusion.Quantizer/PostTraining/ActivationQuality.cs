using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
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
        float[] quantized = new float[rows.Length];
        foreach (QuantizedModule module in _watched[node])
        {
            Quantize(module, rows, quantized, timestep);
            if (!_quality.TryGetValue(module.Input, out SortedDictionary<float, SignalQuality>? steps)) _quality.Add(module.Input, steps = []);
            if (!steps.TryGetValue(timestep, out SignalQuality? quality)) steps.Add(timestep, quality = new SignalQuality());
            quality.Add(rows, quantized);
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

    // As the integer contract has it: q = clamp(round_half_even(x·inv) + z, 0, 2^bits − 1), back to (q − z)·d.
    private static void Quantize(QuantizedModule module, ReadOnlySpan<float> rows, float[] quantized, float timestep)
    {
        int channels = module.InChannels, last = (1 << module.Input.Bits) - 1;
        float[] steps = new float[channels], inverses = new float[channels], zeros = new float[channels];
        foreach (ChannelSegment segment in module.Segments)
        {
            (float scale, int zero) = module.Input.At(timestep, segment.InputSegment);
            for (int c = segment.Start; c < segment.Start + segment.Count; c++)
            {
                steps[c] = module.InputChannelScales is { } divisors ? scale * divisors[c] : scale;
                (inverses[c], zeros[c]) = (1 / steps[c], zero);
            }
        }

        for (int row = 0; row < rows.Length; row += channels)
        {
            for (int c = 0; c < channels; c++)
                quantized[row + c] = (Math.Clamp(MathF.Round(rows[row + c] * inverses[c]) + zeros[c], 0, last) - zeros[c]) * steps[c];
        }
    }
}
