namespace LowBitDiffusion.Quantization;

/// <summary>How a network's attentions are computed; in files <c>float</c> and <c>int8</c>.</summary>
public enum AttentionPrecision
{
    /// <summary>In single precision.</summary>
    Float,

    /// <summary>
    /// Queries, keys, weights and values in 8 bits, as <see cref="Kernels.Attention.Int8Attention"/> defines it. Attentions that are causal or have a mask stay in float.
    /// </summary>
    Int8,
}
