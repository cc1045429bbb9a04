using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>
/// A model folder opened to be quantized: one of its networks, and the pipeline that says what the network is told; or an autoencoder or a text encoder alone. Safe for concurrent reads.
/// </summary>
public sealed class SourceModel : IDisposable
{
    private readonly NetworkFolder _network;
    private readonly Dictionary<string, Dictionary<string, float[]>> _encoded = [];

    private SourceModel(DiffusionModel pipeline, ModelComponent component) => (Pipeline, _network, Pool) = (pipeline, component.Files, pipeline.Pool);

    private SourceModel(NetworkFolder alone, int? threads) => (_network, Pool) = (alone, new WorkerPool(threads ?? Environment.ProcessorCount));

    /// <summary>The whole folder; null for a network alone.</summary>
    public ModelFolder? Folder => _network.Model;

    /// <summary>The folder that was opened.</summary>
    public string Path => Folder?.Path ?? _network.Component.Path;

    /// <summary>Name of the network's folder: <c>unet</c>, <c>transformer</c>, <c>vae</c>; empty for a network alone.</summary>
    public string Component => _network.Name;

    /// <summary>Whether the network is what the pipeline draws with.</summary>
    public bool IsDenoiser => Pipeline is not null && Component == Pipeline.Denoiser.Name;

    /// <summary>The network's configuration.</summary>
    public JsonConfig Config => _network.Component.Config;

    /// <summary>The network's tensors as the file has them.</summary>
    public ITensorSource Tensors => _network.Component.Weights;

    /// <summary>How the network is quantized; null for a float network.</summary>
    public QuantizationConfig? Quantization => _network.Component.Quantization;

    /// <summary>The network's architecture.</summary>
    public INetwork Network => _network.Network;

    /// <summary>The network's parameters.</summary>
    public ModelWeights Weights => _network.Weights;

    /// <summary>The network for its usual size: everything that <see cref="INetwork.MainOutputs"/> need, which is every layer.</summary>
    public Graph Graph => GraphFor(Network.WholeInputs(batch: 1));

    /// <summary>Threads to run networks on.</summary>
    public WorkerPool Pool { get; }

    /// <summary>What the folder says of the model; null for a network alone.</summary>
    public ModelDescription? Description => Pipeline?.Description;

    /// <summary>Labels that can be asked for, ascending, without the null label: those with names, else all; empty for a model without labels.</summary>
    public IReadOnlyList<int> Labels
    {
        get
        {
            if (Pipeline is not { } pipeline || !pipeline.Denoiser.Network.InputNames.Contains("class_labels")) return [];
            IEnumerable<int> labels = Folder!.Labels.Count > 0 ? Folder.Labels.Keys : Enumerable.Range(0, pipeline.Denoiser.Network.ClassLabels);
            return [.. labels.Where(label => label != pipeline.Description.NullLabel)];
        }
    }

    /// <summary>The pipeline that the network belongs to; null for a network alone.</summary>
    internal DiffusionModel? Pipeline { get; }

    /// <summary>Opens a model folder, or the folder of an autoencoder or a text encoder alone.</summary>
    /// <param name="path">A folder with <c>model_index.json</c>, or with <c>config.json</c>.</param>
    /// <param name="threads">Threads; null for one per processor.</param>
    /// <param name="component">Name of the network in the model; null for the denoising network.</param>
    /// <exception cref="InvalidRequestException">The path is a single file, or there is no such component; the message lists all.</exception>
    /// <exception cref="ModelFormatException">Something is missing, damaged, or of a kind that is not supported.</exception>
    public static SourceModel Open(string path, int? threads = null, string? component = null)
    {
        if (File.Exists(path)) throw new InvalidRequestException("model", $"expected a folder in diffusers' layout, found the file {path}; 'lbd convert --model {path} --out DIR' makes a folder of a single-file checkpoint");
        if (NetworkFolder.IsAlone(path)) return OpenAlone(path, threads, component);
        DiffusionModel pipeline = DiffusionModel.Open(path, new PipelineOptions { Threads = threads });
        if (pipeline.Components.FirstOrDefault(one => one.Name == (component ?? pipeline.Denoiser.Name)) is { } found) return new SourceModel(pipeline, found);
        string known = string.Join(", ", pipeline.Components.Select(one => $"{one.Name} ({one.Network.ClassName})"));
        pipeline.Dispose();
        throw new InvalidRequestException("component", $"expected one of {known}, found '{component}'");
    }

    /// <summary>The network for input shapes, as far as <see cref="INetwork.MainOutputs"/> need it.</summary>
    public Graph GraphFor(IReadOnlyDictionary<string, TensorShape> inputs) => Network.Build(inputs).Select(Network.MainOutputs);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Pipeline is not null)
        {
            Pipeline.Dispose();
            return;
        }

        _network.Dispose();
        Pool.Dispose();
    }

    private static SourceModel OpenAlone(string path, int? threads, string? component)
    {
        NetworkFolder alone = NetworkFolder.Open(path, component);
        if (alone.Network is IAutoencoder or ClipTextModel) return new SourceModel(alone, threads);
        string found = alone.Network.ClassName;
        alone.Dispose();
        throw new InvalidRequestException("model", $"expected a whole model's folder, because a {found} is looked at while its pipeline draws, found a network's folder alone, {path}");
    }

    /// <summary>Encodes texts; each is encoded once, and the encoders' weights do not stay in memory.</summary>
    internal IReadOnlyDictionary<string, Dictionary<string, float[]>> Encode(IReadOnlyList<string> texts, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        lock (_encoded)
        {
            string[] missing = [.. texts.Where(text => !_encoded.ContainsKey(text))];
            if (missing.Length > 0)
            {
                foreach ((string text, Dictionary<string, float[]> rows) in Pipeline!.Text!.Encode(missing, Keep.Nothing, progress, cancellationToken)) _encoded.Add(text, rows);
            }

            return _encoded;
        }
    }
}
