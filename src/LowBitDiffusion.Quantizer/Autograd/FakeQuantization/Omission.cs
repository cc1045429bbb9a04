namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>Which elements of a layer's input stay float in a pass (<see cref="QuantizationDrop"/>): a hash of seed, layer and index.</summary>
internal readonly struct Omission
{
    private readonly ulong _key;
    private readonly ulong _threshold;

    private Omission(ulong key, ulong threshold) => (_key, _threshold) = (key, threshold);

    public static Omission Of(QuantizationDrop drop, string module) => new(Key(drop.Seed, module), (ulong)(Math.Clamp(drop.Keep, 0, 1) * (1UL << 53)));

    /// <summary>A number for a seed and a name (FNV-1a).</summary>
    public static ulong Key(ulong seed, string name)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in name) hash = (hash ^ c) * 1099511628211;
        return Mix.Hash(seed ^ hash);
    }

    /// <summary>Puts the float input (divided by its channel's scale) in place of the quantized one.</summary>
    public void Replace(int first, ReadOnlySpan<float> x, float[]? channelScales, Span<float> quantized)
    {
        for (int i = 0; i < quantized.Length; i++)
        {
            if (IsFloat(first + i)) quantized[i] = channelScales is null ? x[i] : x[i] / channelScales[i];
        }
    }

    /// <summary>Clears a gradient where the input stayed float.</summary>
    public void Clear(int first, Span<float> gradient)
    {
        for (int i = 0; i < gradient.Length; i++)
        {
            if (IsFloat(first + i)) gradient[i] = 0;
        }
    }

    private bool IsFloat(int index) => Mix.Hash(_key + (ulong)index) >> 11 >= _threshold;
}

/// <summary>The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scatters consecutive numbers.</summary>
internal static class Mix
{
    public static ulong Hash(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
