using ILGPU;
using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Devices;

/// <summary>A device in use, with the kernels that were compiled for it.</summary>
public sealed class IlgpuDevice : IDisposable
{
    private readonly Dictionary<(IntegerVariant, bool, bool), Action<LayerViews, LayerNumbers>> _kernels = [];

    internal IlgpuDevice(Accelerator accelerator) => Accelerator = accelerator;

    /// <summary>The device as ILGPU has it.</summary>
    public Accelerator Accelerator { get; }

    /// <summary>Waits until all that was handed over is done.</summary>
    public void Wait() => Accelerator.Synchronize();

    /// <summary>Waits, and brings values back.</summary>
    public T[] Download<T>(ArrayView<T> from) where T : unmanaged
    {
        T[] values = new T[from.Length];
        from.CopyToCPU(values);
        return values;
    }

    /// <inheritdoc/>
    public void Dispose() => Accelerator.Dispose();

    /// <inheritdoc/>
    public override string ToString() => $"{Accelerator.AcceleratorType}: {Accelerator.Name}";

    internal Action<LayerViews, LayerNumbers> Kernel(IntegerVariant variant, bool aligned, bool nibbles)
    {
        if (!_kernels.TryGetValue((variant, aligned, nibbles), out Action<LayerViews, LayerNumbers>? kernel))
        {
            kernel = variant.Load(Accelerator, aligned, nibbles);
            _kernels.Add((variant, aligned, nibbles), kernel);
        }

        return kernel;
    }
}
