using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>
/// The pictures of a reference and the samples on the way to them, drawn once and kept in a file, so that any number of models is compared with them in little memory.
/// <code>
/// pictures      [count, C, H, W]            in [−1, 1]
/// trajectories  [pictures, calls, C, h, w]  the samples after every call of the sampler, of the first pictures; where they were asked for
/// timesteps     [calls]
/// </code>
/// </summary>
public sealed class ReferenceDrawing : IDisposable
{
    private readonly SafeTensorsFile _file;
    private readonly int _sampleLength;

    private ReferenceDrawing(DrawingSettings settings, SafeTensorsFile file)
    {
        (Settings, _file) = (settings, file);
        long[] pictures = [settings.Count, settings.PictureLength];
        if (!file.Find("pictures").Shape.SequenceEqual(pictures)) throw new ModelFormatException(file.Origin, "pictures", $"expected {pictures[0]} pictures of {pictures[1]} values, found {file.Find("pictures").ShapeText}");
        if (Trajectories == 0) return;
        Timesteps = file.ReadSingles("timesteps");
        TensorInfo trajectories = file.Find("trajectories");
        if (trajectories.Shape.Count != 3 || trajectories.Shape[0] != Trajectories || trajectories.Shape[1] != Timesteps.Count)
            throw new ModelFormatException(file.Origin, "trajectories", $"expected {Trajectories} pictures and {Timesteps.Count} calls, found {trajectories.ShapeText}");
        _sampleLength = (int)trajectories.Shape[2];
    }

    /// <summary>Pictures whose trajectories are kept.</summary>
    public int Trajectories => Math.Min(Settings.Options.Trajectories, Settings.Count);

    /// <summary>The timestep of every call; empty without trajectories.</summary>
    public IReadOnlyList<float> Timesteps { get; } = [];

    /// <summary>Who drew and what.</summary>
    internal DrawingSettings Settings { get; }

    /// <summary>Draws.</summary>
    /// <param name="reference">The model.</param>
    /// <param name="options">What to draw.</param>
    /// <param name="path">The file to keep it in; it appears when all is drawn.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Takes effect within one layer; nothing is left of a cancelled drawing.</param>
    /// <exception cref="InvalidRequestException">The options do not fit the model.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static async Task<ReferenceDrawing> DrawAsync(DiffusionPipeline reference, EvaluationOptions options, string path, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        options.Check();
        DrawingSettings settings = new(reference.Description, options);
        SafeTensorsWriter? writer = null;
        try
        {
            foreach ((int first, int count) in settings.Batches)
            {
                DrawnBatch batch = await settings.DrawAsync(reference, first, count, cancellationToken).ConfigureAwait(false);
                writer ??= Begin(path, settings, batch);
                foreach (float[] picture in batch.Pictures) writer.Write("pictures", TensorConversion.FromSingles(DType.F32, picture));
                for (int i = 0; i < batch.Watched; i++)
                {
                    foreach (float[] samples in batch.Samples) writer.Write("trajectories", TensorConversion.FromSingles(DType.F32, samples.AsSpan(i * (samples.Length / batch.Watched), samples.Length / batch.Watched)));
                }

                progress?.Report((first + (double)count) / settings.Count);
            }

            writer!.Complete();
        }
        finally
        {
            writer?.Dispose();
        }

        return Open(settings, path);
    }

    /// <summary>Opens what was drawn before with the same settings.</summary>
    /// <exception cref="ModelFormatException">The file is missing, damaged or of another size.</exception>
    internal static ReferenceDrawing Open(DrawingSettings settings, string path)
    {
        SafeTensorsFile file = SafeTensorsFile.Open(path);
        try
        {
            return new ReferenceDrawing(settings, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A picture's values in [−1, 1], <c>[C, H, W]</c>.</summary>
    public float[] Picture(int index) => Read("pictures", index, Settings.PictureLength);

    /// <summary>A picture's bytes.</summary>
    public Image Image(int index) => Imaging.Image.FromSample(Picture(index), Settings.Description.Channels, Settings.Description.Height, Settings.Description.Width);

    /// <summary>A picture's sample after a call.</summary>
    public float[] Sample(int index, int call) => Read("trajectories", (long)index * Timesteps.Count + call, _sampleLength);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static SafeTensorsWriter Begin(string path, DrawingSettings settings, DrawnBatch batch)
    {
        List<TensorInfo> tensors = [new("pictures", DType.F32, [settings.Count, settings.PictureLength])];
        if (batch.Watched == 0) return SafeTensorsWriter.Create(path, tensors);
        tensors.Add(new("trajectories", DType.F32, [Math.Min(settings.Options.Trajectories, settings.Count), batch.Timesteps.Count, batch.Samples[0].Length / batch.Watched]));
        tensors.Add(new("timesteps", DType.F32, [batch.Timesteps.Count]));
        SafeTensorsWriter writer = SafeTensorsWriter.Create(path, tensors);
        writer.Write("timesteps", TensorConversion.FromSingles(DType.F32, [.. batch.Timesteps]));
        return writer;
    }

    private float[] Read(string name, long index, int length)
    {
        byte[] bytes = new byte[length * sizeof(float)];
        _file.ReadRange(name, index * bytes.Length, bytes);
        float[] values = new float[length];
        TensorConversion.ToSingles(DType.F32, bytes, values);
        return values;
    }
}
