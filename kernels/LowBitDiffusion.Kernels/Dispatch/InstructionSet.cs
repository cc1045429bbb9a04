namespace LowBitDiffusion.Kernels.Dispatch;

/// <summary>What a family of kernels asks of the processor. Results are the same, bit for bit, for all of them; only the speed differs.</summary>
public enum InstructionSet
{
    /// <summary>Plain C#, the reference that all others must equal.</summary>
    Scalar,

    /// <summary>Portable 128-bit vectors.</summary>
    Vector128,

    /// <summary>256-bit vectors: <c>vpmaddwd</c>, <c>vpmaddubsw</c>.</summary>
    Avx2,

    /// <summary>256-bit vectors with <c>vpdpbusd</c>.</summary>
    AvxVnni,

    /// <summary>512-bit vectors: <c>vpmaddwd</c>, <c>vpmaddubsw</c>.</summary>
    Avx512BW,

    /// <summary>512-bit vectors with <c>vpdpbusd</c>, assembled at run time.</summary>
    Avx512Vnni,
}
