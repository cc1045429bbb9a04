using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// Quantizers left out at random (QDrop, Wei et al. 2022): each element of a quantized input stays float with some probability. Which ones is a function of the seed and the layer alone, so that a
/// recomputed or resumed pass draws the same.
/// </summary>
/// <param name="Keep">Probability that an element is quantized.</param>
/// <param name="Seed">A different number for each iteration.</param>
public sealed record QuantizationDrop(double Keep, ulong Seed);

/// <summary>How a pass runs.</summary>
public sealed record RunSettings
{
    /// <summary>Timestep of each image, by which quantizers with tables choose their entry; images of a batch may differ. Empty where no table has more than one entry.</summary>
    public float[] Timesteps { get; init; } = [];

    /// <summary>
    /// Nodes that end a segment. Only values that cross from one segment to another are kept by the forward pass; the backward pass computes a segment's others again. None: everything is kept.
    /// </summary>
    public IReadOnlyList<Node> Checkpoints { get; init; } = [];

    /// <summary>Random omission of input quantizers, or null.</summary>
    public QuantizationDrop? Drop { get; init; }

    /// <summary>Whether a backward pass will follow; if not, values are freed as soon as they are not needed.</summary>
    public bool Record { get; init; } = true;
}
