using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Devices;
using LowBitDiffusion.Kernels.ILGPU.Families;
using LowBitDiffusion.Kernels.Tests.Convolution;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Convolution;

/// <summary>Integer layers give the bits of the definition, on .NET and on OpenCL.</summary>
[TestFixture(AcceleratorType.CPU)]
[TestFixture(AcceleratorType.OpenCL)]
[Category("Kernels")]
public sealed class IntegerMatrixTests(AcceleratorType type)
{
    // Layers on a device write floats, and no gate's result.
    public static IEnumerable<QuantizedConvCase> Cases() => QuantizedConvCase.Table().Concat(QuantizedConvCase.Random()).Where(one => one is { CodesOf: null, Gated: false });

    [TestCaseSource(nameof(Cases))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
        QuantizedConvProblem problem = new(definition);

        SameBits(Run(TestDevices.Of(type), IntegerVariant.Plain, definition, problem), problem.Expected(), definition.Name);
    }

    internal static float[] Run(IlgpuDevice device, IntegerVariant variant, QuantizedConvCase definition, QuantizedConvProblem problem)
    {
        using DeviceMemory memory = new(device);
        using IntegerWeights weights = IntegerWeights.Load(device, problem.Codes, definition.Shape, definition.Ranges, problem.WeightScales);
        if (definition.Codes == CodeRange.FourBit) Assert.That(weights.FourBit, "codes of four bits share a byte");
        int segments = definition.Ranges.Length;
        using IntegerMatrix layer = new(device, definition.Geometry, weights, [.. Enumerable.Range(0, segments)], segments);
        float[] scales = problem.InputScales.ToArray(), initial = problem.Output();
        ArrayView<float> quantizer = memory.Put([.. scales.Select(s => 1 / s), .. scales, .. problem.ZeroPoints.ToArray().Select(z => (float)z)]), output = memory.Put(initial);
        layer.Enqueue(variant, memory.PutCodes(problem.Input.ToArray()), quantizer, new MatrixEpilogue(
            PutOrNowhere(problem.Bias), PutOrNowhere(problem.ImageVector), definition.OutChannels, definition.Residual ? output : default, problem.OutputStride,
            definition.OutputScale, output, problem.OutputStride));
        return device.Download(output)[..^definition.OutputGap];

        ArrayView<float> PutOrNowhere(float[]? values) => values is null ? default : memory.Put(values);
    }

    internal static void SameBits(ReadOnlySpan<float> found, ReadOnlySpan<float> expected, string what)
    {
        Assert.That(found.Length, Is.EqualTo(expected.Length), what);
        int first = MemoryMarshal.Cast<float, int>(found).CommonPrefixLength(MemoryMarshal.Cast<float, int>(expected));
        if (first < expected.Length) Assert.Fail($"{what}: element {first} of {expected.Length}: found {found[first]:R}, expected {expected[first]:R}");
    }
}
