using System.Text;

namespace LowBitDiffusion.Models.RandomWeights;

/// <summary>
/// Random numbers by position: number i of a tensor depends on seed, name and i alone, so tensors can be made in any order and in parts. SplitMix64 (Steele et al. 2014) over a
/// counter; fast rather than good in the tails, which weights for measuring do not need.
/// </summary>
/// <param name="seed">Seed.</param>
/// <param name="name">What the numbers are for.</param>
internal readonly struct CounterRandom(int seed, string name)
{
    private readonly ulong _start = Mix(Hash(name) + (ulong)(uint)seed * 0x9e3779b97f4a7c15);

    /// <summary>64 random bits.</summary>
    public ulong Bits(long index) => Mix(_start + (ulong)index * 0x9e3779b97f4a7c15);

    /// <summary>
    /// Fills with numbers of mean 0 that are close to normal: sums of four uniform ones (Irwin-Hall), at most 3.5 standard deviations from zero, so that no weight is an outlier.
    /// </summary>
    /// <param name="values">Numbers from <paramref name="start"/> on.</param>
    /// <param name="deviation">Standard deviation.</param>
    /// <param name="start">Position of the first.</param>
    public void FillNormal(Span<float> values, float deviation, long start = 0)
    {
        // A uniform 16-bit number has variance 2^32/12; four of them have mean 2·(2^16 − 1).
        float scale = deviation * MathF.Sqrt(3) / 65536;
        for (int i = 0; i < values.Length; i++)
        {
            ulong bits = Bits(start + i);
            int sum = (int)(bits & 0xffff) + (int)((bits >> 16) & 0xffff) + (int)((bits >> 32) & 0xffff) + (int)(bits >> 48);
            values[i] = (sum - 131070) * scale;
        }
    }

    /// <summary>Fills with integers from −<paramref name="limit"/> to <paramref name="limit"/>, all equally likely up to a part in 2^25.</summary>
    public void FillUniform(Span<sbyte> values, int limit)
    {
        uint count = 2 * (uint)limit + 1;
        for (int i = 0; i < values.Length; i += 2)
        {
            ulong bits = Bits(i >> 1);
            values[i] = (sbyte)((int)(((bits & 0xffffffff) * count) >> 32) - limit);
            if (i + 1 < values.Length) values[i + 1] = (sbyte)((int)(((bits >> 32) * count) >> 32) - limit);
        }
    }

    // FNV-1a: the same on every machine and in every process, which string.GetHashCode is not.
    private static ulong Hash(string name)
    {
        ulong hash = 0xcbf29ce484222325;
        foreach (byte b in Encoding.UTF8.GetBytes(name)) hash = (hash ^ b) * 0x100000001b3;
        return hash;
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
}
