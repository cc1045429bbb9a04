using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Tests.Training;

/// <summary>Clipping keeps the direction of all gradients together.</summary>
internal sealed class GradientClippingTests
{
    [TestCase(26.0, 3f, 4f, 12f)]
    [TestCase(13.0, 3f, 4f, 12f)]
    [TestCase(6.5, 1.5f, 2f, 6f)]
    public void The_joint_norm_is_limited(double limit, float a, float b, float c)
    {
        Variable first = new("first", new float[2]), second = new("second", new float[1]);
        (first.Gradient[0], first.Gradient[1], second.Gradient[0]) = (3, 4, 12);
        Assert.That(GradientClipping.ByNorm([first, second], limit), Is.EqualTo(13).Within(1e-12), "norm before");
        Assert.That(new[] { first.Gradient[0], first.Gradient[1], second.Gradient[0] }, Is.EqualTo(new[] { a, b, c }).Within(1e-6f));
    }
}
