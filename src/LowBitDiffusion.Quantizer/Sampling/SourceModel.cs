using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Models;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>A model folder opened to be quantized: its network, weights and sampler. Safe for concurrent reads.</summary>
public sealed class SourceModel : IDisposable
{
    private readonly ComponentFolder _component;

    private SourceModel(ModelFolder folder, string component, ComponentFolder files)
    {
        (Folder, Component, _component) = (folder, component, files);
        Network = NetworkRegistry.Create(files.Config);
        Weights = ModelLoader.Open(files, Network, Network.NativeInputs(batch: 1));
        JsonConfig scheduler = folder.OpenConfig("scheduler");
        Scheduler = new SchedulerConfig(JsonObject.Create(scheduler.Root) ?? [], scheduler.File);
    }

    /// <summary>The whole folder.</summary>
    public ModelFolder Folder { get; }

    /// <summary>Name of the denoising network's folder: <c>unet</c>, <c>transformer</c>.</summary>
    public string Component { get; }

    /// <summary>The network's configuration.</summary>
    public JsonConfig Config => _component.Config;

    /// <summary>The network's tensors as the file has them.</summary>
    public ITensorSource Tensors => _component.Weights;

    /// <summary>How the network is quantized; null for a float network.</summary>
    public QuantizationConfig? Quantization => _component.Quantization;

    /// <summary>The network's architecture.</summary>
    public INetwork Network { get; }

    /// <summary>The network's parameters.</summary>
    public ModelWeights Weights { get; }

    /// <summary>The sampler's configuration.</summary>
    public SchedulerConfig Scheduler { get; }

    /// <summary>Whether the network is told a label per picture.</summary>
    public bool HasLabels => Network.InputNames.Contains("class_labels");

    /// <summary>Labels that can be asked for, ascending, without the null label: those with names, else all; empty for a model without labels.</summary>
    public IReadOnlyList<int> Labels
    {
        get
        {
            IEnumerable<int> labels = Folder.Labels.Count > 0 ? Folder.Labels.Keys : Enumerable.Range(0, Network.ClassLabels);
            return [.. HasLabels ? labels.Where(label => label != Folder.NullLabel) : []];
        }
    }

    /// <summary>Opens a model folder.</summary>
    /// <exception cref="ModelFormatException">Something is missing, damaged, or of a kind that is not supported.</exception>
    public static SourceModel Open(string path)
    {
        ModelFolder folder = ModelFolder.Open(path);
        string component = folder.Components.Where(c => NetworkRegistry.ClassNames.Contains(c.Value) && c.Key is "unet" or "transformer").Select(c => c.Key).FirstOrDefault()
            ?? throw new ModelFormatException(folder.Index.File, null, $"expected a unet or transformer that is one of {string.Join(", ", NetworkRegistry.ClassNames)}, found {string.Join(", ", folder.Components.Select(c => $"{c.Key}: {c.Value}"))}");
        ComponentFolder files = folder.OpenComponent(component);
        try
        {
            return new SourceModel(folder, component, files);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _component.Dispose();
}
