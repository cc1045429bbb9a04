using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>A paper's recipe for learning a network block by block: passes over all blocks, each with its hyper-parameters.</summary>
/// <param name="Stages">The passes in order; none leaves the network as it was rounded to nearest.</param>
public sealed record BlockPreset(IReadOnlyList<BlockStage> Stages)
{
    /// <summary>Whether all that is computed from timestep and condition alone is one unit, or belongs to the blocks that use it.</summary>
    public bool SeparateTemporal { get; init; }

    /// <summary>Points of trajectories to learn from.</summary>
    public int Samples { get; init; } = 5120;

    /// <summary>Which points.</summary>
    public SampleChoice Choice { get; init; }

    /// <summary>Samples in a mini-batch. The papers take 8 for their large models and 32 for small ones; here 8 for all, which gives about four times the iterations in the same time.</summary>
    public int Batch { get; init; } = 8;
}

/// <summary>A pass over all blocks.</summary>
/// <param name="Name">What it learns.</param>
/// <param name="Options">With which hyper-parameters. A rate for rounding makes the weights AdaRound's, one for weights lets them move under straight-through rounding; without either they are decided.</param>
/// <param name="QuantizedInputs">
/// Whether the layers' inputs are quantized, too. If not, the weights alone are learned, and activation ranges are collected afterwards from the network with its learned weights.
/// </param>
public sealed record BlockStage(string Name, ReconstructionOptions Options, bool QuantizedInputs);
