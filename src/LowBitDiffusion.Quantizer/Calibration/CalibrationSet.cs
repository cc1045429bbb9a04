using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>Which points of trajectories a calibration set has.</summary>
public enum SampleChoice
{
    /// <summary>As many of every timestep: all points of each trajectory (Q-Diffusion, TFMQ-DM).</summary>
    EveryStep,
    /// <summary>Points of any timestep by lot, from more trajectories (DilateQuant).</summary>
    Random,
}

/// <summary>
/// Calibration sets: what a source shows the float network, in random order. Kept in half precision as a file of the saved run, from which it is read in every case, so that a resumed run learns from the
/// same bits.
/// </summary>
public static class CalibrationSet
{
    private const int RandomSpread = 2;

    // Timesteps, labels and tokens are numbers that half precision does not hold.
    private static readonly string[] s_halves = ["sample", "image", "latent"];

    /// <summary>Gathers a set, or reads it if the run has gathered it already.</summary>
    /// <param name="run">The run.</param>
    /// <param name="count">How many samples.</param>
    /// <param name="choice">Which points.</param>
    public static ICalibrationSamples Of(QuantizationRun run, int count, SampleChoice choice)
    {
        string path = run.Saved.PathOf("samples.safetensors");
        if (!File.Exists(path)) Write(path, Gather(run, count, choice), count);
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        return new InMemoryCalibrationSamples(file.Tensors.Keys.ToDictionary(name => name, file.ReadSingles), count);
    }

    private static Dictionary<string, float[]> Gather(QuantizationRun run, int count, SampleChoice choice)
    {
        IProgress<double>? progress = run.Stage("sampling");
        ICalibrationSource source = run.Source(run.Calibration.Batch);
        int calls = source.Timesteps.Count, rows = source.InputShapes.Values.First()[0], spread = choice == SampleChoice.Random && source.Worthwhile is null ? RandomSpread : 1;
        int batches = (count * spread + calls * rows - 1) / (calls * rows), points = batches * calls * rows;
        // Point p comes from row p % rows of call p / rows % calls of batch p / (rows·calls); the lot that puts points in order also chooses them.
        int[] order = [.. Enumerable.Range(0, points).OrderBy(point => Mix.Hash(run.Calibration.Seed ^ Mix.Hash((ulong)point)))], places = new int[points];
        for (int i = 0; i < points; i++) places[order[i]] = i;
        Dictionary<string, float[]> set = [];
        using IObservedNetwork network = run.Networks(source.InputShapes, cancellationToken: run.CancellationToken);
        for (int batch = 0; batch < batches; batch++)
        {
            int done = batch;
            source.Pass(batch * source.Items, Show, cancellationToken: run.CancellationToken);

            IReadOnlyDictionary<string, float[]> Show(int call, IReadOnlyDictionary<string, float[]> inputs)
            {
                for (int row = 0; row < rows; row++)
                {
                    int place = places[(done * calls + call) * rows + row];
                    if (place >= count) continue;
                    foreach ((string name, float[] values) in inputs) Keep(name, values, row, place);
                }

                IReadOnlyDictionary<string, float[]> outputs = network.Run(inputs, run.CancellationToken);
                progress?.Report((done + (call + 1.0) / calls) / batches);
                return outputs;
            }
        }

        return set;

        void Keep(string name, float[] batch, int row, int place)
        {
            int elements = batch.Length / rows;
            if (!set.TryGetValue(name, out float[]? all)) set.Add(name, all = new float[count * elements]);
            batch.AsSpan(row * elements, elements).CopyTo(all.AsSpan(place * elements));
        }
    }

    private static void Write(string path, Dictionary<string, float[]> set, int count) => SafeTensorsWriter.Write(
        path,
        [.. set.Select(input =>
        {
            DType type = s_halves.Contains(input.Key) ? DType.F16 : DType.F32;
            return (new TensorInfo(input.Key, type, [count, input.Value.Length / count]), TensorConversion.FromSingles(type, input.Value));
        })]);
}
