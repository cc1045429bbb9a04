namespace LowBitDiffusion.Randomness;

/// <summary>
/// MT19937 of Matsumoto and Nishimura, "Mersenne Twister" (ACM TOMACS 8, 1998), seeded by <c>init_genrand</c>: 624 words of state
/// <code>
/// x[k+624] = x[k+397] ⊕ twist(upper bit of x[k] | lower 31 bits of x[k+1])
/// </code>
/// tempered on the way out. Period 2^19937 − 1.
/// </summary>
internal sealed class MersenneTwister
{
    private const int Size = 624;
    private const int Middle = 397;
    private readonly uint[] _state = new uint[Size];
    private int _position = Size;

    public MersenneTwister(uint seed)
    {
        _state[0] = seed;
        for (int i = 1; i < Size; i++) _state[i] = 1812433253u * (_state[i - 1] ^ (_state[i - 1] >> 30)) + (uint)i;
    }

    public uint Next()
    {
        if (_position == Size) Twist();
        uint y = _state[_position++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C5680u;
        y ^= (y << 15) & 0xEFC60000u;
        return y ^ (y >> 18);
    }

    private void Twist()
    {
        for (int k = 0; k < Size; k++)
        {
            uint y = (_state[k] & 0x80000000u) | (_state[(k + 1) % Size] & 0x7FFFFFFFu);
            _state[k] = _state[(k + Middle) % Size] ^ (y >> 1) ^ ((y & 1) * 0x9908B0DFu);
        }

        _position = 0;
    }
}
