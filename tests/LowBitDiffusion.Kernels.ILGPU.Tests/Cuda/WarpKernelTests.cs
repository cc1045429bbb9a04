using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Checking;
using LowBitDiffusion.Kernels.ILGPU.Devices;
using LowBitDiffusion.Kernels.ILGPU.Families;
using LowBitDiffusion.Kernels.ILGPU.Tests.Convolution;
using LowBitDiffusion.Kernels.Tests.Convolution;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Cuda;

/// <summary>
/// The kernel for tensor cores, where there are none: a warp of 32 threads of .NET, whose product is what NVIDIA's documentation says of <c>mma.m16n8k32</c>. What a lane reads and writes is the same as there.
/// </summary>
[Category("Kernels")]
public sealed class WarpKernelTests
{
    [Test]
    public void Passes_the_check_of_devices() =>
        Assert.That(DeviceCheck.Run(TestDevices.Of(AcceleratorType.CPU), [IntegerVariant.Mma]).Refused, Is.Empty);

    public static IEnumerable<QuantizedConvCase> Cases() =>
    [
        new("all that is added", 20, 37) { Batch = 2, Kernel = (3, 3), Padding = (1, 1, 1, 1), Segments = [12, 8], ImageVector = true, Residual = true, OutputScale = 0.7f, OutputGap = 3 },
        new("nibbles from a zero point", 9, 66) { Stride = 2, Kernel = (3, 3), Codes = CodeRange.FourBitWithZeroPoints, ZeroPoints = [255] },
    ];

    [TestCaseSource(nameof(Cases))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
        QuantizedConvProblem problem = new(definition);
        IlgpuDevice device = TestDevices.Of(AcceleratorType.CPU);

        IntegerMatrixTests.SameBits(IntegerMatrixTests.Run(device, IntegerVariant.Mma, definition, problem), problem.Expected(), definition.Name);
    }
}
