using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// A loaded model folder: packed weights, threads, and the networks compiled so far, one per batch size and caller at a time. Pipelines share it by counting references.
/// </summary>
internal sealed class DiffusionModel : IDisposable
{
    private readonly ComponentFolder _component;
    private readonly PreparedModel _prepared;
    private readonly WorkerPool _pool;
    private readonly ConcurrentDictionary<int, ConcurrentBag<PlannedNetwork>> _idle = [];
    private readonly PipelineOptions _options;
    private int _references = 1;

    private DiffusionModel(ModelFolder folder, PipelineOptions options)
    {
        _options = options;
        JsonConfig scheduler = folder.OpenConfig("scheduler");
        Scheduler = new SchedulerConfig(JsonObject.Create(scheduler.Root) ?? [], scheduler.File);
        _component = folder.OpenComponent(DenoiserComponent(folder));
        try
        {
            INetwork network = NetworkRegistry.Create(_component.Config);
            Description = Describe(folder, network, _component);
            ModelWeights weights = ModelLoader.Open(_component, network, network.NativeInputs(1));
            _prepared = new PreparedModel(network, weights);
            _pool = new WorkerPool(options.Threads ?? Environment.ProcessorCount);
        }
        catch
        {
            _component.Dispose();
            throw;
        }
    }

    /// <summary>What the folder says.</summary>
    public ModelDescription Description { get; }

    /// <summary>The sampler's configuration.</summary>
    public SchedulerConfig Scheduler { get; }

    /// <summary>Bytes of packed weights.</summary>
    public long WeightBytes => _prepared.WeightBytes;

    /// <summary>Elements of one image.</summary>
    public int ImageLength => Description.Channels * Description.Height * Description.Width;

    /// <summary>Most images in a batch.</summary>
    public int MaxBatch => Math.Max(_options.MaxBatch, 1);

    /// <summary>Reads what a folder says, and no weights.</summary>
    public static DiffusionModel Open(string path, PipelineOptions options) => new(ModelFolder.Open(path), options);

    /// <summary>Opens a folder, checks the memory budget, and packs the weights.</summary>
    public static DiffusionModel Load(string path, PipelineOptions options, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        DiffusionModel model = Open(path, options);
        try
        {
            MemoryEstimate estimate = model.Estimate();
            if (options.MemoryBudget is { } budget && estimate.Total > budget) throw new MemoryBudgetException(budget, estimate);
            model.Compile(1, progress, cancellationToken).Dispose();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that drawing a full batch with guidance takes.</summary>
    public MemoryEstimate Estimate()
    {
        (long weights, long activations) = _prepared.Estimate(_prepared.Network.NativeInputs(MaxBatch * (Description.NullLabel is null ? 1 : 2)), Description.DefaultSteps, _pool.Threads);
        return new MemoryEstimate([("weights", weights), ("activations", activations)]);
    }

    /// <summary>Keeps the model alive until the result is disposed.</summary>
    public DiffusionModel AddReference()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _references) == 0, this);
        Interlocked.Increment(ref _references);
        return this;
    }

    /// <summary>A network for a batch, used by one caller until the lease is disposed.</summary>
    public Lease Rent(int batch, CancellationToken cancellationToken)
    {
        ConcurrentBag<PlannedNetwork> idle = _idle.GetOrAdd(batch, _ => []);
        return new Lease(idle, idle.TryTake(out PlannedNetwork? network) ? network : Compile(batch, null, cancellationToken));
    }

    /// <summary>Lets one reference go; the last frees everything.</summary>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _references) != 0) return;
        foreach (PlannedNetwork network in _idle.Values.SelectMany(bag => bag)) network.Dispose();
        _pool.Dispose();
        _prepared.Dispose();
        _component.Dispose();
    }

    private PlannedNetwork Compile(int batch, IProgress<double>? progress, CancellationToken cancellationToken) =>
        _prepared.Compile(_prepared.Network.NativeInputs(batch), _pool, progress: progress, cancellationToken: cancellationToken);

    private static string DenoiserComponent(ModelFolder folder) =>
        new[] { "unet", "transformer" }.FirstOrDefault(folder.Components.ContainsKey)
        ?? throw new ModelFormatException(folder.Path, "model_index.json", $"expected a component 'unet' or 'transformer', found {string.Join(", ", folder.Components.Keys)}");

    private static ModelDescription Describe(ModelFolder folder, INetwork network, ComponentFolder component)
    {
        TensorShape sample = network.NativeInputs(1)["sample"];
        int labels = network.ClassLabels;
        int? nullLabel = folder.NullLabel;
        if (nullLabel is { } none && none >= labels)
            throw new ModelFormatException(folder.Path, "null_label", $"expected a label below {labels}, the network's class embeddings, found {none}");
        return new ModelDescription
        {
            Folder = folder.Path,
            NetworkClass = network.ClassName,
            Channels = sample[1],
            Height = sample[2],
            Width = sample[3],
            // The null label is the last one: it is never asked for by name.
            LabelCount = nullLabel is { } last && last == labels - 1 ? labels - 1 : labels,
            LabelNames = folder.Labels,
            NullLabel = nullLabel,
            DefaultSteps = folder.DefaultSteps ?? 50,
            DefaultGuidanceScale = folder.DefaultGuidanceScale ?? 1,
            QuantizationMethod = component.Quantization?.Method,
        };
    }

    /// <summary>A network in use.</summary>
    public sealed class Lease(ConcurrentBag<PlannedNetwork> home, PlannedNetwork network) : IDisposable
    {
        /// <summary>The network.</summary>
        public PlannedNetwork Network => network;

        /// <summary>Gives the network back.</summary>
        public void Dispose() => home.Add(network);
    }
}
