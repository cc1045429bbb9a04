namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>How four products of bytes are added.</summary>
internal interface IByteProducts
{
    /// <summary>Adds the products of four unsigned and four signed bytes.</summary>
    static abstract int Add(uint a, uint b, int sum);
}

/// <summary>Multiplications and additions.</summary>
internal readonly struct PlainProducts : IByteProducts
{
    public static int Add(uint a, uint b, int sum)
    {
        int w = (int)b;
        return sum + ((int)(a & 255) * ((w << 24) >> 24)) + ((int)((a >> 8) & 255) * ((w << 16) >> 24)) + ((int)((a >> 16) & 255) * ((w << 8) >> 24)) + ((int)(a >> 24) * (w >> 24));
    }
}

/// <summary>NVIDIA's <c>dp4a</c>.</summary>
internal readonly struct Dp4aProducts : IByteProducts
{
    public static int Add(uint a, uint b, int sum) => CudaInstructions.Dp4a(a, b, sum);
}

/// <summary>
/// How a warp multiplies 16 rows of 32 codes of the input with 32 codes of 8 columns: as NVIDIA's <c>mma.m16n8k32</c> spreads them over its 32 lanes. Lane <c>4·g + t</c> holds
/// <code>
///   a    codes 4t … 4t + 3 of row g (X), of row g + 8 (Y); codes 16 + 4t … of row g (Z), of row g + 8 (W)
///   b    codes 4t … 4t + 3 of column g, and codes 16 + 4t … of it
///   sums row g, columns 2t and 2t + 1 (X, Y); row g + 8, the same columns (Z, W)
/// </code>
/// </summary>
internal interface IWarpProducts
{
    /// <summary>Adds the products. All lanes call it together.</summary>
    static abstract IntQuad Add(WordQuad a, uint b, uint further, IntQuad sums);
}

/// <summary>NVIDIA's tensor cores.</summary>
internal readonly struct MmaProducts : IWarpProducts
{
    public static IntQuad Add(WordQuad a, uint b, uint further, IntQuad sums) => CudaInstructions.Mma(a, b, further, sums);
}
