namespace LowBitDiffusion.Quantization;

/// <summary>How a network's attentions are computed; in files <c>float</c>, <c>int8</c> and <c>bf16</c>.</summary>
public enum AttentionPrecision
{
    /// <summary>In single precision.</summary>
    Float,

    /// <summary>
    /// Queries, keys, weights and values in 8 bits, as <see cref="Kernels.Attention.Int8Attention"/> defines it. Attentions that are causal or have a mask stay in float.
    /// </summary>
    Int8,

    /// <summary>
    /// Products in bfloat16, sums in single precision, as <see cref="Kernels.Attention.Bf16Attention"/> defines it; in single precision where the processor has no such products. Attentions that
    /// are causal or have a mask stay in float.
    /// </summary>
    Bf16,
}
