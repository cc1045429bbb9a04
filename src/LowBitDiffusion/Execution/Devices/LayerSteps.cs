using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tuning;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

// Layers, and what feeds them, on a device.

internal sealed partial class FloatMatrixStep : IDeviceStep
{
    private FloatMatrix _onDevice = null!;
    private DeviceSlice _biasOnDevice;

    void IDeviceStep.Load(DeviceModel model, DeviceArena tables) => (_onDevice, _biasOnDevice) = (model.Layer(tables, model.Float(_op), Geometry), model.Bias(_op, null));

    void IDeviceStep.Enqueue(DeviceRun run) =>
        _onDevice.Enqueue(run.Queue, run.Choice, InputOnDevice(run), default, DeviceForms.Bind(Epilogue, run, _biasOnDevice));

    void IDeviceStep.Tune(DeviceRun run, DeviceQueue queue, TileTuner tuner, CancellationToken cancellationToken) =>
        tuner.Choose(queue, _onDevice, InputOnDevice(run), DeviceForms.Bind(Epilogue, run, _biasOnDevice), cancellationToken);

    private DeviceSlice InputOnDevice(DeviceRun run) => run.Values(Input, offset);
}

internal sealed partial class QuantizedMatrixStep : IDeviceStep
{
    private IntegerMatrix _onDevice = null!;
    private DeviceSlice _biasOnDevice;

    void IDeviceStep.Load(DeviceModel model, DeviceArena tables)
    {
        _onDevice = model.Layer(tables, model.Integer(_op, _module, Epilogue.Gated), Geometry, _inputSegments);
        _biasOnDevice = model.Bias(_op, _module, Epilogue.Gated);
    }

    void IDeviceStep.Enqueue(DeviceRun run) =>
        _onDevice.Enqueue(run.Queue, run.Choice, run.Bytes(Input), run.Quantizer(_quantizer), DeviceForms.Bind(Epilogue, run, _biasOnDevice));

    void IDeviceStep.Tune(DeviceRun run, DeviceQueue queue, TileTuner tuner, CancellationToken cancellationToken) =>
        tuner.Choose(queue, _onDevice, run.Bytes(Input), DeviceForms.Bind(Epilogue, run, _biasOnDevice), cancellationToken);
}

internal sealed partial class StageStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        Storage? second = sources.Length == 2 ? sources[1] : null;
        DeviceStaging job = new()
        {
            First = run.Values(sources[0]),
            FirstChannels = sources[0].Channels,
            FirstStride = sources[0].Stride,
            Second = second is { } s ? run.Values(s) : default,
            SecondChannels = second?.Channels ?? 0,
            SecondStride = second?.Stride ?? 0,
            Batch = expression.Batch,
            SourceHeight = expression.Height,
            SourceWidth = expression.Width,
            Height = expression.OutHeight,
            Width = expression.OutWidth,
            Top = padding.Top,
            Left = padding.Left,
            Bottom = padding.Bottom,
            Right = padding.Right,
            Activation = Map(expression.Activation),
            SplitChannel = quantizer?.SplitChannel ?? 0,
            MaxCode = quantizer?.MaxCode ?? 0,
        };
        fold?.Apply(run, ref job);
        if (quantizer is null)
        {
            job.Store(run.Queue, run.Bytes(destination));
            return;
        }

        job.Quantize(run.Queue, run.Quantizer(quantizer), run.ChannelInverse(quantizer), run.Bytes(destination));
    }
}

internal sealed partial class NormFold
{
    /// <summary>Places of factors, offsets, means, inverse deviations and scratch on a device.</summary>
    public (DeviceSlice Factor, DeviceSlice Offset, DeviceSlice Mean, DeviceSlice InverseDeviation, DeviceSlice Scratch) Places(DeviceRun run)
    {
        DeviceSlice start = run.Bytes(Region), rows = start.Skip(RowOffset);
        return (start, start.Skip((long)_affineRows * _channels * sizeof(float)), rows, rows.Skip((long)_rows * sizeof(float)), start.Skip(ScratchOffset));
    }

    /// <summary>Hands the numbers to a staging pass.</summary>
    public void Apply(DeviceRun run, ref DeviceStaging job)
    {
        (DeviceSlice factor, DeviceSlice offset, DeviceSlice mean, DeviceSlice inverseDeviation, _) = Places(run);
        if (_hasRows) (job.RowMean, job.RowInverseDeviation) = (mean, inverseDeviation);
        if (_hasAffine) (job.Factor, job.Offset, job.AffineStride) = (factor, offset, _affineRows == 1 ? 0 : _channels);
    }
}

internal sealed partial class NormStep : IDeviceStep
{
    private DeviceSlice _gammaOnDevice;
    private DeviceSlice _betaOnDevice;

    void IDeviceStep.Load(DeviceModel model, DeviceArena tables)
    {
        if (expression.Norm?.Op is not (GroupNormOp or LayerNormOp { Affine: true })) return;
        Parameter[] parameters = [.. ((ModuleOp)expression.Norm.Op).Parameters];
        (_gammaOnDevice, _betaOnDevice) = (model.Vector(parameters[0]), model.Vector(parameters[1]));
    }

    void IDeviceStep.Enqueue(DeviceRun run)
    {
        int rows = expression.Height * expression.Width;
        DeviceRows scale = run.ImageRows(scaleVector), shift = run.ImageRows(shiftVector), first = run.Rows(sources[0]);
        (DeviceSlice factor, DeviceSlice offset, DeviceSlice mean, DeviceSlice inverseDeviation, DeviceSlice scratch) = fold.Places(run);
        switch (expression.Norm?.Op)
        {
            case GroupNormOp norm:
                DeviceNormalization.GroupNorm(
                    run.Queue, expression.Batch, rows, first, sources.Length == 2 ? run.Rows(sources[1]) : default, norm.Groups, norm.Epsilon, _gammaOnDevice, _betaOnDevice, scale, shift, factor, offset, scratch);
                return;
            case LayerNormOp norm:
                DeviceNormalization.LayerNorm(run.Queue, expression.Batch * rows, first, norm.Epsilon, mean, inverseDeviation);
                break;
        }

        if (_gammaOnDevice.Buffer is null && scaleVector is null) return;
        DeviceNormalization.FoldAffine(run.Queue, scaleVector is null ? 1 : expression.Batch, expression.Channels, _gammaOnDevice, _betaOnDevice, scale, shift, factor, offset);
    }
}

internal sealed partial class AttentionStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        var shape = Shape(node);
        DeviceAttention job = new()
        {
            Query = run.Rows(inputs[0]),
            Key = run.Rows(inputs[1]),
            Value = run.Rows(inputs[2]),
            Output = run.Rows(output),
            Mask = inputs.Length > 3 ? run.Values(inputs[3]) : default,
            MaskStride = inputs.Length > 3 && inputs[3].Rows > 1 ? inputs[3].Stride : 0,
            Batch = shape.Batch,
            Heads = shape.Heads,
            Queries = shape.Queries,
            Keys = shape.Keys,
            HeadWidth = shape.HeadWidth,
            ValueWidth = shape.ValueWidth,
            Scale = shape.Scale,
            Causal = shape.Causal,
        };
        if (precision == AttentionPrecision.Float) job.Enqueue(run.Queue);
        else PackedAttention.Enqueue(run.Queue, run.Choice.Dot, job, run.Bytes(scratch), bf16: precision == AttentionPrecision.Bf16);
    }
}

/// <summary>What several steps need for their form on a device.</summary>
internal static class DeviceForms
{
    /// <summary>An epilogue with the places of this run.</summary>
    public static Kernels.OpenCL.Families.MatrixEpilogue Bind(MatrixEpilogue epilogue, DeviceRun run, DeviceSlice bias)
    {
        Kernels.OpenCL.Families.MatrixEpilogue bound = new(
            bias,
            epilogue.ImageVector is { } vector ? run.Values(vector) : default,
            epilogue.ImageVector is { } rows && !epilogue.VectorIsShared ? rows.Stride : 0,
            epilogue.Residual is { } residual ? run.Values(residual) : default,
            epilogue.Residual?.Stride ?? 0,
            epilogue.OutputScale,
            epilogue.Codes is { } codes ? run.Bytes(codes.Region) : run.Values(epilogue.Output!.Value),
            epilogue.Codes?.Channels ?? epilogue.Output!.Value.Stride)
        { Gated = epilogue.Gated };
        return epilogue.Codes?.Quantizer is not { } quantizer ? bound : bound with
        {
            CodeQuantizer = run.Quantizer(quantizer),
            CodeInverse = run.ChannelInverse(quantizer),
            CodesOf = StageStep.Map(epilogue.Codes.Activation),
            MaxCode = quantizer.MaxCode,
        };
    }
}
