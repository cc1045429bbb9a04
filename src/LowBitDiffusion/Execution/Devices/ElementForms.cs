using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;

namespace LowBitDiffusion.Execution.Planning;

// Inputs, outputs and everything that is no layer, on a device.

internal sealed unsafe partial class InputStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        bool direct = IsCopied && run.Layout.Of(destination.Region) == ValueStorage.Single;
        DeviceSlice given = direct ? run.Values(destination) : run.Slot(slot);
        run.Queue.Write(given, run.Host.Slots[slot], shape.Elements * sizeof(float));
        if (!IsCopied) DeviceElements.ToRows(run.Queue, new RowShape(shape[0], shape.Positions, shape.Channels), given, run.Rows(destination));
        else if (!direct) DeviceElements.ToValues(run.Queue, new RowShape(1, destination.Rows, destination.Channels), new DeviceRows(given, destination.Channels, destination.Channels), run.Rows(destination));
    }
}

internal sealed unsafe partial class OutputStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        bool pixels = run.Host.OutputsPixels;
        DeviceSlice given = run.Slot(slot);
        DeviceRows from = run.Rows(source), dense = new(given, source.Channels, source.Channels);
        RowShape rows = shape.Rank == 4 ? new(shape[0], shape.Positions, shape.Channels) : new(1, source.Rows, source.Channels);
        if (pixels) DeviceElements.ToPixels(run.Queue, rows, from, dense);
        else if (shape.Rank == 4) DeviceElements.ToPlanes(run.Queue, rows, from, given);
        else DeviceElements.ToFloats(run.Queue, rows, from, dense);
        run.Queue.Read(given, run.Host.Slots[slot], shape.Elements * (pixels ? sizeof(byte) : sizeof(float)));
    }
}

internal sealed partial class ObserveStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        if (run.Host.Observer is not { } observer) return;
        ValueStorage stored = run.Layout.Of(source.Region);
        float[] rows = stored.Numbers(run.Queue.Download<byte>(run.Values(source), stored.Bytes() * ((source.Rows - 1) * source.Stride + source.Channels)));
        float[] dense = source.IsDense ? rows : new float[source.Rows * source.Channels];
        for (int row = 0; row < source.Rows && !source.IsDense; row++) rows.AsSpan(row * source.Stride, source.Channels).CopyTo(dense.AsSpan(row * source.Channels));
        observer(node, dense);
    }
}

internal sealed partial class CopyStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run) =>
        DeviceElements.Copy(run.Queue, new RowShape(1, source.Rows, source.Channels), run.Rows(source), new DeviceRows(run.Values(destination), source.Channels, source.Channels));
}

internal sealed partial class ElementStep : IDeviceStep
{
    private DeviceSlice _tableOnDevice;

    string? IDeviceStep.Refusal => _node.Op switch
    {
        TimestepEmbeddingOp or FourierEmbeddingOp => "sines and cosines of the timestep are the host's, so that they are the same everywhere",
        EmbeddingOp or SelectTokenOp => "its indices are checked on the host",
        NearestCodeOp => "distances are compared in double precision",
        ActivationOp => "there is no kernel for it",
        _ => null,
    };

    void IDeviceStep.Load(DeviceModel model, DeviceArena tables) => _tableOnDevice = _node.Op switch
    {
        ConstantOp constant => model.Constant(constant),
        ParameterOp parameter => model.Vector(parameter.Parameters.First()),
        _ => default,
    };

    void IDeviceStep.Enqueue(DeviceRun run) => Apply<ElementsOnDevice, DeviceRows>(new ElementsOnDevice(run, new DeviceRows(_tableOnDevice, _output.Channels, _output.Channels)));
}

/// <summary>A device's.</summary>
internal readonly struct ElementsOnDevice(DeviceRun run, DeviceRows table) : IElementKernels<DeviceRows>
{
    public DeviceRows Rows(in Storage storage) => run.Rows(storage);

    public DeviceRows Repeated(DeviceRows row) => row with { Stride = 0 };

    public void Add(in RowShape shape, DeviceRows x, DeviceRows y, Broadcast broadcast, DeviceRows output) => DeviceElements.Add(run.Queue, shape, x, y, broadcast, output);

    public void Multiply(in RowShape shape, DeviceRows x, DeviceRows y, Broadcast broadcast, DeviceRows output) => DeviceElements.Multiply(run.Queue, shape, x, y, broadcast, output);

    public void Divide(in RowShape shape, DeviceRows x, DeviceRows divisor, DeviceRows output) => DeviceElements.Divide(run.Queue, shape, x, divisor.Place, output);

    public void Affine(in RowShape shape, DeviceRows x, float factor, float offset, DeviceRows output) => DeviceElements.Affine(run.Queue, shape, x, factor, offset, output);

    public void Clamp(in RowShape shape, DeviceRows x, float minimum, float maximum, DeviceRows output) => DeviceElements.Clamp(run.Queue, shape, x, minimum, maximum, output);

    public void CopyTable(in RowShape shape, DeviceRows output) => DeviceElements.ToValues(run.Queue, shape, table, output);

    public void Geglu(in RowShape shape, DeviceRows x, DeviceRows output) => DeviceElements.Geglu(run.Queue, shape, x, output);

    public void AveragePool(in RowShape shape, int height, int width, DeviceRows x, DeviceRows output) => DeviceElements.AveragePool(run.Queue, shape.Batch, height, width, x, output);

    public void Unpatchify(in RowShape shape, int patch, int height, int width, DeviceRows x, DeviceRows output) => DeviceElements.Unpatchify(run.Queue, shape.Batch, patch, height, width, x, output);
}
