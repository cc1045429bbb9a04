using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Pipelines;

/// <summary>What stays in memory when a network has been used.</summary>
internal enum Keep
{
    /// <summary>Weights and activations, for the next call of the same shapes.</summary>
    Everything,
    /// <summary>Weights.</summary>
    Weights,
    /// <summary>Nothing: weights are read again for the next call.</summary>
    Nothing,
}

/// <summary>One network of a model: its files, its packed weights, and the networks compiled so far, each used by one caller at a time. Thread-safe.</summary>
internal sealed class ModelComponent : IDisposable
{
    private readonly NetworkFolder _files;
    private readonly WorkerPool _pool;
    private readonly ComputeDevice? _device;
    private readonly DeviceFloat _values;
    private readonly int _mostIdle;
    private readonly List<(string Key, PlannedNetwork Network)> _idle = [];
    private readonly Lock _lock = new();
    private PreparedModel? _prepared;
    private int _users;

    /// <summary>Opens a component; its weights are checked and not read.</summary>
    /// <param name="folder">The model.</param>
    /// <param name="name">The component.</param>
    /// <param name="supported">Classes that it can have.</param>
    /// <param name="pool">Threads.</param>
    /// <param name="mostIdle">Compiled networks that are kept when nobody uses them.</param>
    /// <param name="device">Where it runs; null for the processor.</param>
    /// <param name="values">How a device keeps values between kernels.</param>
    /// <exception cref="ModelFormatException">It is missing, damaged, or of another class.</exception>
    public ModelComponent(ModelFolder folder, string name, IReadOnlyList<string> supported, WorkerPool pool, int mostIdle, ComputeDevice? device = null, DeviceFloat values = DeviceFloat.F32)
    {
        (_pool, _mostIdle, _device, _values) = (pool, mostIdle, device, values);
        _files = NetworkFolder.Open(folder, name);
        if (supported.Contains(Network.ClassName)) return;
        _files.Dispose();
        throw new ModelFormatException(File, "_class_name", $"expected one of {string.Join(", ", supported)} in a {folder.ClassName}, found {Network.ClassName}");
    }

    /// <summary>Its files.</summary>
    public NetworkFolder Files => _files;

    /// <summary>The component's name in the folder.</summary>
    public string Name => _files.Name;

    /// <summary>The architecture.</summary>
    public INetwork Network => _files.Network;

    /// <summary>Its configuration's file, for messages.</summary>
    public string File => _files.Component.Config.File;

    /// <summary>How it was quantized; null for a float network.</summary>
    public string? QuantizationMethod => _files.Component.Quantization?.Method;

    /// <summary>Correction of what it predicts; null for none.</summary>
    public PredictionCorrection? Correction => Files.Component.Correction;

    /// <summary>Bytes of packed weights now in memory.</summary>
    public long WeightBytes
    {
        get
        {
            lock (_lock) return _prepared?.WeightBytes ?? 0;
        }
    }

    /// <summary>Bytes that the network takes for a set of input shapes, without reading a weight.</summary>
    public PlanMemory Estimate(IReadOnlyDictionary<string, TensorShape> inputs, IReadOnlyList<string>? outputs = null)
    {
        using PreparedModel unread = Prepared();
        return unread.Estimate(inputs, _pool.Threads, outputs);
    }

    /// <summary>Reads and packs the weights.</summary>
    public void Load(IReadOnlyDictionary<string, TensorShape> inputs, IReadOnlyList<string>? outputs, IProgress<double>? progress, CancellationToken cancellationToken) =>
        Rent(inputs, outputs, Keep.Weights, progress, cancellationToken).Dispose();

    /// <summary>A network for a set of input shapes, used by one caller until the lease is disposed.</summary>
    /// <param name="inputs">Shapes by input name.</param>
    /// <param name="outputs">The outputs that are wanted; null for all.</param>
    /// <param name="keep">What stays in memory afterwards.</param>
    /// <param name="progress">Share of the weights that is packed.</param>
    /// <param name="cancellationToken">Checked between modules.</param>
    public Lease Rent(
        IReadOnlyDictionary<string, TensorShape> inputs, IReadOnlyList<string>? outputs = null, Keep keep = Keep.Everything, IProgress<double>? progress = null,
        CancellationToken cancellationToken = default)
    {
        string key = $"{string.Join(' ', inputs.OrderBy(input => input.Key, StringComparer.Ordinal).Select(input => $"{input.Key}{input.Value}"))} > {string.Join(' ', outputs ?? [])}";
        PreparedModel prepared;
        lock (_lock)
        {
            _users++;
            int known = _idle.FindIndex(idle => idle.Key == key);
            if (known >= 0)
            {
                PlannedNetwork network = _idle[known].Network;
                _idle.RemoveAt(known);
                return new Lease(this, key, network, keep);
            }

            // What is kept and will not be used makes room for what is.
            Trim(_mostIdle - 1);
            prepared = _prepared ??= Prepared();
        }

        try
        {
            return new Lease(this, key, prepared.Compile(inputs, _pool, outputs: outputs, progress: progress, cancellationToken: cancellationToken), keep);
        }
        catch
        {
            Release(null, key, keep);
            throw;
        }
    }

    /// <summary>Frees the activations of networks that nobody uses.</summary>
    public void Trim()
    {
        lock (_lock) Trim(0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Trim();
        _prepared?.Dispose();
        _files.Dispose();
    }

    private PreparedModel Prepared() => new(Network, _files.Weights, device: _device, values: _values);

    private void Trim(int most)
    {
        for (int surplus = _idle.Count - most; surplus > 0; surplus--)
        {
            _idle[0].Network.Dispose();
            _idle.RemoveAt(0);
        }
    }

    private void Release(PlannedNetwork? network, string key, Keep keep)
    {
        lock (_lock)
        {
            _users--;
            if (network is not null) _idle.Add((key, network));
            Trim(keep == Keep.Everything ? _mostIdle : 0);
            if (keep != Keep.Nothing || _users > 0) return;
            _prepared?.Dispose();
            _prepared = null;
        }
    }

    /// <summary>A network in use.</summary>
    public sealed class Lease(ModelComponent home, string key, PlannedNetwork network, Keep keep) : IDisposable
    {
        /// <summary>The network.</summary>
        public PlannedNetwork Network => network;

        /// <summary>Gives the network back.</summary>
        public void Dispose() => home.Release(network, key, keep);
    }
}
