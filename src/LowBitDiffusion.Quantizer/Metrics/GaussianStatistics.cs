using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>Mean and covariance of feature vectors.</summary>
/// <param name="Mean">Mean, <c>[n]</c>.</param>
/// <param name="Covariance">Covariance, <c>[n, n]</c>, symmetric.</param>
public sealed record GaussianStatistics(double[] Mean, double[] Covariance)
{
    /// <summary>Reads <c>feature_mean</c> and <c>feature_cov</c>.</summary>
    /// <exception cref="ModelFormatException">A tensor is missing, of another shape or not finite.</exception>
    public static GaussianStatistics Read(ITensorSource source)
    {
        long features = source.Find("feature_mean").Elements;
        if (features is < 1 or > 1 << 14) throw new ModelFormatException(source.Origin, "feature_mean", $"expected 1 to {1 << 14} features, found {features}");
        int n = (int)features;
        return new GaussianStatistics(Doubles("feature_mean", new TensorShape(n)), Doubles("feature_cov", new TensorShape(n, n)));

        double[] Doubles(string name, TensorShape shape) =>
            Array.ConvertAll(source.ReadSingles(name, shape), x => float.IsFinite(x) ? (double)x : throw new ModelFormatException(source.Origin, name, $"expected finite values, found {x}"));
    }
}

/// <summary>Collects mean and covariance vector by vector (Welford 1962), in memory that does not grow. Not thread-safe.</summary>
/// <param name="features">Length of a vector.</param>
public sealed class FeatureStatistics(int features)
{
    private readonly double[] _mean = new double[features];
    private readonly double[] _products = new double[features * features];
    private readonly double[] _before = new double[features];

    /// <summary>Vectors seen.</summary>
    public long Count { get; private set; }

    /// <summary>Takes note of one vector.</summary>
    /// <exception cref="ArgumentException">Its length differs.</exception>
    public void Add(ReadOnlySpan<float> vector)
    {
        if (vector.Length != features) throw new ArgumentException($"expected {features} features, found {vector.Length}");
        Count++;
        for (int i = 0; i < features; i++)
        {
            _before[i] = vector[i] - _mean[i];
            _mean[i] += _before[i] / Count;
        }

        for (int i = 0; i < features; i++)
        {
            double after = vector[i] - _mean[i];
            for (int j = 0; j < features; j++) _products[i * features + j] += after * _before[j];
        }
    }

    /// <summary>Mean and unbiased covariance (divided by n − 1) of what was seen.</summary>
    /// <exception cref="InvalidOperationException">Fewer than two vectors were seen.</exception>
    public GaussianStatistics ToGaussian()
    {
        if (Count < 2) throw new InvalidOperationException($"a covariance needs at least two vectors, found {Count}");
        double[] covariance = new double[_products.Length];
        for (int i = 0; i < features; i++)
        {
            for (int j = 0; j < features; j++) covariance[i * features + j] = (_products[i * features + j] + _products[j * features + i]) / (2 * (Count - 1));
        }

        return new GaussianStatistics([.. _mean], covariance);
    }
}
