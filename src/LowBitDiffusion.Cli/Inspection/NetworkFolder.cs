using LowBitDiffusion.Formats;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>A denoising network with its folder: that of a whole model, or the network's alone.</summary>
internal sealed class NetworkFolder : IDisposable
{
    private static readonly string[] s_denoisers = ["unet", "transformer"];

    private NetworkFolder(ModelFolder? model, ComponentFolder component)
    {
        (Model, Component) = (model, component);
        Network = NetworkRegistry.Create(component.Config);
        Weights = ModelLoader.Open(component, Network, Network.NativeInputs(batch: 1));
    }

    /// <summary>The whole model, or null if the folder holds a network alone.</summary>
    public ModelFolder? Model { get; }

    /// <summary>The network's files.</summary>
    public ComponentFolder Component { get; }

    /// <summary>The architecture.</summary>
    public INetwork Network { get; }

    /// <summary>The parameters.</summary>
    public ModelWeights Weights { get; }

    /// <summary>Opens a folder with <c>model_index.json</c>, or one with <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">Something is missing, damaged or of an unknown kind.</exception>
    public static NetworkFolder Open(string path)
    {
        bool alone = !File.Exists(Path.Combine(path, "model_index.json")) && File.Exists(Path.Combine(path, "config.json"));
        ModelFolder? model = alone ? null : ModelFolder.Open(path);
        ComponentFolder component = model is null ? ComponentFolder.Open(path) : model.OpenComponent(Denoiser(model));
        try
        {
            return new NetworkFolder(model, component);
        }
        catch
        {
            component.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that a parameter has in the file, under its name or an old one; 0 if it has none.</summary>
    public long StoredBytes(string parameter) =>
        Network.LegacyNames(parameter).Prepend(parameter).Select(name => Component.Weights.Tensors.TryGetValue(name, out TensorInfo? info) ? info.ByteLength : 0).FirstOrDefault(bytes => bytes > 0);

    /// <inheritdoc/>
    public void Dispose() => Component.Dispose();

    private static string Denoiser(ModelFolder model) => s_denoisers.FirstOrDefault(model.Components.ContainsKey)
        ?? throw new ModelFormatException(model.Index.File, null, $"expected a component 'unet' or 'transformer', found {string.Join(", ", model.Components.Keys)}");
}
