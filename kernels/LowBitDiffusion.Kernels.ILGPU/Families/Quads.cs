namespace LowBitDiffusion.Kernels.ILGPU.Families;

// Four neighbours, as fields: the compiler keeps fields of structures in registers, elements of arrays in memory.

/// <summary>Four integers.</summary>
internal readonly struct IntQuad(int x, int y, int z, int w)
{
    internal readonly int X = x, Y = y, Z = z, W = w;
}

/// <summary>Four words of codes.</summary>
internal readonly struct WordQuad(uint x, uint y, uint z, uint w)
{
    internal readonly uint X = x, Y = y, Z = z, W = w;
}

/// <summary>Four numbers.</summary>
internal readonly struct FloatQuad(float x, float y, float z, float w)
{
    internal readonly float X = x, Y = y, Z = z, W = w;

    /// <summary>What changes no number it is added to: −0.</summary>
    internal static FloatQuad Nothing => new(-0f, -0f, -0f, -0f);
}
