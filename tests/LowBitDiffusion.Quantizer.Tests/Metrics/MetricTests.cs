using LowBitDiffusion.Quantizer.Metrics;

namespace LowBitDiffusion.Quantizer.Tests.Metrics;

/// <summary>Every figure of merit against its definition.</summary>
[TestFixture]
internal sealed class MetricTests
{
    [Test]
    public void PsnrIsTheRangeOverTheError()
    {
        Assert.That(ImageQuality.Psnr([0, 0, 1, 1], [0.1f, -0.1f, 0.9f, 1.1f], 2), Is.EqualTo(10 * Math.Log10(4 / 0.01)).Within(1e-5));
        Assert.That(ImageQuality.Psnr([1, 2], [1, 2], 2), Is.EqualTo(double.PositiveInfinity), "equal pictures");
    }

    [Test]
    public void SqnrIsTheSignalOverTheErrorOfAllPieces()
    {
        SignalQuality quality = new SignalQuality().Add([3, 0], [3, 1]).Add([4], [4]);
        Assert.That(quality.Sqnr, Is.EqualTo(10 * Math.Log10(25)).Within(1e-12));
        Assert.That(quality.MeanSquaredError, Is.EqualTo(1.0 / 3).Within(1e-12));
    }

    [Test]
    public void SsimOfEqualPicturesIsOne() => Assert.That(ImageQuality.Ssim(Noise(1, 2 * 16 * 14), Noise(1, 2 * 16 * 14), 2, 16, 14, 2), Is.EqualTo(1).Within(1e-12));

    [Test]
    public void SsimIsTheDefinitionSummedOverEveryWindow()
    {
        float[] x = Noise(1, 2 * 13 * 15), y = [.. x.Zip(Noise(2, x.Length), (a, b) => 0.7f * a + 0.3f * b)];
        Assert.That(ImageQuality.Ssim(x, y, 2, 13, 15, 2), Is.EqualTo(DefinitionOfSsim(x, y, 2, 13, 15, 2)).Within(1e-12));
    }

    [Test]
    public void SsimComparesConstantPicturesByTheirMeans()
    {
        float[] x = new float[121], y = new float[121];
        Array.Fill(x, 0.5f);
        Array.Fill(y, 0.25f);
        double c1 = 0.0001;
        Assert.That(ImageQuality.Ssim(x, y, 1, 11, 11, 1), Is.EqualTo((2 * 0.125 + c1) / (0.25 + 0.0625 + c1)).Within(1e-9));
    }

    [TestCase(10, 11)]
    [TestCase(11, 10)]
    public void SsimNeedsAWholeWindow(int height, int width) =>
        Assert.That(() => ImageQuality.Ssim(new float[height * width], new float[height * width], 1, height, width, 2), Throws.ArgumentException);

    [Test]
    public void StatisticsAreMeanAndUnbiasedCovariance()
    {
        float[] vectors = Noise(7, 50 * 3);
        // A large offset shows a sum that loses digits.
        for (int i = 0; i < vectors.Length; i++) vectors[i] += 4096;
        FeatureStatistics statistics = new(3);
        for (int i = 0; i < 50; i++) statistics.Add(vectors.AsSpan(3 * i, 3));
        GaussianStatistics result = statistics.ToGaussian();
        for (int a = 0; a < 3; a++)
        {
            double mean = Enumerable.Range(0, 50).Average(i => (double)vectors[3 * i + a]);
            Assert.That(result.Mean[a], Is.EqualTo(mean).Within(1e-9), $"mean {a}");
            for (int b = 0; b < 3; b++)
            {
                double other = Enumerable.Range(0, 50).Average(i => (double)vectors[3 * i + b]);
                double expected = Enumerable.Range(0, 50).Sum(i => (vectors[3 * i + a] - mean) * (vectors[3 * i + b] - other)) / 49;
                Assert.That(result.Covariance[3 * a + b], Is.EqualTo(expected).Within(1e-9), $"covariance {a}, {b}");
            }
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(40)]
    public void EigenvectorsDiagonalizeAndTheRootSquares(int n)
    {
        double[] matrix = Covariance(n, n);
        SymmetricEigen eigen = new(matrix, n);
        double[] root = eigen.SquareRoot();
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double image = Enumerable.Range(0, n).Sum(k => matrix[i * n + k] * eigen.Vectors[j * n + k]);
                Assert.That(image, Is.EqualTo(eigen.Values[j] * eigen.Vectors[j * n + i]).Within(1e-10), $"A v = λ v, vector {j}, element {i}");
                Assert.That(Enumerable.Range(0, n).Sum(k => root[i * n + k] * root[k * n + j]), Is.EqualTo(matrix[i * n + j]).Within(1e-10), $"root squared {i}, {j}");
            }
        }
    }

    [Test]
    public void FrechetDistanceOfIndependentFeaturesIsTheirSum()
    {
        GaussianStatistics first = new([1, 2], [4, 0, 0, 9]), second = new([0, 4], [1, 0, 0, 16]);
        // (μ₁ − μ₂)² + (σ₁ − σ₂)² per feature.
        Assert.That(FrechetDistance.Between(first, second), Is.EqualTo(1 + 4 + 1 + 1).Within(1e-12));
    }

    [Test]
    public void FrechetDistanceOfRotatedCovariances()
    {
        // For 2 × 2 matrices tr((AB)^½) = √(tr(AB) + 2√det(AB)).
        double[] a = [3, 1, 1, 2], b = [1, -0.5, -0.5, 4];
        double trace = a[0] * b[0] + a[1] * b[2] + a[2] * b[1] + a[3] * b[3], determinant = (3 * 2 - 1) * (4 - 0.25);
        double expected = 3 + 2 + 1 + 4 - 2 * Math.Sqrt(trace + 2 * Math.Sqrt(determinant));
        Assert.That(FrechetDistance.Between(new([0, 0], a), new([0, 0], b)), Is.EqualTo(expected).Within(1e-12));
    }

    [Test]
    public void FrechetDistanceIsSymmetric()
    {
        GaussianStatistics first = new(new double[20], Covariance(20, 1)), second = new([.. Enumerable.Range(0, 20).Select(i => 0.1 * i)], Covariance(20, 2));
        Assert.That(FrechetDistance.Between(first, second), Is.EqualTo(FrechetDistance.Between(second, first)).Within(1e-9).And.GreaterThan(1));
    }

    private static double DefinitionOfSsim(float[] x, float[] y, int channels, int height, int width, double range)
    {
        double sum = 0;
        int places = 0;
        for (int plane = 0; plane < channels; plane++)
        {
            for (int top = 0; top + 11 <= height; top++)
            {
                for (int left = 0; left + 11 <= width; left++, places++)
                {
                    var window = (from i in Enumerable.Range(0, 11)
                                  from j in Enumerable.Range(0, 11)
                                  let at = (plane * height + top + i) * width + left + j
                                  select (W: Math.Exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / 4.5), X: (double)x[at], Y: (double)y[at])).ToArray();
                    double total = window.Sum(p => p.W), mx = window.Sum(p => p.W * p.X) / total, my = window.Sum(p => p.W * p.Y) / total;
                    double vx = window.Sum(p => p.W * (p.X - mx) * (p.X - mx)) / total, vy = window.Sum(p => p.W * (p.Y - my) * (p.Y - my)) / total;
                    double vxy = window.Sum(p => p.W * (p.X - mx) * (p.Y - my)) / total, c1 = Math.Pow(0.01 * range, 2), c2 = Math.Pow(0.03 * range, 2);
                    sum += (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2));
                }
            }
        }

        return sum / places;
    }

    private static float[] Noise(int seed, int count)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static double[] Covariance(int n, int seed)
    {
        FeatureStatistics statistics = new(n);
        float[] noise = Noise(seed, 3 * n * n);
        for (int i = 0; i < 3 * n; i++) statistics.Add(noise.AsSpan(i * n, n));
        return statistics.ToGaussian().Covariance;
    }
}
