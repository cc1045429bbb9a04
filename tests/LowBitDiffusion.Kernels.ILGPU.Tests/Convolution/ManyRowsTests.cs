using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Families;
using LowBitDiffusion.Kernels.Tests.Convolution;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Convolution;

/// <summary>A layer has as many rows as a picture has pixels: more groups of them than the second direction of a grid may have. On OpenCL alone, .NET takes minutes.</summary>
[Category("Kernels")]
public sealed class ManyRowsTests
{
    [Test]
    public void A_large_picture_has_room_in_the_grid()
    {
        QuantizedConvCase definition = QuantizedConvCase.Linear(270_000, 4, 3);
        QuantizedConvProblem problem = new(definition);

        float[] found = IntegerMatrixTests.Run(TestDevices.Of(AcceleratorType.OpenCL), IntegerVariant.Plain, definition, problem);
        IntegerMatrixTests.SameBits(found, problem.Expected(), definition.Name);
    }
}
