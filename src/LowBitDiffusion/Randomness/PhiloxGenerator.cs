namespace LowBitDiffusion.Randomness;

/// <summary>
/// torch's CUDA generator for <c>torch.randn</c> in float: Philox4x32-10 with the seed as key and the counter
/// <code>
///   (offset low, offset high, thread low, thread high)
/// </code>
/// Thread <c>i</c> of a grid of T threads draws four normals at a time and stores them at <c>i, i + T, i + 2T, i + 3T</c>, then advances its offset by one and
/// goes on at
/// <c>i + 4T</c>. Box-Muller turns the words (a, b) into two of the four normals and (c, d) into the others:
/// <code>
///   u = (a + ½)·2^-32,  v = (b + ½)·2π·2^-32,  s = sqrt(−2 ln u):   s·sin v,  s·cos v
/// </code>
/// torch starts one thread per value, rounded up to blocks of 256, as long as the device can hold them (its multiprocessors × resident threads: 221 184 on an
/// A100, 43 008 on an RTX
/// 3060). <strong>Up to that size</strong> value <c>i</c> is the first normal of thread <c>i</c> and the result is the same on every device; beyond it the
/// numbers depend on the
/// device, whose thread count <c>gridThreads</c> then has to be given. Latents and small images are far below. The device computes sine, cosine and logarithm
/// with its fast
/// approximations, so values agree to about 1e-6, not to the bit. Not thread-safe.
/// </summary>
public sealed class PhiloxGenerator : INoiseGenerator
{
    private const int ThreadBlock = 256;
    private const float TwoPowMinus32 = 2.3283064e-10f;
    private const float TwoPiTwoPowMinus32 = TwoPowMinus32 * 6.2831855f;
    private readonly uint _keyLow;
    private readonly uint _keyHigh;
    private readonly long _gridThreads;
    private ulong _offset;

    /// <summary>The state after <c>torch.cuda.manual_seed(seed)</c>.</summary>
    /// <param name="seed">All 64 bits count.</param>
    /// <param name="gridThreads">Threads the modelled device holds at once, a multiple of 256; null for one large enough for every request.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number of threads is not a positive multiple of 256.</exception>
    public PhiloxGenerator(ulong seed, int? gridThreads = null)
    {
        if (gridThreads is { } threads && (threads <= 0 || threads % ThreadBlock != 0))
            throw new ArgumentOutOfRangeException(nameof(gridThreads), threads, $"a positive multiple of {ThreadBlock} is expected");
        (_keyLow, _keyHigh) = ((uint)seed, (uint)(seed >> 32));
        _gridThreads = gridThreads ?? long.MaxValue;
    }

    /// <inheritdoc/>
    public void FillNormal(Span<float> destination)
    {
        if (destination.IsEmpty) return;
        long threads = Math.Min(_gridThreads, ((long)destination.Length + ThreadBlock - 1) / ThreadBlock * ThreadBlock);
        for (long first = 0; first < destination.Length; first += 4 * threads, _offset++)
        {
            for (long thread = 0; thread < threads && first + thread < destination.Length; thread++)
            {
                (uint x, uint y, uint z, uint w) = Philox.Block((uint)_offset, (uint)(_offset >> 32), (uint)thread, 0, _keyLow, _keyHigh);
                (float a, float b) = BoxMuller(x, y);
                long index = first + thread;
                destination[(int)index] = a;
                if (index + threads >= destination.Length) continue;
                destination[(int)(index + threads)] = b;
                (float c, float d) = BoxMuller(z, w);
                if (index + 2 * threads < destination.Length) destination[(int)(index + 2 * threads)] = c;
                if (index + 3 * threads < destination.Length) destination[(int)(index + 3 * threads)] = d;
            }
        }
    }

    private static (float Sine, float Cosine) BoxMuller(uint x, uint y)
    {
        float u = x * TwoPowMinus32 + TwoPowMinus32 / 2;
        float v = y * TwoPiTwoPowMinus32 + TwoPiTwoPowMinus32 / 2;
        float s = MathF.Sqrt(-2f * (float)Math.Log(u));
        return (s * (float)Math.Sin(v), s * (float)Math.Cos(v));
    }
}
