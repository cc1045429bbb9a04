using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Tests.Numerics;

/// <summary>The elementary functions keep the errors that their documentation states, over the whole range.</summary>
public class FunctionsTests
{
    private static IEnumerable<float> Everywhere
    {
        get
        {
            // Every 9973rd float: all exponents, both signs, subnormal numbers included.
            for (long bits = 0; bits < 0x7F800000; bits += 9973)
            {
                float x = BitConverter.Int32BitsToSingle((int)bits);
                yield return x;
                yield return -x;
            }

            // Densely where the functions bend.
            for (float x = -110; x < 110; x += 0.0007f) yield return x;
        }
    }

    private static readonly object[] s_functions =
    [
        new object[] { "exp", (Func<float, float>)Functions.Exp, (Func<double, double>)Math.Exp, 2.0, float.MinValue },
        new object[] { "sigmoid", (Func<float, float>)Functions.Sigmoid, (Func<double, double>)(x => 1 / (1 + Math.Exp(-x))), 3.0, -88f },
    ];

    private static readonly object[] s_distributions =
    [
        new object[] { "Phi", (Func<float, float>)Functions.Phi, (Func<double, double>)(x => 0.5 * (1 + Erf(x / Math.Sqrt(2)))), -5.65f },
        new object[] { "PhiTanh", (Func<float, float>)Functions.PhiTanh, (Func<double, double>)(x => 0.5 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)))), -5.11f },
    ];

    [TestCaseSource(nameof(s_distributions))]
    public void Distributions_are_within_the_stated_error_never_negative_and_reach_zero(string name, Func<float, float> function, Func<double, double> exact, float zeroFrom)
    {
        float at = Everywhere.MaxBy(x => Math.Abs(function(x) - exact(x)));
        Assert.That(function(at), Is.EqualTo(exact(at)).Within(2e-7), $"{name}({at:R})");
        Assert.That(Everywhere.Min(function), Is.Zero, $"{name}, least value");
        Assert.That(Everywhere.Where(x => x <= zeroFrom).Max(function), Is.Zero, $"{name}, largest value from {zeroFrom} down");
    }

    [TestCaseSource(nameof(s_functions))]
    public void ErrorIsWithinTheStatedUnitsInTheLastPlace(string name, Func<float, float> function, Func<double, double> exact, double limit, float from)
    {
        double worst = 0;
        float at = 0;
        foreach (float x in Everywhere.Where(x => x >= from))
        {
            double expected = exact(x), found = function(x);
            double error = Math.Abs(expected) > float.MaxValue ? (float.IsInfinity((float)expected) == double.IsInfinity(found) ? 0 : double.PositiveInfinity) : Math.Abs(found - expected) / Ulp(expected);
            if (error <= worst) continue;
            worst = error;
            at = x;
        }

        TestContext.Out.WriteLine($"{name}: {worst:F2} ulp at {at:R}");
        Assert.That(worst, Is.LessThanOrEqualTo(limit), $"{name}({at:R}) = {function(at):R}, exactly {exact(at):R}");
    }

    [TestCase(float.PositiveInfinity, float.PositiveInfinity, 1, 1)]
    [TestCase(float.NegativeInfinity, 0, 0, 0)]
    [TestCase(float.NaN, float.NaN, float.NaN, float.NaN)]
    [TestCase(0f, 1, 0.5f, 0.5f)]
    public void SpecialValues(float x, float exp, float sigmoid, float phi)
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Functions.Exp(x), Is.EqualTo(exp), "exp");
            Assert.That(Functions.Sigmoid(x), Is.EqualTo(sigmoid), "sigmoid");
            Assert.That(Functions.Phi(x), Is.EqualTo(phi), "phi");
            Assert.That(Functions.PhiTanh(x), Is.EqualTo(phi), "phi by tanh");
        }
    }

    /// <summary>Error function in double precision: its series, or the continued fraction of its complement.</summary>
    internal static double Erf(double x)
    {
        double magnitude = Math.Abs(x);
        if (magnitude > 6) return Math.Sign(x);
        if (magnitude < 2.5)
        {
            double term = x, sum = x;
            for (int n = 1; n < 80; n++)
            {
                term *= -x * x / n;
                sum += term / (2 * n + 1);
            }

            return 2 / Math.Sqrt(Math.PI) * sum;
        }

        double fraction = 0;
        for (int n = 80; n > 0; n--) fraction = n / 2.0 / (magnitude + fraction);
        return Math.Sign(x) * (1 - Math.Exp(-x * x) / Math.Sqrt(Math.PI) / (magnitude + fraction));
    }

    /// <summary>Distance of neighbouring floats at a number, that of the smallest normal numbers below them.</summary>
    private static double Ulp(double x) => Math.ScaleB(1, Math.Max(-126, Math.ILogB(x == 0 ? double.Epsilon : x)) - 23);
}
