using LowBitDiffusion.Formats.Checkpoints;

namespace LowBitDiffusion.Formats;

/// <summary>How a model is converted.</summary>
public sealed record ConversionOptions
{
    /// <summary>How float tensors are stored: F32, F16 or BF16; null for as they are.</summary>
    public DType? FloatType { get; init; }

    /// <summary>Whether a folder of the output's name is replaced.</summary>
    public bool Overwrite { get; init; }

    /// <summary>What a single-file checkpoint does not say.</summary>
    public CheckpointOptions Checkpoint { get; init; } = new();
}

/// <summary>What is being written.</summary>
/// <param name="Fraction">Share of all bytes that is written, 0 to 1.</param>
/// <param name="Component">The network whose weights are written.</param>
public readonly record struct ConversionProgress(double Fraction, string Component);

/// <summary>
/// Writes a model as a folder in diffusers' layout, from a single-file checkpoint or from such a folder, with its floats in another type if wanted. Tensors pass in
/// pieces of a few megabytes, whatever their size.
/// </summary>
public static class FolderConverter
{
    /// <summary>Converts a model, or a network's folder alone. The output appears complete or not at all.</summary>
    /// <param name="model">A folder with <c>model_index.json</c>, a folder with <c>config.json</c> and weights, or a file for <see cref="SingleFileCheckpoint"/>.</param>
    /// <param name="output">The folder to write.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told after every tensor.</param>
    /// <param name="cancellationToken">Checked between tensors; nothing is left of a cancelled conversion.</param>
    /// <exception cref="ModelFormatException">The model is missing, damaged or not known.</exception>
    /// <exception cref="InvalidRequestException">The float type is none of the three, a value does not fit it, or a network is quantized.</exception>
    /// <exception cref="OutputException">The output exists and is not to be replaced, or it cannot be written.</exception>
    public static void Convert(
        string model, string output, ConversionOptions? options = null, IProgress<ConversionProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        options ??= new();
        if (options.FloatType is { } type and not (DType.F32 or DType.F16 or DType.BF16))
            throw new InvalidRequestException(nameof(options.FloatType), $"expected F32, F16 or BF16, found {DTypes.Name(type)}");
        if (!File.Exists(model) && !File.Exists(Path.Combine(model, "model_index.json")) && File.Exists(Path.Combine(model, "config.json")))
        {
            Write(new FolderFiles(model), [""], output, options, progress, cancellationToken);
            return;
        }

        ModelFolder folder = ModelFolder.Open(model, options.Checkpoint);
        Write(folder.Parts, ["", .. folder.Components.Keys], output, options, progress, cancellationToken);
    }

    /// <summary><see cref="Convert"/> on another thread.</summary>
    /// <inheritdoc cref="Convert"/>
    public static Task ConvertAsync(
        string model, string output, ConversionOptions? options = null, IProgress<ConversionProgress>? progress = null, CancellationToken cancellationToken = default) =>
        Task.Run(() => Convert(model, output, options, progress, cancellationToken), cancellationToken);

    private static void Write(
        IModelFiles files, IReadOnlyList<string> components, string output, ConversionOptions options, IProgress<ConversionProgress>? progress, CancellationToken cancellationToken)
    {
        using OutputFolder folder = OutputFolder.Create(output, options.Overwrite);
        List<(string Name, ComponentFolder Component)> networks = [];
        try
        {
            foreach (string component in components.Where(component => files.HasWeights(component) || (component.Length > 0 && files.Files(component).Contains("config.json")))) networks.Add((component, OpenFloat(files, component)));
            long total = Math.Max(networks.Sum(network => network.Component.Weights.Tensors.Values.Sum(info => info.ByteLength)), 1), done = 0;
            foreach ((string name, ComponentFolder component) in networks)
            {
                WriteWeights(component, WeightFile(folder, name, component), options.FloatType, info =>
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    done += info.ByteLength;
                    progress?.Report(new ConversionProgress((double)done / total, name));
                });
            }
        }
        finally
        {
            foreach ((_, ComponentFolder component) in networks) component.Dispose();
        }

        // Configurations come last: a folder with one has its weights.
        foreach (string component in components)
        {
            foreach (string file in files.Files(component))
                OutputFile.WriteAllBytes(Path.Combine(Subfolder(folder, component), file), files.Read(component, file));
        }

        cancellationToken.ThrowIfCancellationRequested();
        folder.Commit();
    }

    private static ComponentFolder OpenFloat(IModelFiles files, string name)
    {
        ComponentFolder component = files.Open(name);
        if (component.Quantization is not { } quantization) return component;
        component.Dispose();
        throw new InvalidRequestException("model", $"{component.Path} is quantized ({quantization.Method}), expected a float model");
    }

    private static void WriteWeights(ComponentFolder component, string file, DType? floatType, Action<TensorInfo> written)
    {
        IReadOnlyCollection<TensorInfo> tensors = [.. component.Weights.Tensors.Values];
        // Readers of other libraries ask for the format.
        using SafeTensorsWriter writer = SafeTensorsWriter.Create(file, tensors.Select(info => Converts(info) is { } type ? new TensorInfo(info.Name, type, info.Shape) : info), new Dictionary<string, string> { ["format"] = "pt" });
        foreach (TensorInfo info in tensors)
        {
            FloatStorage.Copy(component.Weights, info, writer, Converts(info) ?? info.DType);
            written(info);
        }

        writer.Complete();

        DType? Converts(TensorInfo info) => floatType is not null && FloatStorage.IsFloat(info.DType) ? floatType : null;
    }

    // Text encoders come from a library that has another name for the file.
    private static string WeightFile(OutputFolder folder, string name, ComponentFolder component) =>
        Path.Combine(Subfolder(folder, name), ComponentFolder.WeightFileOf(component.Config));

    private static string Subfolder(OutputFolder folder, string component)
    {
        if (component.Length == 0) return folder.Path;
        string path = Path.Combine(folder.Path, component);
        try
        {
            Directory.CreateDirectory(path);
            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OutputException(path, $"cannot be written: {e.Message}", e);
        }
    }
}
