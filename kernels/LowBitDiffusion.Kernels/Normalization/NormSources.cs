using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>One or two NHWC images side by side, read as if concatenated along their channels.</summary>
/// <param name="first">The first channels.</param>
/// <param name="firstChannels">How many.</param>
/// <param name="second">The channels after them.</param>
/// <param name="secondChannels">How many; 0 for none.</param>
public readonly struct NormSources(RowView first, int firstChannels, RowView second = default, int secondChannels = 0)
{
    /// <summary>The first channels.</summary>
    public readonly RowView First = first;

    /// <summary>How many channels <see cref="First"/> has.</summary>
    public readonly int FirstChannels = firstChannels;

    /// <summary>The channels after them.</summary>
    public readonly RowView Second = second;

    /// <summary>How many channels <see cref="Second"/> has.</summary>
    public readonly int SecondChannels = secondChannels;

    /// <summary>Channels together.</summary>
    public int Channels => FirstChannels + SecondChannels;
}
