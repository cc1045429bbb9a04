namespace LowBitDiffusion.Quantization;

/// <summary>
/// Scale and zero point of one activation quantizer for each calibrated timestep, looked up by timestep <em>value</em> (TALSQ of EfficientDM, FSC of TFMQ-DM,
/// TPQ of DilateQuant all store this). A run with another number of steps, or another sampler, finds the same entry for the same timestep.
/// <code>q = clamp(round_half_even(x / scale) + zero_point, 0, 2^bits − 1)</code>
/// </summary>
public sealed class TimestepTable
{
    private readonly float[] _timesteps;
    private readonly float[] _scales;
    private readonly int[] _zeroPoints;

    /// <summary>Creates a table.</summary>
    /// <param name="timesteps">Calibrated timesteps, strictly ascending; one entry (of any value) is a static quantizer.</param>
    /// <param name="scales">Row-major <c>[timesteps, segments]</c>, finite and positive.</param>
    /// <param name="zeroPoints">Row-major <c>[timesteps, segments]</c>, in <c>[0, 2^bits − 1]</c>.</param>
    /// <param name="segments">1, or 2 where the channels are split in two ranges with parameters of their own.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">The arrays do not fit each other or hold values outside their range; the message says which.</exception>
    public TimestepTable(float[] timesteps, float[] scales, int[] zeroPoints, int segments, int bits)
    {
        if (bits is < 2 or > 8) throw new ArgumentException($"activation bits must be 2 to 8, found {bits}");
        if (segments is < 1 or > 2) throw new ArgumentException($"an activation has 1 or 2 segments, found {segments}");
        if (timesteps.Length == 0 || scales.Length != timesteps.Length * segments || zeroPoints.Length != scales.Length)
            throw new ArgumentException($"{timesteps.Length} timesteps and {segments} segments need {timesteps.Length * segments} scales and zero points, found {scales.Length} and {zeroPoints.Length}");
        for (int i = 0; i < timesteps.Length; i++)
        {
            if (!float.IsFinite(timesteps[i]) || (i > 0 && timesteps[i] <= timesteps[i - 1]))
                throw new ArgumentException($"timesteps must be finite and strictly ascending, found {timesteps[i]} at {i}");
        }

        for (int i = 0; i < scales.Length; i++)
        {
            if (!float.IsFinite(scales[i]) || scales[i] <= 0) throw new ArgumentException($"scales must be finite and positive, found {scales[i]} at {i}");
            if (zeroPoints[i] < 0 || zeroPoints[i] >= 1 << bits) throw new ArgumentException($"zero points must be 0 to {(1 << bits) - 1}, found {zeroPoints[i]} at {i}");
        }

        (_timesteps, _scales, _zeroPoints, Segments, Bits) = (timesteps, scales, zeroPoints, segments, bits);
    }

    /// <summary>Calibrated timesteps, ascending.</summary>
    public ReadOnlySpan<float> Timesteps => _timesteps;

    /// <summary>Scales, <c>[timesteps, segments]</c>.</summary>
    public ReadOnlySpan<float> Scales => _scales;

    /// <summary>Zero points, <c>[timesteps, segments]</c>.</summary>
    public ReadOnlySpan<int> ZeroPoints => _zeroPoints;

    /// <summary>Channel ranges with parameters of their own: 1, or 2 for a split.</summary>
    public int Segments { get; }

    /// <summary>Bits of a code.</summary>
    public int Bits { get; }

    /// <summary>Whether one entry serves all timesteps.</summary>
    public bool IsStatic => _timesteps.Length == 1;

    /// <summary>The entry for a timestep: the nearest calibrated one; of two equally near the smaller.</summary>
    public int IndexOf(float timestep) => IndexOf(_timesteps, timestep);

    /// <summary>Scale and zero point of a segment at a timestep.</summary>
    public (float Scale, int ZeroPoint) At(float timestep, int segment = 0)
    {
        int i = IndexOf(timestep) * Segments + segment;
        return (_scales[i], _zeroPoints[i]);
    }

    /// <summary>The index of the nearest of some ascending timesteps; of two equally near the smaller.</summary>
    internal static int IndexOf(float[] timesteps, float timestep)
    {
        int index = Array.BinarySearch(timesteps, timestep);
        if (index >= 0) return index;
        int above = ~index;
        if (above == 0) return 0;
        if (above == timesteps.Length) return above - 1;
        return timestep - timesteps[above - 1] <= timesteps[above] - timestep ? above - 1 : above;
    }
}
