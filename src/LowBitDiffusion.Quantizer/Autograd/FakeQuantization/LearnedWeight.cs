using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Gradients;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>
/// A weight that is rounded to nearest in every pass, with straight-through gradients: its float values, its steps, or a low-rank change merged before rounding are learned
/// (<see cref="LearnedStep"/>; block-wise distillation of DilateQuant learns values and steps, EfficientDM steps and an adapter <see cref="LowRankAdapter"/>). Zero points are fixed.
/// <code>
/// w    = Base + B·A
/// what = (clamp(round(w / d) + z, 0, last) − z)·d
/// </code>
/// </summary>
public sealed class LearnedWeight : FakeQuantizedWeight
{
    private readonly byte[]? _storedZeroPoints;
    private readonly int[] _zeroPoints;
    private readonly int _last;
    private readonly int _rank;
    private readonly Variable? _a;
    private readonly Variable? _b;
    private float[]? _merged;

    /// <summary>Creates the weight.</summary>
    /// <param name="name">The module's name; variables are called <c>name.weight</c>, <c>name.weight_scales</c>, <c>name.lora_a</c>, <c>name.lora_b</c>.</param>
    /// <param name="weight">Float weight, row-major (dilated where the input is divided by channel); copied.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="initial">Steps and zero points to start from.</param>
    /// <param name="options">Bits, groups, split.</param>
    /// <param name="adapter">Factors A <c>[rank, K]</c> and B <c>[N, rank]</c> of a low-rank change; null for none.</param>
    /// <exception cref="ArgumentException">The adapter does not fit the weight.</exception>
    public LearnedWeight(string name, float[] weight, TensorShape shape, QuantizedWeight initial, WeightQuantizerOptions options, (float[] A, float[] B)? adapter = null) : base(shape, options)
    {
        _storedZeroPoints = initial.ZeroPoints;
        _zeroPoints = Ranges.ZeroPoints(initial, options.Bits);
        _last = WeightRanges.LastCode(options);
        Base = new Variable($"{name}.weight", [.. weight]);
        Scales = new Variable($"{name}.weight_scales", [.. initial.Scales]) { Minimum = FakeQuantizedInput.LeastStep };
        if (adapter is not { } factors) return;
        _rank = factors.B.Length / shape[0];
        if (_rank * shape[0] != factors.B.Length || (long)_rank * (shape.Elements / shape[0]) != factors.A.Length)
            throw new ArgumentException($"{name}: factors of {factors.A.Length} and {factors.B.Length} elements do not fit a weight of {shape}", nameof(adapter));
        (_a, _b) = (new Variable($"{name}.lora_a", factors.A), new Variable($"{name}.lora_b", factors.B));
    }

    /// <summary>The float weight.</summary>
    public Variable Base { get; }

    /// <summary>Steps <c>[N, G]</c>.</summary>
    public Variable Scales { get; }

    /// <summary>The adapter's factors A and B, if there is one.</summary>
    public IReadOnlyList<Variable> Adapter => _a is null ? [] : [_a, _b!];

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Variables => [Base, Scales, .. Adapter];

    /// <inheritdoc/>
    public override QuantizedWeight Export()
    {
        using WorkerPool single = new(1);
        float[] merged = Merged(single);
        sbyte[] codes = new sbyte[merged.Length];
        for (int entry = 0; entry < Ranges.Count; entry++)
        {
            (int offset, int count) = Ranges[entry];
            for (int i = offset; i < offset + count; i++)
                codes[i] = (sbyte)(Math.Clamp(MathF.Round(merged[i] / Scales.Value[entry]) + _zeroPoints[entry], 0, _last) - _zeroPoints[entry]);
        }

        return new QuantizedWeight(codes, [.. Scales.Value], _storedZeroPoints);
    }

    private protected override float[] Forward(WorkerPool pool)
    {
        float[] merged = _merged = Merged(pool), values = Vectors.Allocate(merged.Length);
        Ranges.For(pool, (entry, offset, count) =>
            Vectors.Map(merged.AsSpan(offset, count), default, default, values.AsSpan(offset, count), new Rounded(Scales.Value[entry], _zeroPoints[entry], _last)));
        return values;
    }

    /// <summary>Gradients at the values of the last <see cref="Forward"/>.</summary>
    internal override void Backward(WorkerPool pool, float[] gradient)
    {
        float[] merged = _merged ?? throw new InvalidOperationException("there was no forward pass"), inside = Vectors.Allocate(merged.Length), scales = new float[Scales.Value.Length];
        Ranges.For(pool, (entry, offset, count) =>
        {
            Range part = offset..(offset + count);
            scales[entry] = Propagate(merged.AsSpan(part), gradient.AsSpan(part), inside.AsSpan(part), Scales.Value[entry], _zeroPoints[entry], _last);
        });
        if (Scales.Trainable) Scales.AddGradient(scales);
        if (Base.Trainable) Base.AddGradient(inside);
        if (_a is null || _b is null || !(_a.Trainable || _b.Trainable)) return;

        // dA = Bᵀ·g and dB = g·Aᵀ: the gradients of a linear layer of `rank` outputs over the weight's rows.
        LayerShape shape = AdapterShape;
        float[] da = Vectors.Allocate(_a.Value.Length), db = Vectors.Allocate(_b.Value.Length);
        LayerGradients.Weight(pool, shape, inside, _b.Value, da);
        LayerGradients.Forward(pool, shape, inside, _a.Value, default, db);
        _a.AddGradient(da);
        _b.AddGradient(db);
    }

    /// <summary>Passes on the gradient where codes are within range; returns that of the step.</summary>
    private static float Propagate(ReadOnlySpan<float> merged, ReadOnlySpan<float> gradient, Span<float> inside, float d, float z, float last)
    {
        const int run = 64;
        int lanes = Vector256<float>.Count;
        (Vector256<float> steps, Vector256<float> zeros) = (Vector256.Create(d), Vector256.Create(z));
        double sum = 0;
        int i = 0;
        while (i <= merged.Length - lanes)
        {
            Vector256<float> partial = default;
            for (int end = Math.Min(i + run * lanes, merged.Length / lanes * lanes); i < end; i += lanes)
            {
                Vector256<float> u = Vector256.Create(merged.Slice(i, lanes)) / steps, g = Vector256.Create(gradient.Slice(i, lanes));
                (g & FakeQuantizer.Inside(FakeQuantizer.Code(u, zeros), last)).CopyTo(inside[i..]);
                partial += g * FakeQuantizer.StepDerivative(u, zeros, last);
            }

            sum += Vector256.Sum(partial);
        }

        for (; i < merged.Length; i++)
        {
            float u = merged[i] / d, code = MathF.Round(u) + z;
            bool within = code >= 0 && code <= last;
            inside[i] = within ? gradient[i] : 0;
            sum += gradient[i] * (Math.Clamp(code, 0, last) - z - (within ? u : 0));
        }

        return (float)sum;
    }

    private LayerShape AdapterShape => LayerShape.Linear(Shape[0], (int)(Shape.Elements / Shape[0]), _rank);

    private float[] Merged(WorkerPool pool)
    {
        if (_a is null || _b is null) return Base.Value;
        float[] delta = Vectors.Allocate(Base.Value.Length);
        LayerGradients.Input(pool, AdapterShape, _b.Value, _a.Value, delta);
        return pool.Map(Base.Value, delta, null, new Sum());
    }

    private readonly struct Rounded(float d, float z, float last) : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => (FakeQuantizer.Clamp(FakeQuantizer.Code(a / Vector256.Create(d), Vector256.Create(z)), last) - Vector256.Create(z)) * d;
    }
}
