using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// The numbers into which normalisation and modulation are folded, so that staging applies them with one multiplication and one addition:
/// <code>
///   region:  factor [B or 1][C] | offset [B or 1][C] | mean [rows] | 1/deviation [rows] (layer norm) | scratch (group norm)
/// </code>
/// </summary>
internal sealed unsafe partial class NormFold
{
    private readonly int _affineRows;
    private readonly int _channels;
    private readonly bool _hasRows;
    private readonly bool _hasAffine;
    private readonly int _rows;

    /// <summary>Lays out the fold of an expression's normalisation and modulation.</summary>
    public NormFold(StageExpression expression, Func<long, Region> allocate)
    {
        _channels = expression.Channels;
        _rows = expression.Batch * expression.Height * expression.Width;
        _hasRows = expression.Norm?.Op is LayerNormOp;
        _hasAffine = expression.Modulation is not null || expression.Norm?.Op is GroupNormOp or LayerNormOp { Affine: true };
        // Layer normalisation alone has one weight for all images.
        _affineRows = _hasRows && expression.Modulation is null ? 1 : expression.Batch;
        long scratch = expression.Norm?.Op is GroupNormOp ? GroupNorm.ScratchBytes(new RowShape(expression.Batch, expression.Height * expression.Width, _channels)) : 0;
        Region = allocate(ScratchOffset + scratch);
    }

    /// <summary>The memory.</summary>
    public Region Region { get; }

    private long ScratchOffset => (RowOffset + (_hasRows ? 2L * _rows : 0) * sizeof(float) + 63) / 64 * 64;

    private long RowOffset => 2L * _affineRows * _channels * sizeof(float);

    /// <summary>Factors <c>[images][channels]</c>.</summary>
    public float* Factor(PlanContext context) => (float*)context.Bytes(Region);

    /// <summary>Offsets <c>[images][channels]</c>.</summary>
    public float* Offset(PlanContext context) => Factor(context) + (long)_affineRows * _channels;

    /// <summary>Mean of each row.</summary>
    public float* Mean(PlanContext context) => (float*)(context.Bytes(Region) + RowOffset);

    /// <summary>Inverse deviation of each row.</summary>
    public float* InverseDeviation(PlanContext context) => Mean(context) + _rows;

    /// <summary>Scratch of the group normalisation.</summary>
    public void* Scratch(PlanContext context) => context.Bytes(Region) + ScratchOffset;

    /// <summary>Hands the numbers to a staging pass.</summary>
    public void Apply(PlanContext context, ref StagingJob job)
    {
        if (_hasRows)
        {
            job.RowMean = Mean(context);
            job.RowInverseDeviation = InverseDeviation(context);
        }

        if (!_hasAffine) return;
        job.Factor = Factor(context);
        job.Offset = Offset(context);
        job.AffineStride = _affineRows == 1 ? 0 : _channels;
    }
}

/// <summary>Computes a <see cref="NormFold"/>: one pass over the value for its statistics.</summary>
internal sealed unsafe partial class NormStep(StageExpression expression, Storage[] sources, Storage? scaleVector, Storage? shiftVector, NormFold fold) : PlanStep
{
    private float* _gamma;
    private float* _beta;

    public override string Kind => "norm";

    public override IEnumerable<Region> Reads => [.. sources.Select(s => s.Region), .. Of(scaleVector, shiftVector)];

    public override IEnumerable<Region> Writes => [fold.Region];

    public override void Load(PackedModel model)
    {
        if (expression.Norm?.Op is not (GroupNormOp or LayerNormOp { Affine: true })) return;
        Parameter[] parameters = [.. ((ModuleOp)expression.Norm.Op).Parameters];
        _gamma = model.Vector(parameters[0]);
        _beta = model.Vector(parameters[1]);
    }

    public override void Run(PlanContext context)
    {
        RowShape shape = new(expression.Batch, expression.Height * expression.Width, expression.Channels);
        RowView scale = scaleVector is { } s ? ImageRows(context, s) : default, shift = shiftVector is { } h ? ImageRows(context, h) : default;
        RowView first = context.View(sources[0]);
        switch (expression.Norm?.Op)
        {
            case GroupNormOp norm:
                NormSources both = sources.Length == 2 ? new(first, sources[0].Channels, context.View(sources[1]), sources[1].Channels) : new(first, sources[0].Channels);
                GroupNorm.Fold(context.Pool, shape, both, norm.Groups, norm.Epsilon, _gamma, _beta, scale, shift, fold.Factor(context), fold.Offset(context), fold.Scratch(context));
                return;
            case LayerNormOp norm:
                LayerNorm.Statistics(context.Pool, shape, first, norm.Epsilon, fold.Mean(context), fold.InverseDeviation(context));
                break;
        }

        FoldAffine(context, scale, shift);
    }

    private static RowView ImageRows(PlanContext context, in Storage vector) => new(context.Floats(vector), vector.Rows == 1 ? 0 : vector.Stride);

    // (x·γ + β)·(1 + scale) + shift, as one factor and one offset per channel.
    private void FoldAffine(PlanContext context, RowView scale, RowView shift)
    {
        if (_gamma is null && scale.Data is null) return;
        int images = scale.Data is null ? 1 : expression.Batch, channels = expression.Channels;
        for (int b = 0; b < images; b++)
        {
            float* factor = fold.Factor(context) + (long)b * channels, offset = fold.Offset(context) + (long)b * channels;
            for (int c = 0; c < channels; c++)
            {
                float gamma = _gamma is null ? 1 : _gamma[c], beta = _beta is null ? 0 : _beta[c];
                float gain = scale.Data is null ? 1 : 1 + scale.Row(b)[c], bias = shift.Data is null ? 0 : shift.Row(b)[c];
                factor[c] = gamma * gain;
                offset[c] = beta * gain + bias;
            }
        }
    }
}
