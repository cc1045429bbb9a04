using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>Writes a quantized model as a folder of its own: the float model's folder with another network.</summary>
public static class QuantizedModelWriter
{
    private static readonly JsonSerializerOptions s_json = new() { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Writes the folder, whole or not at all.</summary>
    /// <param name="model">The float model.</param>
    /// <param name="modules">Its quantized layers.</param>
    /// <param name="options">How they were quantized.</param>
    /// <param name="report">The quality report to put beside the model, or null.</param>
    /// <param name="output">The folder to write.</param>
    /// <param name="progress">Told the fraction written.</param>
    /// <param name="cancellationToken">Checked between tensors.</param>
    /// <exception cref="OutputException">The folder exists and must not be replaced, or it cannot be written.</exception>
    public static void Write(
        SourceModel model, IReadOnlyDictionary<string, QuantizedModule> modules, PostTrainingOptions options, QualityReport? report, string output,
        IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        using OutputFolder folder = OutputFolder.Create(output, options.Overwrite);
        Copy(Path.Combine(model.Folder.Path, "model_index.json"), Path.Combine(folder.Path, "model_index.json"));
        foreach (string component in model.Folder.Components.Keys.Where(component => component != model.Component))
        {
            if (Directory.Exists(model.Folder.ComponentPath(component))) CopyFolder(model.Folder.ComponentPath(component), Path.Combine(folder.Path, component), cancellationToken);
        }

        string network = Path.Combine(folder.Path, model.Component);
        Guard(network, () => Directory.CreateDirectory(network));
        LowBitFolder.Write(network, model.Config, Configuration(model, modules, options), [.. modules.Values], Floats(model, modules), options.FloatType, progress, cancellationToken);
        if (report is not null)
        {
            OutputFile.WriteAllBytes(Path.Combine(folder.Path, "quality.json"), report.ToJson());
            OutputFile.WriteAllBytes(Path.Combine(folder.Path, "quality.txt"), System.Text.Encoding.UTF8.GetBytes(report.ToText()));
        }

        folder.Commit();
    }

    /// <summary>What the file says of how it was quantized.</summary>
    internal static QuantizationConfig Configuration(SourceModel model, IReadOnlyDictionary<string, QuantizedModule> modules, PostTrainingOptions options) => new()
    {
        Method = NameOf(options.WeightRange),
        Default = new ModulePrecision(options.Standard.WeightBits, 0, options.SymmetricWeights || options.Standard.WeightBits == 8, options.Standard.ActivationBits),
        Timesteps = modules.Values.Select(module => module.Input.Timesteps.ToArray()).FirstOrDefault() ?? [],
        ModulesInFloat = [.. Layers(model).Select(op => op.Module).Where(module => !modules.ContainsKey(module))],
        Attention = options.Attention,
        Rules = options.Rules.Rules,
        Calibration = JsonSerializer.SerializeToElement(
            new
            {
                sampler = model.Scheduler.ClassName,
                steps = options.Calibration.Sampling.Steps,
                guidance_scale = options.Calibration.Sampling.GuidanceScale,
                images = options.Calibration.Images,
                prompts = model.Description.TakesText ? options.Calibration.Sampling.PromptEmbeddings?.Count ?? (options.Calibration.Sampling.Prompts ?? PromptList.Default).Count : (int?)null,
                height = options.Calibration.Sampling.Height,
                width = options.Calibration.Sampling.Width,
                seed = options.Calibration.Seed,
                weight_range = NameOf(options.WeightRange),
                activation_range = NameOf(options.Calibration.Range),
            },
            s_json),
    };

    // Every tensor that the network reads and no quantized layer holds, under the name the network has for it.
    private static RenamedTensors Floats(SourceModel model, IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        Graph graph = model.Network.Build(model.Network.NativeInputs(batch: 1));
        HashSet<string> quantized = [.. Layers(model).Where(op => modules.ContainsKey(op.Module)).SelectMany(op => op.Parameters).Select(parameter => parameter.Name)];
        return new RenamedTensors(model.Tensors, graph.Parameters.Select(parameter => parameter.Name).Where(name => !quantized.Contains(name)).ToDictionary(name => name, Stored));

        string Stored(string name) => model.Network.LegacyNames(name).Prepend(name).FirstOrDefault(model.Tensors.Tensors.ContainsKey) ?? name;
    }

    private static IEnumerable<MatrixOp> Layers(SourceModel model) =>
        model.Network.Build(model.Network.NativeInputs(batch: 1)).MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module);

    private static string NameOf(Quantizers.RangeMethod method) => method switch
    {
        Quantizers.RangeMethod.MinMax => "min-max",
        Quantizers.RangeMethod.EmaMinMax => "ema-min-max",
        _ => "mse",
    };

    private static void CopyFolder(string source, string target, CancellationToken cancellationToken)
    {
        Guard(target, () => Directory.CreateDirectory(target));
        foreach (string file in Directory.GetFiles(source))
        {
            cancellationToken.ThrowIfCancellationRequested();
            Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }
    }

    private static void Copy(string source, string target) => Guard(target, () =>
    {
        // Not File.Copy, which would copy a read-only source's attributes.
        using FileStream from = File.OpenRead(source), to = File.Create(target);
        from.CopyTo(to);
    });

    private static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OutputException(path, $"cannot be written: {e.Message}", e);
        }
    }
}
