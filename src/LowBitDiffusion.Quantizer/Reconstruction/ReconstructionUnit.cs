using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>What a reconstruction unit is.</summary>
public enum UnitKind
{
    /// <summary>All that is computed from timestep and condition alone: time embedding and every block's projection of it (temporal information block of TFMQ-DM).</summary>
    Temporal,
    /// <summary>ResNet block of a UNet.</summary>
    ResnetBlock,
    /// <summary>Self-attention over an image.</summary>
    AttentionBlock,
    /// <summary>Transformer block of a UNet, layer of a text encoder.</summary>
    TransformerBlock,
    /// <summary>Block of a diffusion transformer, modulated by the timestep.</summary>
    DitBlock,
    /// <summary>A layer outside of all blocks.</summary>
    Layer,
}

/// <summary>A part of a network whose layers are learned together, so that its outputs are what the float part computes (BRECQ, Li et al. 2021).</summary>
/// <param name="Name">The module's name.</param>
/// <param name="Kind">What it is.</param>
/// <param name="Modules">Its layers with a weight matrix.</param>
/// <param name="Inputs">Values it reads that depend on the network's inputs.</param>
/// <param name="Outputs">Values that others read.</param>
/// <param name="Macs">Multiply-accumulates of its layers for the graph's batch.</param>
public sealed record ReconstructionUnit(string Name, UnitKind Kind, IReadOnlyList<string> Modules, IReadOnlyList<Node> Inputs, IReadOnlyList<Node> Outputs, long Macs);
