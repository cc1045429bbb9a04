using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>How activation ranges are collected.</summary>
/// <param name="Sampling">Steps and guidance of the trajectories. The steps' timesteps are those that get scales of their own.</param>
/// <param name="Images">Trajectories, latents or texts, rounded up to whole batches.</param>
/// <param name="Batch">How many of them at once; with guidance the network sees twice as many.</param>
/// <param name="Seed">Seed of the first picture; the others follow.</param>
/// <param name="Range">How ranges are chosen.</param>
/// <param name="Split">Which inputs are split in two.</param>
/// <param name="PerTimestep">Whether every timestep has a range of its own, or one serves all.</param>
public sealed record CalibrationOptions(
    SamplingSettings Sampling, int Images = 64, int Batch = 8, ulong Seed = 0, RangeMethod Range = RangeMethod.Mse, SplitInputs Split = SplitInputs.Concatenations, bool PerTimestep = true);

/// <summary>Ranges of the inputs of all calibrated layers.</summary>
/// <param name="Timesteps">Calibrated timesteps, ascending; a single one where one range serves all.</param>
/// <param name="Modules">Statistics by layer; layers that read the same value share one object.</param>
public sealed record ActivationStatistics(IReadOnlyList<float> Timesteps, IReadOnlyDictionary<string, ActivationRange> Modules);

/// <summary>
/// Watches a float network at work (<see cref="ICalibrationSource"/>) and collects the range of every layer's input at every timestep. No data is needed but the model: noise is seeded,
/// classes and prompts take turns. Memory is bounded by layers × timesteps × a histogram, whatever the number of pictures.
/// </summary>
public static class Calibrator
{
    /// <summary>Collects ranges.</summary>
    /// <param name="sources">What the network is shown.</param>
    /// <param name="networks">Executes the network.</param>
    /// <param name="origin">What messages call the model.</param>
    /// <param name="modules">Which layers to calibrate.</param>
    /// <param name="options">How.</param>
    /// <param name="divisors">Divisors of a layer's input channels (weight dilation), where it has any; the same for all layers that read a value.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <exception cref="InvalidRequestException">The options ask for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">The network computes values that are not finite.</exception>
    public static ActivationStatistics Run(
        CalibrationSourceFactory sources, ObservedNetworkFactory networks, string origin, Func<string, bool> modules, CalibrationOptions options, IReadOnlyDictionary<string, float[]>? divisors = null,
        IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        if (options.Images < 1) throw new InvalidRequestException("images", $"expected at least one image to calibrate with, found {options.Images}");
        ICalibrationSource source = sources(Math.Min(options.Batch, options.Images));
        float[] timesteps = options.PerTimestep ? [.. source.Timesteps.Distinct().Order()] : [0];
        Dictionary<string, ActivationRange> statistics = [];
        Dictionary<Node, List<ActivationRange>> watchers = [];
        using IObservedNetwork network = networks(source.InputShapes, Watch, cancellationToken);

        int batches = (options.Images + source.Items - 1) / source.Items, step = 0;
        network.Observer = Observe;
        for (int batch = 0; batch < batches; batch++)
        {
            int done = batch;
            source.Pass(batch * source.Items, Look, cancellationToken: cancellationToken);

            IReadOnlyDictionary<string, float[]> Look(int call, IReadOnlyDictionary<string, float[]> inputs)
            {
                step = options.PerTimestep ? Array.BinarySearch(timesteps, source.Timesteps[call]) : 0;
                IReadOnlyDictionary<string, float[]> outputs = network.Run(inputs, cancellationToken);
                progress?.Report((done + (call + 1.0) / source.Timesteps.Count) / batches);
                return outputs;
            }
        }

        return new ActivationStatistics(timesteps, statistics);

        IEnumerable<Node> Watch(Graph graph)
        {
            foreach (IReadOnlyList<ModuleInputs> same in ModuleInputs.ByValue(ModuleInputs.Of(graph, options.Split).Where(layer => modules(layer.Op.Module))))
            {
                ModuleInputs layer = same[0];
                ActivationRange range = new(timesteps, options.Range, layer.SplitChannel, divisors?.GetValueOrDefault(layer.Op.Module));
                foreach (ModuleInputs member in same) statistics.Add(member.Op.Module, range);
                foreach (Node input in layer.Inputs)
                {
                    if (!watchers.TryGetValue(input, out List<ActivationRange>? ranges)) watchers.Add(input, ranges = []);
                    ranges.Add(range);
                }
            }

            return watchers.Keys;
        }

        void Observe(Node node, ReadOnlySpan<float> rows)
        {
            foreach (ActivationRange range in watchers[node])
            {
                try
                {
                    range.Observe(step, rows, node.Shape.Channels);
                }
                catch (ArgumentException e)
                {
                    throw new ModelFormatException(origin, statistics.First(s => s.Value == range).Key, $"its input at timestep {timesteps[step]}: {e.Message}", e);
                }
            }
        }
    }

    /// <summary>Seeds of consecutive pictures.</summary>
    internal static ulong[] SeedsOf(ulong seed, int first, int count) => [.. Enumerable.Range(first, count).Select(i => seed + (ulong)i)];
}
