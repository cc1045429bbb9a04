using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>Writes a quantized model as a folder of its own: the float model's folder with another network.</summary>
public static class QuantizedModelWriter
{
    private static readonly JsonSerializerOptions s_json = new() { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Writes the folder, whole or not at all.</summary>
    /// <param name="run">The float model, how it was quantized, and the folder to write.</param>
    /// <param name="modules">Its quantized layers.</param>
    /// <param name="attention">How its attentions are computed.</param>
    /// <param name="report">The quality report to put beside the model.</param>
    /// <param name="training">How it was learned, or null.</param>
    /// <exception cref="OutputException">The folder exists and must not be replaced, or it cannot be written.</exception>
    public static void Write(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules, AttentionPrecision attention, QualityReport report, TrainingReport? training)
    {
        SourceModel model = run.Model;
        using OutputFolder folder = OutputFolder.Create(run.Request.Output, run.Request.Overwrite);
        FileInfo[] files =
        [
            new(Path.Combine(model.Folder.Path, "model_index.json")),
            .. model.Folder.Components.Keys.Where(component => component != model.Component).Select(component => new DirectoryInfo(model.Folder.ComponentPath(component)))
                .Where(component => component.Exists).SelectMany(component => component.GetFiles()),
        ];
        long copied = 0, all = files.Sum(file => file.Length) + report.Bytes;
        IProgress<double>? progress = run.Stage("writing");
        foreach (FileInfo file in files)
        {
            Copy(file.FullName, Path.Combine(folder.Path, Path.GetRelativePath(model.Folder.Path, file.FullName)), run.CancellationToken, bytes => progress?.Report((double)(copied += bytes) / all));
        }

        string network = Path.Combine(folder.Path, model.Component);
        Guard(network, () => Directory.CreateDirectory(network));
        LowBitFolder.Write(
            network, model.Config, Configuration(run, modules, attention, training), [.. modules.Values], Floats(model, modules), run.Request.FloatType,
            new PartialProgress(progress, (double)copied / all, (double)report.Bytes / all), run.CancellationToken);
        OutputFile.WriteAllBytes(Path.Combine(folder.Path, "quality.json"), report.ToJson());
        OutputFile.WriteAllText(Path.Combine(folder.Path, "quality.txt"), report.ToText());
        if (training is not null)
        {
            OutputFile.WriteAllBytes(Path.Combine(folder.Path, "training.json"), training.ToJson());
            training.LossPlot().Save(Path.Combine(folder.Path, "training-loss"));
            training.SqnrPlot().Save(Path.Combine(folder.Path, "training-sqnr"));
        }


        folder.Commit();
    }

    /// <summary>What the file says of how it was quantized.</summary>
    internal static QuantizationConfig Configuration(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules, AttentionPrecision attention, TrainingReport? training) => new()
    {
        Method = run.Method.Name,
        Default = new ModulePrecision(run.Standard.WeightBits, 0, run.Request.SymmetricWeights || run.Standard.WeightBits == 8, run.Standard.ActivationBits),
        Timesteps = modules.Values.Where(module => !module.Input.IsStatic).Select(module => module.Input.Timesteps.ToArray()).FirstOrDefault() ?? [],
        ModulesInFloat = [.. Layers(run.Model).Select(op => op.Module).Where(module => !modules.ContainsKey(module))],
        Attention = attention,
        Rules = run.Rules.Rules,
        Calibration = JsonSerializer.SerializeToElement(
            new
            {
                sampler = run.Model.Scheduler.ClassName,
                steps = run.Calibration.Sampling.Steps,
                guidance_scale = run.Calibration.Sampling.GuidanceScale,
                images = run.Calibration.Images,
                prompts = run.Model.Description.TakesText ? run.Calibration.Sampling.PromptEmbeddings?.Count ?? (run.Calibration.Sampling.Prompts ?? PromptList.Default).Count : (int?)null,
                height = run.Calibration.Sampling.Height,
                width = run.Calibration.Sampling.Width,
                seed = run.Calibration.Seed,
                weight_range = NameOf(run.Request.WeightRange),
                activation_range = NameOf(run.Calibration.Range),
                without = run.Request.Without.Count > 0 ? run.Request.Without : null,
                training = training?.Settings,
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
        Quantizers.RangeMethod.Grid => "grid",
        _ => "mse",
    };

    private static void Copy(string source, string target, CancellationToken cancellationToken, Action<int> copied) => Guard(target, () =>
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        // Not File.Copy, which would copy a read-only source's attributes and cannot be stopped.
        using FileStream from = File.OpenRead(source), to = File.Create(target);
        byte[] piece = new byte[1 << 20];
        for (int length = from.Read(piece); length > 0; length = from.Read(piece))
        {
            cancellationToken.ThrowIfCancellationRequested();
            to.Write(piece, 0, length);
            copied(length);
        }
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
