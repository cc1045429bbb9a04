using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Presets;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Models.RandomWeights;

/// <summary>How a random model is written.</summary>
public sealed record RandomModelOptions
{
    /// <summary>Bits of weights and activations of the denoising network, or <c>f32</c> for a float model. In low bit the decoder has 8 bits; text encoders are always float.</summary>
    public string Precision { get; init; } = RandomModel.Float;

    /// <summary>How attentions of low-bit networks are computed.</summary>
    public AttentionPrecision Attention { get; init; }

    /// <summary>How float tensors are stored: F32, F16 or BF16.</summary>
    public DType FloatType { get; init; } = DType.F16;

    /// <summary>Seed of the weights.</summary>
    public int Seed { get; init; }

    /// <summary>Whether a folder of the output's name is replaced.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>
/// Writes a published model as a folder with seeded random weights: everything that files have to do with (loading, memory, pipelines) can be measured and tried without the model
/// itself. It draws noise.
/// </summary>
public static class RandomModelFolder
{
    /// <summary>Every model's name.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [ModelPreset.DdpmCifar10, ModelPreset.StableDiffusion15, ModelPreset.StableDiffusion21, ModelPreset.StableDiffusionXL, ModelPreset.DiTXL2];

    /// <summary>Writes the folder, whole or not at all. Tensors are made one piece at a time.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="output">The folder to write.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told after every tensor.</param>
    /// <param name="cancellationToken">Checked between tensors; nothing is left of a cancelled folder.</param>
    /// <exception cref="InvalidRequestException">There is no such model or precision.</exception>
    /// <exception cref="OutputException">The folder exists and is not to be replaced, or it cannot be written.</exception>
    public static void Write(
        string name, string output, RandomModelOptions? options = null, IProgress<ConversionProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        if (!Names.Contains(name)) throw new InvalidRequestException("architecture", $"expected one of {string.Join(", ", Names)}, found {name}");
        Write(ModelPreset.Read(name), name, output, options ?? new(), progress, cancellationToken);
    }

    /// <summary>Writes a model of any size.</summary>
    /// <param name="model">Its configurations by component, and <c>model_index</c>.</param>
    /// <param name="name">What messages call it.</param>
    /// <param name="output">The folder to write.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told after every tensor.</param>
    /// <param name="cancellationToken">Checked between tensors.</param>
    internal static void Write(JsonObject model, string name, string output, RandomModelOptions options, IProgress<ConversionProgress>? progress, CancellationToken cancellationToken)
    {
        ModulePrecision? precision = RandomModel.Parse(options.Precision);
        using OutputFolder folder = OutputFolder.Create(output, options.Overwrite);
        string[] components = [.. model["model_index"]!.AsObject().Select(entry => entry.Key).Where(model.ContainsKey)];
        Network[] networks = [.. components.Where(component => !IsTokenizer(component) && component != "scheduler").Select(component => new Network(component, model[component]!.AsObject(), name, precision, options))];
        double total = networks.Sum(network => (double)network.Parameters), before = 0;
        foreach (string component in components) Directory.CreateDirectory(Path.Combine(folder.Path, component));
        foreach (Network network in networks)
        {
            double share = network.Parameters / total, done = before;
            network.Write(Path.Combine(folder.Path, network.Component), new DelegateProgress(fraction => progress?.Report(new ConversionProgress(done + share * fraction, network.Component))), cancellationToken);
            before += share;
        }

        WriteJson("scheduler/scheduler_config.json", "scheduler");
        foreach (string component in components.Where(IsTokenizer))
        {
            WriteJson($"{component}/tokenizer_config.json", component);
            OutputFile.WriteAllBytes(Path.Combine(folder.Path, component, "vocab.json"), ClipVocabulary.Vocabulary());
            OutputFile.WriteAllBytes(Path.Combine(folder.Path, component, "merges.txt"), ClipVocabulary.Merges());
        }

        WriteJson("model_index.json", "model_index");
        folder.Commit();

        void WriteJson(string file, string key) => OutputFile.WriteAllBytes(Path.Combine(folder.Path, file), ModelPreset.Text(model[key]!.AsObject()));
    }

    private static bool IsTokenizer(string component) => component.StartsWith("tokenizer", StringComparison.Ordinal);

    private sealed class Network
    {
        private readonly JsonConfig _config;
        private readonly RandomTensors _tensors;
        private readonly Graph _decoder, _whole;
        private readonly ModulePrecision? _precision;
        private readonly RandomModelOptions _options;

        public Network(string component, JsonObject config, string model, ModulePrecision? precision, RandomModelOptions options)
        {
            (Component, _options) = (component, options);
            _config = JsonConfig.Parse($"{model}/{component}", config.ToJsonString());
            INetwork network = NetworkRegistry.Create(_config);
            (_decoder, _whole) = (network.Build(network.NativeInputs(1)), network.Build(network.WholeInputs(1)));
            _tensors = new RandomTensors(_whole, options.Seed, component);
            _precision = precision is null || component.StartsWith("text_encoder", StringComparison.Ordinal) ? null : network is IAutoencoder ? precision with { WeightBits = 8, ActivationBits = 8 } : precision;
        }

        public string Component { get; }

        public long Parameters => _tensors.Tensors.Values.Sum(info => info.Elements);

        public void Write(string folder, IProgress<double> progress, CancellationToken cancellationToken)
        {
            if (_precision is null) WriteFloat(folder, progress, cancellationToken);
            else WriteLowBit(folder, _precision, progress, cancellationToken);
        }

        private void WriteFloat(string folder, IProgress<double> progress, CancellationToken cancellationToken)
        {
            string file = ComponentFolder.WeightFileOf(_config);
            long done = 0, total = _tensors.Tensors.Values.Sum(info => info.ByteLength);
            using (SafeTensorsWriter writer = SafeTensorsWriter.Create(Path.Combine(folder, file), _tensors.Tensors.Values.Select(info => new TensorInfo(info.Name, _options.FloatType, info.Shape))))
            {
                foreach (TensorInfo info in _tensors.Tensors.Values)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    FloatStorage.Copy(_tensors, info, writer, _options.FloatType);
                    progress.Report((double)(done += info.ByteLength) / total);
                }

                writer.Complete();
            }

            OutputFile.WriteAllText(Path.Combine(folder, "config.json"), _config.Root.GetRawText());
        }

        private void WriteLowBit(string folder, ModulePrecision precision, IProgress<double> progress, CancellationToken cancellationToken)
        {
            IReadOnlyDictionary<string, QuantizedModule> modules = RandomQuantized.Modules(_decoder, precision, _options.Seed);
            MatrixOp[] layers = [.. _whole.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module)];
            HashSet<string> quantized = [.. layers.Where(op => modules.ContainsKey(op.Module)).SelectMany(op => op.Parameters).Select(parameter => parameter.Name)];
            QuantizationConfig configuration = new()
            {
                Method = "random",
                Default = precision,
                ModulesInFloat = [.. layers.Select(op => op.Module).Where(module => !modules.ContainsKey(module))],
                Attention = _options.Attention,
            };
            RenamedTensors floats = new(_tensors, _tensors.Tensors.Keys.Where(name => !quantized.Contains(name)).ToDictionary(name => name));
            LowBitFolder.Write(folder, _config, configuration, [.. modules.Values], floats, _options.FloatType, progress, cancellationToken);
        }
    }

    private sealed class DelegateProgress(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
