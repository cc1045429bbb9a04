using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Correction;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Quantizer.Tests.Correction;

/// <summary>Errors of a known kind are found, and taken out.</summary>
[TestFixture]
internal sealed class CorrectionStatisticsTests
{
    private const int Images = 12, Channels = 3, Plane = 400;

    private static IEnumerable<TestCaseData> Errors()
    {
        yield return new TestCaseData(0.0, new double[] { 0, 0, 0 }, 0.0, 0).SetArgDisplayNames("none");
        yield return new TestCaseData(0.125, new[] { 0.02, -0.3, 0.004 }, 0.0, 0).SetArgDisplayNames("slope and bias");
        yield return new TestCaseData(0.03, new[] { 0.02, -0.3, 0.004 }, 0.0, Channels).SetArgDisplayNames("with a predicted variance");
        yield return new TestCaseData(0.08, new[] { -0.01, 0.05, 0 }, 0.2, 0).SetArgDisplayNames("with noise");
    }

    [TestCaseSource(nameof(Errors))]
    public void AKnownErrorIsRecovered(double slope, double[] bias, double noise, int variance)
    {
        (float[] expected, float[] actual) = Predictions(slope, bias, noise, variance);
        CorrectionStatistics statistics = new(Channels);
        int stride = (Channels + variance) * Plane, half = Images / 2 * stride;
        statistics.Add(expected.AsSpan(0, half), actual.AsSpan(0, half), Images / 2, Channels * Plane);
        statistics.Add(expected.AsSpan(half), actual.AsSpan(half), Images / 2, Channels * Plane);
        (double fitted, double[] biases, double deviation) = statistics.Fit();

        // Without noise only the rounding to float is left; with it the fit's own deviation, noise/√values, four times.
        double tolerance = noise == 0 ? 1e-6 : 4 * noise / Math.Sqrt(Images * Plane);
        Assert.That(fitted, Is.EqualTo(slope).Within(tolerance), "slope");
        Assert.That(biases, Is.EqualTo(bias).Within(tolerance), "bias");
        Assert.That(deviation, Is.EqualTo(noise / (1 + slope)).Within(tolerance), "deviation of what is left");

        float[] corrected = [.. actual];
        new PredictionCorrection([0], [fitted], biases, [deviation], Channels, guidanceScale: 1).Apply(0, corrected, Images, Channels * Plane);
        double left = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (i % stride >= Channels * Plane) Assert.That(corrected[i], Is.EqualTo(actual[i]), "a predicted variance stays");
            else left += Math.Pow(corrected[i] - (double)expected[i], 2);
        }

        Assert.That(Math.Sqrt(left / (Images * Channels * Plane)), Is.EqualTo(deviation).Within(1e-6), "and that is what is left");
    }

    [Test]
    public void ANegativeSlopeCountsAsZero()
    {
        (float[] expected, float[] actual) = Predictions(-0.2, [0.1, 0.2, 0.3], 0, 0);
        CorrectionStatistics statistics = new(Channels);
        statistics.Add(expected, actual, Images, Channels * Plane);
        (double slope, double[] bias, double deviation) = statistics.Fit();
        Assert.That(slope, Is.Zero);
        Assert.That(bias, Is.EqualTo(Enumerable.Range(0, Channels).Select(c => Mean(actual, c) - Mean(expected, c))).Within(1e-6), "the mean error");
        Assert.That(deviation, Is.EqualTo(0.2).Within(0.01), "the correlated part counts as noise");
    }

    private static double Mean(float[] values, int channel) => values.Where((_, i) => i / Plane % Channels == channel).Average(value => (double)value);

    private static (float[] Expected, float[] Actual) Predictions(double slope, double[] bias, double noise, int variance)
    {
        int stride = (Channels + variance) * Plane;
        float[] expected = new float[Images * stride], actual = new float[expected.Length], random = new float[expected.Length];
        TorchCpuGenerator generator = new(3);
        generator.FillNormal(expected);
        generator.FillNormal(random);
        for (int i = 0; i < expected.Length; i++)
        {
            int channel = i % stride / Plane;
            // Channels have means of their own, which must not be taken for a slope.
            if (channel < Channels) expected[i] += channel;
            actual[i] = channel < Channels ? (float)((1 + slope) * expected[i] + bias[channel] + noise * random[i]) : random[i];
        }

        return (expected, actual);
    }
}
