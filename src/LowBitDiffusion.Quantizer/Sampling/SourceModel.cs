using LowBitDiffusion.Formats;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>A model folder opened to be quantized: its denoising network and weights, and the pipeline that says what the network is told. Safe for concurrent reads.</summary>
public sealed class SourceModel : IDisposable
{
    private readonly NetworkFolder _network;
    private readonly Dictionary<string, Dictionary<string, float[]>> _encoded = [];

    private SourceModel(DiffusionModel pipeline) => (Pipeline, _network, Folder) = (pipeline, pipeline.Denoiser.Files, pipeline.Denoiser.Files.Model!);

    /// <summary>The whole folder.</summary>
    public ModelFolder Folder { get; }

    /// <summary>Name of the denoising network's folder: <c>unet</c>, <c>transformer</c>.</summary>
    public string Component => _network.Name;

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

    /// <summary>The sampler's configuration.</summary>
    public SchedulerConfig Scheduler => Pipeline.Scheduler;

    /// <summary>Threads to run networks on.</summary>
    public WorkerPool Pool => Pipeline.Pool;

    /// <summary>What the folder says of the model.</summary>
    public ModelDescription Description => Pipeline.Description;

    /// <summary>Whether the network is told a label per picture.</summary>
    public bool HasLabels => Network.InputNames.Contains("class_labels");

    /// <summary>Labels that can be asked for, ascending, without the null label: those with names, else all; empty for a model without labels.</summary>
    public IReadOnlyList<int> Labels
    {
        get
        {
            IEnumerable<int> labels = Folder.Labels.Count > 0 ? Folder.Labels.Keys : Enumerable.Range(0, Network.ClassLabels);
            return [.. HasLabels ? labels.Where(label => label != Description.NullLabel) : []];
        }
    }

    /// <summary>The pipeline that the network belongs to.</summary>
    internal DiffusionModel Pipeline { get; }

    /// <summary>Opens a model folder.</summary>
    /// <param name="path">A folder with <c>model_index.json</c>.</param>
    /// <param name="threads">Threads; null for one per processor.</param>
    /// <exception cref="InvalidRequestException">The path is a single file.</exception>
    /// <exception cref="ModelFormatException">Something is missing, damaged, or of a kind that is not supported.</exception>
    public static SourceModel Open(string path, int? threads = null)
    {
        if (File.Exists(path)) throw new InvalidRequestException("model", $"expected a folder in diffusers' layout, found the file {path}; 'lbd convert --model {path} --out DIR' makes a folder of a single-file checkpoint");
        return new SourceModel(DiffusionModel.Open(path, new PipelineOptions { Threads = threads }));
    }

    /// <inheritdoc/>
    public void Dispose() => Pipeline.Dispose();

    /// <summary>Encodes texts; each is encoded once, and the encoders' weights do not stay in memory.</summary>
    internal IReadOnlyDictionary<string, Dictionary<string, float[]>> Encode(IReadOnlyList<string> texts, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        lock (_encoded)
        {
            string[] missing = [.. texts.Where(text => !_encoded.ContainsKey(text))];
            if (missing.Length > 0)
            {
                foreach ((string text, Dictionary<string, float[]> rows) in Pipeline.Text!.Encode(missing, Keep.Nothing, progress, cancellationToken)) _encoded.Add(text, rows);
            }

            return _encoded;
        }
    }
}
