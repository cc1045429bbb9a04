using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>
/// Writes a quantized model as a folder of its own: the folder that was given with another network, all others as they are, quantized or not. Reports on the denoiser are beside <c>model_index.json</c>,
/// those on another network in its folder, so that they stay when the next network is quantized.
/// </summary>
public static class QuantizedModelWriter
{
    private static readonly JsonSerializerOptions s_json = new() { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    private static readonly string[] s_reports = ["quality.json", "quality.txt", "training.json", "training-loss.png", "training-loss.svg", "training-sqnr.png", "training-sqnr.svg"];
    private static readonly string[] s_tokenizer = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];

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
        FileInfo[] files = [.. Others(model).Where(file => file.Exists)];
        long copied = 0, all = files.Sum(file => file.Length) + report.Bytes;
        IProgress<double>? progress = run.Stage("writing");
        foreach (FileInfo file in files)
        {
            Copy(file.FullName, Path.Combine(folder.Path, Path.GetRelativePath(model.Path, file.FullName)), run.CancellationToken, bytes => progress?.Report((double)(copied += bytes) / all));
        }

        string network = Path.Combine(folder.Path, model.Component), reports = model.IsDenoiser ? folder.Path : network;
        Guard(network, () => Directory.CreateDirectory(network));
        LowBitFolder.Write(
            network, model.Config, Configuration(run, modules, attention, training), [.. modules.Values], Floats(model, modules), run.Request.FloatType,
            new PartialProgress(progress, (double)copied / all, (double)report.Bytes / all), run.CancellationToken);
        OutputFile.WriteAllBytes(Path.Combine(reports, "quality.json"), report.ToJson());
        OutputFile.WriteAllText(Path.Combine(reports, "quality.txt"), report.ToText());
        if (training is not null)
        {
            OutputFile.WriteAllBytes(Path.Combine(reports, "training.json"), training.ToJson());
            training.LossPlot().Save(Path.Combine(reports, "training-loss"));
            training.SqnrPlot().Save(Path.Combine(reports, "training-sqnr"));
        }

        folder.Commit();
    }

    // Of a network alone only its tokenizer: its folder may be a whole repository.
    private static IEnumerable<FileInfo> Others(SourceModel model)
    {
        if (model.Folder is not { } source) return s_tokenizer.Select(name => new FileInfo(Path.Combine(model.Path, name)));
        IEnumerable<string> top = model.IsDenoiser ? ["model_index.json"] : ["model_index.json", .. s_reports];
        return
        [
            .. top.Select(name => new FileInfo(Path.Combine(source.Path, name))),
            .. source.Components.Keys.Where(component => component != model.Component).Select(component => new DirectoryInfo(source.ComponentPath(component)))
                .Where(component => component.Exists).SelectMany(component => component.GetFiles()),
        ];
    }

    /// <summary>What the file says of how it was quantized.</summary>
    internal static QuantizationConfig Configuration(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules, AttentionPrecision attention, TrainingReport? training)
    {
        bool draws = run.Model.Pipeline is not null && run.Model.Network is not ClipTextModel;
        return new()
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
                    sampler = draws ? run.Model.Pipeline!.Scheduler.ClassName : null,
                    steps = draws ? run.Calibration.Sampling.Steps : (int?)null,
                    guidance_scale = draws ? run.Calibration.Sampling.GuidanceScale : (float?)null,
                    images = run.Calibration.Images,
                    prompts = run.Model.Network is ClipTextModel || run.Model.Description is { TakesText: true } ? run.Calibration.Sampling.PromptEmbeddings?.Count ?? (run.Calibration.Sampling.Prompts ?? PromptList.Default).Count : (int?)null,
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
    }

    // Every tensor that the network reads and no quantized layer holds, under the name the network has for it.
    private static RenamedTensors Floats(SourceModel model, IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        Graph graph = model.Graph;
        HashSet<string> quantized = [.. Layers(model).Where(op => modules.ContainsKey(op.Module)).SelectMany(op => op.Parameters).Select(parameter => parameter.Name)];
        return new RenamedTensors(model.Tensors, graph.Parameters.Select(parameter => parameter.Name).Where(name => !quantized.Contains(name)).ToDictionary(name => name, Stored));

        string Stored(string name) => model.Network.LegacyNames(name).Prepend(name).FirstOrDefault(model.Tensors.Tensors.ContainsKey) ?? name;
    }

    private static IEnumerable<MatrixOp> Layers(SourceModel model) =>
        model.Graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module);

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
