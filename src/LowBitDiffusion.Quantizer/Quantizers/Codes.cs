namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>What all quantizers agree on.</summary>
internal static class Codes
{
    public static void RequireBits(int bits)
    {
        if (bits is < 2 or > 8) throw new ArgumentException($"a code has 2 to 8 bits, found {bits}");
    }
}
