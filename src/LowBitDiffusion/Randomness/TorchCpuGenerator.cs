namespace LowBitDiffusion.Randomness;

/// <summary>
/// torch's CPU generator: MT19937 and torch's ways from its words to numbers. Integers, permutations and uniform numbers are torch's bit for bit; normal
/// numbers
/// agree within the last bits of a float, because torch's vectorised logarithm and sine are approximations.
/// <list type="bullet">
/// <item>32-bit uniform: <c>(u32 mod 2^24) / 2^24</c>; 64-bit uniform: <c>(u64 mod 2^53) / 2^53</c>, a u64 being the first draw above the second.</item>
/// <item>Fewer than 16 normals: Box-Muller in double, angle drawn before radius; the sine is kept for the next such call.</item>
/// <item>16 normals or more: uniforms first, then Box-Muller inside blocks of 16 values; see <see cref="FillNormal(Span{float})"/>.</item>
/// </list>
/// Not thread-safe.
/// </summary>
public sealed class TorchCpuGenerator : INoiseGenerator
{
    private const int Block = 16;
    private readonly MersenneTwister _words;
    private double? _cachedNormal;

    /// <summary>The state after <c>torch.manual_seed(seed)</c>.</summary>
    /// <param name="seed">Only the low 32 bits count, as in torch.</param>
    public TorchCpuGenerator(ulong seed) => _words = new MersenneTwister((uint)seed);

    /// <summary>The next 32 random bits.</summary>
    public uint NextUInt32() => _words.Next();

    /// <summary>The next 64 random bits: two words, the first one above.</summary>
    public ulong NextUInt64() => ((ulong)_words.Next() << 32) | _words.Next();

    /// <summary><c>torch.rand</c>: uniform in [0, 1), multiples of 2^-24.</summary>
    public void FillUniform(Span<float> destination)
    {
        foreach (ref float value in destination) value = NextUniform32();
    }

    /// <summary><c>torch.rand</c> in double: uniform in [0, 1), multiples of 2^-53.</summary>
    public void FillUniform(Span<double> destination)
    {
        foreach (ref double value in destination) value = NextUniform64();
    }

    /// <summary>
    /// <c>torch.randn</c>. From 16 values on, the destination is filled with uniforms <c>u</c> and each block of 16 becomes
    /// <code>
    ///   j = 0…7:   r = sqrt(−2 ln(1 − u[j])),  θ = 2π u[j+8]
    ///              out[j] = r cos θ            out[j+8] = r sin θ
    /// </code>
    /// A tail shorter than a block makes torch draw the <em>last 16 values</em> anew, over values already made.
    /// </summary>
    /// <param name="destination">Receives the noise.</param>
    public void FillNormal(Span<float> destination)
    {
        if (destination.Length < Block)
        {
            foreach (ref float value in destination) value = (float)NextNormal();
            return;
        }

        FillUniform(destination);
        for (int i = 0; i + Block <= destination.Length; i += Block) TransformBlock(destination.Slice(i, Block));
        if (destination.Length % Block == 0) return;
        Span<float> tail = destination[^Block..];
        FillUniform(tail);
        TransformBlock(tail);
    }

    /// <summary><c>torch.randn</c> in double; the same layout as <see cref="FillNormal(Span{float})"/>.</summary>
    /// <param name="destination">Receives the noise.</param>
    public void FillNormal(Span<double> destination)
    {
        if (destination.Length < Block)
        {
            foreach (ref double value in destination) value = NextNormal();
            return;
        }

        FillUniform(destination);
        for (int i = 0; i + Block <= destination.Length; i += Block) TransformBlock(destination.Slice(i, Block));
        if (destination.Length % Block == 0) return;
        Span<double> tail = destination[^Block..];
        FillUniform(tail);
        TransformBlock(tail);
    }

    /// <summary><c>torch.randint</c>: integers in [low, high). The remainder is taken of 32 bits for spans below 2^28, of 64 bits otherwise.</summary>
    /// <param name="low">Smallest value.</param>
    /// <param name="high">One above the largest value.</param>
    /// <param name="destination">Receives the integers.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty.</exception>
    public void FillIntegers(long low, long high, Span<long> destination)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(high, low);
        ulong span = (ulong)high - (ulong)low;
        foreach (ref long value in destination) value = low + (long)((span >= 1ul << 28 ? NextUInt64() : NextUInt32()) % span);
    }

    /// <summary><c>torch.randperm</c>: a permutation of 0 … n−1 by forward exchanges. torch uses this form below 2^32 / 20 values.</summary>
    /// <param name="destination">Receives the permutation; its length is n.</param>
    public void FillPermutation(Span<int> destination)
    {
        for (int i = 0; i < destination.Length; i++) destination[i] = i;
        for (int i = 0; i < destination.Length - 1; i++)
        {
            int other = i + (int)(NextUInt32() % (uint)(destination.Length - i));
            (destination[i], destination[other]) = (destination[other], destination[i]);
        }
    }

    private float NextUniform32() => (NextUInt32() & 0xFFFFFF) * (1f / (1 << 24));

    private double NextUniform64() => (NextUInt64() & ((1ul << 53) - 1)) * (1.0 / (1ul << 53));

    private double NextNormal()
    {
        if (_cachedNormal is { } kept)
        {
            _cachedNormal = null;
            return kept;
        }

        double angle = 2 * Math.PI * NextUniform64();
        double radius = Math.Sqrt(-2 * Math.Log(1 - NextUniform64()));
        _cachedNormal = radius * Math.Sin(angle);
        return radius * Math.Cos(angle);
    }

    // Radius and angle are rounded to float where torch rounds them; the transcendental functions run in double, so that the result does not depend on a
    // platform's float library.
    private static void TransformBlock(Span<float> block)
    {
        for (int j = 0; j < Block / 2; j++)
        {
            float radius = MathF.Sqrt(-2f * (float)Math.Log(1f - block[j]));
            float angle = 2f * MathF.PI * block[j + Block / 2];
            block[j] = radius * (float)Math.Cos(angle);
            block[j + Block / 2] = radius * (float)Math.Sin(angle);
        }
    }

    private static void TransformBlock(Span<double> block)
    {
        for (int j = 0; j < Block / 2; j++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - block[j]));
            double angle = 2 * Math.PI * block[j + Block / 2];
            block[j] = radius * Math.Cos(angle);
            block[j + Block / 2] = radius * Math.Sin(angle);
        }
    }
}
