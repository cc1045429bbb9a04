using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>A network's architecture, read from its configuration and written once: every executor runs the graph it builds.</summary>
public interface INetwork
{
    /// <summary>diffusers' class name, e.g. <c>UNet2DModel</c>.</summary>
    string ClassName { get; }

    /// <summary>Names of inputs that must be given to <see cref="Build"/>, e.g. <c>sample</c>, <c>timestep</c>, <c>class_labels</c>.</summary>
    IReadOnlyList<string> InputNames { get; }

    /// <summary>Rows of the table of class embeddings, the null label's included; 0 for a network without labels.</summary>
    int ClassLabels => 0;

    /// <summary>Shapes of all required inputs at the size the configuration names.</summary>
    /// <param name="batch">Images.</param>
    IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch);

    /// <summary>Shapes of the inputs of all of a network's parts, an autoencoder's encoder and decoder both, at the size the configuration names: the graph of these has every layer.</summary>
    /// <param name="batch">Images, or texts.</param>
    IReadOnlyDictionary<string, TensorShape> WholeInputs(int batch) => NativeInputs(batch);

    /// <summary>The outputs that a network is there for; together they need every layer of <see cref="WholeInputs"/>.</summary>
    IReadOnlyList<string> MainOutputs => ["sample"];

    /// <summary>Names of inputs that may be left out. Of a network in two parts (an autoencoder's <c>image</c> and <c>latent</c>) each is needed for its part.</summary>
    IReadOnlyList<string> OptionalInputNames => [];

    /// <summary>Writes the network down for the given input shapes (without spaces for what is optional).</summary>
    /// <exception cref="GraphException">The shapes do not fit the network.</exception>
    Graph Build(IReadOnlyDictionary<string, TensorShape> inputs);

    /// <summary>Old names of a parameter that files may use instead of <paramref name="name"/>, most likely first.</summary>
    IEnumerable<string> LegacyNames(string name) => [];
}
