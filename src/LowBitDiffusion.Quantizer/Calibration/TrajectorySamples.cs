using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Sampling;

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
/// Calibration sets: what the float network is shown while it draws pictures, with guidance both halves of its batch, in random order. Kept in half precision as a file of the saved run, from which it is read
/// in every case, so that a resumed run learns from the same bits.
/// </summary>
public static class TrajectorySamples
{
    private const int RandomSpread = 2;

    /// <summary>Draws a set, or reads it if the run has drawn it already.</summary>
    /// <param name="run">The run.</param>
    /// <param name="count">How many samples.</param>
    /// <param name="choice">Which points.</param>
    public static ICalibrationSamples Of(QuantizationRun run, int count, SampleChoice choice)
    {
        string path = run.Saved.PathOf("samples.safetensors");
        if (!File.Exists(path)) Write(path, Draw(run, count, choice), count);
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        return new InMemoryCalibrationSamples(file.Tensors.Keys.ToDictionary(name => name, file.ReadSingles));
    }

    private static Dictionary<string, float[]> Draw(QuantizationRun run, int count, SampleChoice choice)
    {
        IProgress<double>? progress = run.Stage("sampling");
        GuidedSampler sampler = new(run.Model, run.Calibration.Sampling, run.Calibration.Batch, run.Stage("encoding"), run.CancellationToken);
        int calls = sampler.Timesteps.Count, rows = sampler.NetworkBatch, spread = choice == SampleChoice.Random ? RandomSpread : 1;
        int batches = (count * spread + calls * rows - 1) / (calls * rows), points = batches * calls * rows;
        // Point p comes from row p % rows of call p / rows % calls of batch p / (rows·calls); the lot that puts points in order also chooses them.
        int[] order = [.. Enumerable.Range(0, points).OrderBy(point => Mix.Hash(run.Calibration.Seed ^ Mix.Hash((ulong)point)))], places = new int[points];
        for (int i = 0; i < points; i++) places[order[i]] = i;
        Dictionary<string, float[]> set = [];
        using IObservedNetwork network = run.Networks(sampler.InputShapes, cancellationToken: run.CancellationToken);
        for (int batch = 0; batch < batches; batch++)
        {
            int first = batch * sampler.Images, done = batch;
            IReadOnlyDictionary<string, float[]> conditions = sampler.Conditions(first);
            network.Prepare([.. sampler.Timesteps], conditions, run.CancellationToken);
            sampler.Draw(Predict, network.PredictionLength, Calibrator.SeedsOf(run.Calibration.Seed, first, sampler.Images), cancellationToken: run.CancellationToken);

            void Predict(int call, ReadOnlySpan<float> sample, Span<float> prediction)
            {
                for (int row = 0; row < rows; row++)
                {
                    int place = places[(done * calls + call) * rows + row];
                    if (place >= count) continue;
                    Keep("sample", sample, row, place);
                    Keep("timestep", [sampler.Timesteps[call]], 0, place);
                    foreach ((string name, float[] values) in conditions) Keep(name, values, row, place);
                }

                network.Predict(call, sample, prediction, run.CancellationToken);
                progress?.Report((done + (call + 1.0) / calls) / batches);
            }
        }

        return set;

        void Keep(string name, ReadOnlySpan<float> batch, int row, int place)
        {
            int elements = name == "timestep" ? 1 : batch.Length / rows;
            if (!set.TryGetValue(name, out float[]? all)) set.Add(name, all = new float[count * elements]);
            batch.Slice(row * elements, elements).CopyTo(all.AsSpan(place * elements));
        }
    }

    // Timesteps and labels are numbers that half precision does not hold.
    private static void Write(string path, Dictionary<string, float[]> set, int count) => SafeTensorsWriter.Write(
        path,
        [.. set.Select(input =>
        {
            DType type = input.Key == "sample" ? DType.F16 : DType.F32;
            return (new TensorInfo(input.Key, type, [count, input.Value.Length / count]), TensorConversion.FromSingles(type, input.Value));
        })]);
}
