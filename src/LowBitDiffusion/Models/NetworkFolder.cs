using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Models;

/// <summary>
/// One network with its files: a component of a model, or a component's folder alone; float or quantized. Everything is checked when it is opened, and no weight is read. Safe for
/// concurrent reads.
/// </summary>
public sealed class NetworkFolder : IDisposable
{
    private static readonly string[] s_denoisers = ["unet", "transformer"];

    private NetworkFolder(ModelFolder? model, string name, ComponentFolder component)
    {
        (Model, Name, Component) = (model, name, component);
        try
        {
            Network = NetworkRegistry.Create(component.Config);
            Weights = ModelLoader.Open(component, Network, Network.NativeInputs(batch: 1));
        }
        catch
        {
            component.Dispose();
            throw;
        }
    }

    /// <summary>The whole model, or null for a component's folder alone.</summary>
    public ModelFolder? Model { get; }

    /// <summary>The component's name in the model (<c>unet</c>); empty for a folder alone.</summary>
    public string Name { get; }

    /// <summary>The network's files.</summary>
    public ComponentFolder Component { get; }

    /// <summary>The architecture.</summary>
    public INetwork Network { get; }

    /// <summary>The parameters.</summary>
    public ModelWeights Weights { get; }

    /// <summary>Opens a network of a model, or a component's folder alone.</summary>
    /// <param name="path">A folder with <c>model_index.json</c>, a single-file checkpoint, or a folder with <c>config.json</c>.</param>
    /// <param name="name">Name of the network in the model; null for the denoising network.</param>
    /// <exception cref="InvalidRequestException">There is no network of this name; the message lists all.</exception>
    /// <exception cref="ModelFormatException">Something is missing, damaged or of an unknown kind; the message lists what is known.</exception>
    public static NetworkFolder Open(string path, string? name = null)
    {
        if (IsAlone(path))
        {
            if (name is not null) throw new InvalidRequestException("component", $"expected none, because {path} is a network's folder alone, found '{name}'");
            return new NetworkFolder(null, "", ComponentFolder.Open(path));
        }

        ModelFolder model = ModelFolder.Open(path);
        if (name is null) return Open(model, DenoiserOf(model));
        string[] networks = [.. model.Components.Where(component => NetworkRegistry.ClassNames.Contains(component.Value)).Select(component => component.Key)];
        return networks.Contains(name) ? Open(model, name) : throw new InvalidRequestException("component", $"expected one of {string.Join(", ", networks)}, the networks of {path} that can be run, found '{name}'");
    }

    /// <summary>Whether a folder is a network's alone: a <c>config.json</c> without a <c>model_index.json</c>.</summary>
    public static bool IsAlone(string path) => !File.Exists(Path.Combine(path, "model_index.json")) && File.Exists(Path.Combine(path, "config.json"));

    /// <summary>Opens a component of a model.</summary>
    /// <exception cref="ModelFormatException">It is missing, damaged or of an unknown kind; the message lists what is known.</exception>
    public static NetworkFolder Open(ModelFolder model, string name) => new(model, name, model.OpenComponent(name));

    /// <summary>Name of a model's denoising network.</summary>
    /// <exception cref="ModelFormatException">It has none.</exception>
    public static string DenoiserOf(ModelFolder model) => s_denoisers.FirstOrDefault(model.Components.ContainsKey)
        ?? throw new ModelFormatException(model.Index.File, null, $"expected a component '{string.Join("' or '", s_denoisers)}', found {string.Join(", ", model.Components.Select(one => $"{one.Key} ({one.Value})"))}");

    /// <summary>Whether a component's name is that of a denoising network; null stands for a model's.</summary>
    public static bool IsDenoiser(string? component) => component is null || s_denoisers.Contains(component);

    /// <summary>Bytes that a parameter has in the file, under its name or an old one; 0 if it has none.</summary>
    public long StoredBytes(string parameter) =>
        Network.LegacyNames(parameter).Prepend(parameter).Select(name => Component.Weights.Tensors.TryGetValue(name, out TensorInfo? info) ? info.ByteLength : 0).FirstOrDefault(bytes => bytes > 0);

    /// <inheritdoc/>
    public void Dispose() => Component.Dispose();
}
