using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// The parameters with which a layer's input is quantized at the current timestep, in memory that kernels read. All steps' table entries are looked
/// up before the loop; choosing one is a few stores.
/// </summary>
internal sealed unsafe class InputQuantizer
{
    private readonly TimestepTable _table;
    private readonly float[]? _channelScales;
    private readonly float[] _inverse;
    private readonly byte[] _zeroPoints;
    private readonly float[] _channelInverse;
    private int[] _entries = [];
    private int _current = -1;

    /// <summary>Creates the quantizer of a layer's input.</summary>
    /// <param name="module">The layer.</param>
    public InputQuantizer(QuantizedModule module)
    {
        _table = module.Input;
        _channelScales = module.InputChannelScales;
        SplitChannel = module.SplitChannel;
        _inverse = GC.AllocateArray<float>(2, pinned: true);
        _zeroPoints = GC.AllocateArray<byte>(2, pinned: true);
        _channelInverse = GC.AllocateArray<float>(_channelScales?.Length ?? 0, pinned: true);
    }

    /// <summary>First channel of the second range with parameters of its own, or 0.</summary>
    public int SplitChannel { get; }

    /// <summary>Largest code.</summary>
    public int MaxCode => (1 << _table.Bits) - 1;

    /// <summary><c>1/d</c> of each range of channels.</summary>
    public float* Inverse => Address(_inverse);

    /// <summary>Zero point of each range of channels.</summary>
    public byte* ZeroPoints => (byte*)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _zeroPoints[0]);

    /// <summary><c>1/(d·s[c])</c> of each channel where channels have scales of their own, else null.</summary>
    public float* ChannelInverse => _channelInverse.Length == 0 ? null : Address(_channelInverse);

    /// <summary>Numbers of the two ranges in front of <see cref="CopyTo"/>.</summary>
    public const int RangeNumbers = 6;

    /// <summary>Numbers of <see cref="CopyTo"/>.</summary>
    public int Length => RangeNumbers + _channelInverse.Length;

    /// <summary>Whether channels have scales of their own.</summary>
    public bool HasChannelScales => _channelInverse.Length > 0;

    /// <summary>The current parameters in one piece: 1/d of both ranges, d of both, z of both, then 1/(d·s) of the channels that have scales of their own.</summary>
    public void CopyTo(Span<float> values)
    {
        for (int s = 0; s < _table.Segments; s++) (values[s], values[2 + s], values[4 + s]) = (_inverse[s], Scale(s), _zeroPoints[s]);
        _channelInverse.CopyTo(values[RangeNumbers..]);
    }

    /// <summary>Whether two layers quantize the same input to the same codes at every timestep, so that one pass serves both.</summary>
    public bool Matches(QuantizedModule module) =>
        SplitChannel == module.SplitChannel && _table.Bits == module.Input.Bits && _table.Timesteps.SequenceEqual(module.Input.Timesteps)
        && _table.Scales.SequenceEqual(module.Input.Scales) && _table.ZeroPoints.SequenceEqual(module.Input.ZeroPoints)
        && (_channelScales ?? []).AsSpan().SequenceEqual(module.InputChannelScales ?? []);

    /// <summary>Looks up the entries of all steps.</summary>
    public void Prepare(ReadOnlySpan<float> timesteps)
    {
        _entries = new int[timesteps.Length];
        for (int i = 0; i < _entries.Length; i++) _entries[i] = _table.IndexOf(timesteps[i]);
        _current = -1;
    }

    /// <summary>Makes a step's entry the current one.</summary>
    public void Select(int step)
    {
        int entry = _entries[step];
        if (entry == _current) return;
        _current = entry;
        for (int s = 0; s < _table.Segments; s++)
        {
            _inverse[s] = 1 / _table.Scales[entry * _table.Segments + s];
            _zeroPoints[s] = (byte)_table.ZeroPoints[entry * _table.Segments + s];
        }

        for (int c = 0; c < _channelInverse.Length; c++)
            _channelInverse[c] = 1 / (_table.Scales[entry * _table.Segments + (SplitChannel > 0 && c >= SplitChannel ? 1 : 0)] * _channelScales![c]);
    }

    /// <summary>Scale of a range of channels at the current step.</summary>
    public float Scale(int segment) => _table.Scales[_current * _table.Segments + segment];

    private static float* Address(float[] pinned) => (float*)System.Runtime.CompilerServices.Unsafe.AsPointer(ref pinned[0]);
}
