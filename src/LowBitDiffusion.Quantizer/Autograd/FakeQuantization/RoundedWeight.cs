using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>A weight whose rounding is learned (<see cref="AdaRound"/>), on fixed steps and zero points.</summary>
public sealed class RoundedWeight : FakeQuantizedWeight
{
    private readonly AdaRound _rounding;
    private readonly QuantizedWeight _nearest;
    private readonly int[] _zeroPoints;

    /// <summary>Creates the weight; it starts as the float weight where that is within the codes' range.</summary>
    /// <param name="name">The module's name; the variable is called <c>name.alpha</c>.</param>
    /// <param name="weight">Float weight, row-major (dilated where the input is divided by channel).</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="nearest">Its quantization by rounding to nearest, whose steps and zero points are kept.</param>
    /// <param name="options">As that was made.</param>
    public RoundedWeight(string name, float[] weight, TensorShape shape, QuantizedWeight nearest, WeightQuantizerOptions options) : base(shape, options)
    {
        _nearest = nearest;
        _zeroPoints = Ranges.ZeroPoints(nearest, options.Bits);
        _rounding = new AdaRound(weight, nearest.Scales, _zeroPoints, Ranges, WeightRanges.LastCode(options));
        Alpha = new Variable($"{name}.alpha", _rounding.InitialAlpha());
    }

    /// <summary>α of every element: rounds up where it is not negative.</summary>
    public Variable Alpha { get; }

    /// <summary>Whether the rounding is decided: no longer soft, nothing to learn.</summary>
    public bool Hard
    {
        get;
        set
        {
            field = value;
            Alpha.Trainable = !value;
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Variables => [Alpha];

    /// <inheritdoc/>
    public override QuantizedWeight Export()
    {
        int[] codes = _rounding.HardCodes(Alpha.Value);
        sbyte[] centred = new sbyte[codes.Length];
        for (int entry = 0; entry < Ranges.Count; entry++)
        {
            (int offset, int count) = Ranges[entry];
            for (int i = offset; i < offset + count; i++) centred[i] = (sbyte)(codes[i] - _zeroPoints[entry]);
        }

        return _nearest with { Codes = centred };
    }

    private protected override float[] Forward(WorkerPool pool) => Hard ? _rounding.HardWeight(Alpha.Value) : _rounding.SoftWeight(Alpha.Value, pool);

    internal override void Backward(WorkerPool pool, float[] gradient)
    {
        if (Alpha.Trainable) Alpha.AddGradient(_rounding.Backward(Alpha.Value, gradient, pool));
    }
}
