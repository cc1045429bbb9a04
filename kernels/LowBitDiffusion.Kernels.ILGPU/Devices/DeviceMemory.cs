using ILGPU;
using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Devices;

/// <summary>Memory of a device that is given back together.</summary>
/// <param name="device">The device.</param>
public sealed class DeviceMemory(IlgpuDevice device) : IDisposable
{
    private readonly List<MemoryBuffer> _buffers = [];

    /// <summary>Brings values to the device.</summary>
    public ArrayView<T> Put<T>(T[] values) where T : unmanaged
    {
        ArrayView<T> view = Take<T>(values.Length);
        view.CopyFromCPU(values);
        return view;
    }

    /// <summary>Brings codes of an image to the device, with what may be read behind them.</summary>
    public ArrayView<byte> PutCodes(byte[] codes) => Put([.. codes, .. new byte[IntegerMatrix.Slack]]);

    /// <summary>Takes room for so many values.</summary>
    public ArrayView<T> Take<T>(int count) where T : unmanaged
    {
        MemoryBuffer1D<T, Stride1D.Dense> buffer = device.Accelerator.Allocate1D<T>(count);
        _buffers.Add(buffer);
        return buffer.AsArrayView<T>(0, count);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (MemoryBuffer buffer in _buffers) buffer.Dispose();
        _buffers.Clear();
    }
}
