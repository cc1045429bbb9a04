using ILGPU;
using ILGPU.Runtime;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.ILGPU.Devices;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Checking;

/// <summary>
/// What a device was found to compute. Before a device is used, variants of the integer kernels run on small adversarial layers and are compared with the definition, bit for bit; the first that agrees
/// is taken, the others are refused by name.
/// </summary>
/// <param name="Variant">What is used.</param>
/// <param name="Refused">What is not, and why.</param>
public sealed record DeviceCheck(IntegerVariant Variant, IReadOnlyList<RefusedVariant> Refused)
{
    /// <summary>Checks a device.</summary>
    /// <exception cref="IlgpuException">No variant computes what it should.</exception>
    public static DeviceCheck Run(IlgpuDevice device) => Run(device, IntegerVariant.Candidates(device.Accelerator.Device));

    /// <summary>Checks a device's variants.</summary>
    internal static DeviceCheck Run(IlgpuDevice device, IEnumerable<IntegerVariant> candidates)
    {
        List<RefusedVariant> refused = [];
        foreach (IntegerVariant variant in candidates)
        {
            if (Fault(device, variant) is not { } fault) return new DeviceCheck(variant, refused);
            refused.Add(new RefusedVariant(variant.Name, fault));
        }

        throw new IlgpuException($"no variant of the integer kernels gives the right sums on {device}: {string.Join("; ", refused.Select(r => $"{r.Variant}: {r.Reason}"))}");
    }

    private static string? Fault(IlgpuDevice device, IntegerVariant variant)
    {
        try
        {
            return CheckLayer.All.Select(layer => layer.Fault(Output(device, variant, layer))).FirstOrDefault(fault => fault is not null);
        }
        catch (Exception e) when (e is AcceleratorException or InternalCompilerException or CapabilityNotSupportedException or NotSupportedException)
        {
            return e.Message;
        }
    }

    private static float[] Output(IlgpuDevice device, IntegerVariant variant, CheckLayer layer)
    {
        using DeviceMemory memory = new(device);
        using IntegerWeights weights = IntegerWeights.Load(device, layer.Codes, layer.Shape, layer.Ranges, layer.WeightScales);
        using IntegerMatrix matrix = new(device, layer.Geometry, weights, [.. Enumerable.Range(0, layer.Segments.Length)]);
        int outChannels = layer.Geometry.OutChannels;
        ArrayView<float> output = memory.Take<float>(layer.Geometry.Rows * outChannels);
        matrix.Enqueue(variant, memory.PutCodes(layer.Image), memory.Put(layer.Quantizer), new MatrixEpilogue(memory.Put(layer.Bias), default, 0, default, 0, 1, output, outChannels));
        return device.Download(output);
    }
}

/// <summary>A device that cannot be used.</summary>
/// <param name="message">Which, and why.</param>
public sealed class IlgpuException(string message) : Exception(message);
