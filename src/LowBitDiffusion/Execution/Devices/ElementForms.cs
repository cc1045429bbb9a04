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
        DeviceSlice given = shape.Rank == 4 ? run.Slot(slot) : run.Floats(destination);
        run.Queue.Write(given, run.Host.Slots[slot], shape.Elements * sizeof(float));
        if (shape.Rank == 4) DeviceElements.ToRows(run.Queue, new RowShape(shape[0], shape.Positions, shape.Channels), given, run.Rows(destination));
    }
}

internal sealed unsafe partial class OutputStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        DeviceSlice given = run.Slot(slot);
        if (shape.Rank == 4) DeviceElements.ToPlanes(run.Queue, new RowShape(shape[0], shape.Positions, shape.Channels), run.Rows(source), given);
        else DeviceElements.Copy(run.Queue, new RowShape(1, source.Rows, source.Channels), run.Rows(source), new DeviceRows(given, source.Channels, source.Channels));
        run.Queue.Read(given, run.Host.Slots[slot], shape.Elements * sizeof(float));
    }
}

internal sealed partial class ObserveStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run)
    {
        if (run.Host.Observer is not { } observer) return;
        float[] rows = run.Queue.Download<float>(run.Floats(source), (source.Rows - 1) * source.Stride + source.Channels), dense = source.IsDense ? rows : new float[source.Rows * source.Channels];
        for (int row = 0; row < source.Rows && !source.IsDense; row++) rows.AsSpan(row * source.Stride, source.Channels).CopyTo(dense.AsSpan(row * source.Channels));
        observer(node, dense);
    }
}

internal sealed partial class CopyStep : IDeviceStep
{
    void IDeviceStep.Enqueue(DeviceRun run) =>
        DeviceElements.Copy(run.Queue, new RowShape(1, source.Rows, source.Channels), run.Rows(source), new DeviceRows(run.Floats(destination), source.Channels, source.Channels));
}

internal sealed partial class ElementStep : IDeviceStep
{
    private DeviceSlice _tableOnDevice;

    string? IDeviceStep.Refusal => _node.Op switch
    {
        AddOp or MultiplyOp or AffineOp or DivideOp or GegluOp or AveragePoolOp or ClampOp or UnpatchifyOp or ParameterOp or ConstantOp => null,
        TimestepEmbeddingOp or FourierEmbeddingOp => "sines and cosines of the timestep are the host's, so that they are the same everywhere",
        EmbeddingOp or SelectTokenOp => "its indices are checked on the host",
        NearestCodeOp => "distances are compared in double precision",
        _ => "there is no kernel for it",
    };

    void IDeviceStep.Load(DeviceModel model, DeviceArena tables) => _tableOnDevice = _node.Op switch
    {
        ConstantOp constant => model.Constant(constant),
        ParameterOp parameter => model.Vector(parameter.Parameters.First()),
        _ => default,
    };

    void IDeviceStep.Enqueue(DeviceRun run)
    {
        TensorShape shape = _node.Shape;
        RowShape rows = new(shape[0], _output.Rows / shape[0], _output.Channels);
        DeviceRows output = run.Rows(_output), x = _inputs.Length > 0 ? run.Rows(_inputs[0]) : default;
        switch (_node.Op)
        {
            case AddOp:
                DeviceElements.Add(run.Queue, rows, x, SecondOnDevice(run), BroadcastOf(_node.Inputs[1]), output);
                break;
            case MultiplyOp:
                DeviceElements.Multiply(run.Queue, rows, x, SecondOnDevice(run), BroadcastOf(_node.Inputs[1]), output);
                break;
            case AffineOp op:
                DeviceElements.Affine(run.Queue, rows, x, op.Factor, op.Offset, output);
                break;
            case DivideOp:
                DeviceElements.Divide(run.Queue, rows, x, run.Floats(_inputs[1]), output);
                break;
            case GegluOp:
                DeviceElements.Geglu(run.Queue, rows, x, output);
                break;
            case AveragePoolOp:
                TensorShape image = _node.Inputs[0].Shape;
                DeviceElements.AveragePool(run.Queue, image[0], image[2], image[3], x, output);
                break;
            case ClampOp op:
                DeviceElements.Clamp(run.Queue, rows, x, op.Minimum, op.Maximum, output);
                break;
            case UnpatchifyOp op:
                DeviceElements.Unpatchify(run.Queue, shape[0], op.Patch, shape[2], shape[3], x, output);
                break;
            case ParameterOp or ConstantOp:
                DeviceElements.Copy(run.Queue, rows, new DeviceRows(_tableOnDevice, _output.Channels, _output.Channels), output);
                break;
            default:
                throw new InvalidOperationException($"no kernel for {_node}");
        }
    }

    private DeviceRows SecondOnDevice(DeviceRun run)
    {
        DeviceRows rows = run.Rows(_inputs[1]);
        return BroadcastOf(_node.Inputs[1]) == Broadcast.PerImage && _inputs[1].Rows == 1 ? rows with { Stride = 0 } : rows;
    }
}
