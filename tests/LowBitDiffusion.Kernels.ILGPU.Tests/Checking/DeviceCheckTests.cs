using ILGPU.Runtime;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.ILGPU.Checking;
using LowBitDiffusion.Kernels.ILGPU.Devices;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Checking;

/// <summary>A variant that computes something else is refused by name and the next one is taken.</summary>
[Category("Kernels")]
public sealed class DeviceCheckTests
{
    private static readonly IntegerVariant s_wrapping = IntegerVariant.Tiles<WrappingProducts>("wrapping");
    private static readonly IntegerVariant s_signed = IntegerVariant.Tiles<SignedProducts>("signed");

    [TestCase(AcceleratorType.CPU)]
    [TestCase(AcceleratorType.OpenCL)]
    public void An_honest_device_is_used_as_it_is(AcceleratorType type)
    {
        DeviceCheck check = DeviceCheck.Run(TestDevices.Of(type));

        Assert.That((check.Variant, check.Refused.Count), Is.EqualTo((IntegerVariant.Plain, 0)));
    }

    [Test]
    public void Wrong_variants_are_refused_by_name_and_the_next_is_taken()
    {
        DeviceCheck check = DeviceCheck.Run(TestDevices.Of(AcceleratorType.CPU), [s_wrapping, s_signed, IntegerVariant.Plain]);

        Assert.That(check.Variant, Is.EqualTo(IntegerVariant.Plain));
        Assert.That(check.Refused.Select(r => r.Variant), Is.EqualTo(new[] { "wrapping", "signed" }));
        Assert.That(check.Refused, Has.All.Property(nameof(RefusedVariant.Reason)).Contains("the definition gives"));
    }

    [Test]
    public void An_instruction_that_the_device_does_not_have_is_refused()
    {
        DeviceCheck check = DeviceCheck.Run(TestDevices.Of(AcceleratorType.OpenCL), [IntegerVariant.Dp4a, IntegerVariant.Plain]);

        Assert.That((check.Variant, check.Refused.Single().Variant), Is.EqualTo((IntegerVariant.Plain, "dp4a")));
    }

    [Test]
    public void A_device_on_which_nothing_is_right_is_not_used()
    {
        IlgpuDevice device = TestDevices.Of(AcceleratorType.CPU);

        IlgpuException error = Assert.Throws<IlgpuException>(() => DeviceCheck.Run(device, [s_signed]))!;
        Assert.That(error.Message, Does.Contain(device.ToString()).And.Contain("signed: largest sums"));
    }

    /// <summary>Pairs of products that wrap around in 16 bits.</summary>
    private readonly struct WrappingProducts : IByteProducts
    {
        public static int Add(uint a, uint b, int sum) => sum + (short)PlainProducts.Add(a & 0xFFFF, b, 0) + (short)PlainProducts.Add(a & 0xFFFF0000, b, 0);
    }

    /// <summary>Inputs taken for signed bytes.</summary>
    private readonly struct SignedProducts : IByteProducts
    {
        public static int Add(uint a, uint b, int sum)
        {
            for (int i = 0; i < 32; i += 8) sum += (sbyte)(a >> i) * (sbyte)(b >> i);
            return sum;
        }
    }
}
