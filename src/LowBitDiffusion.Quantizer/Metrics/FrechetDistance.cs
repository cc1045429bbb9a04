namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>Distance between two sets of feature vectors taken for Gaussians (Dowson and Landau 1982; with Inception features this is FID, Heusel et al. 2017).</summary>
public static class FrechetDistance
{
    /// <summary>
    /// <c>|μ₁ − μ₂|² + tr(C₁) + tr(C₂) − 2·tr((C₁C₂)^½)</c>. The last trace is that of the symmetric <c>(C₁^½·C₂·C₁^½)^½</c>, which has the same
    /// eigenvalues and never leaves the real numbers.
    /// </summary>
    /// <exception cref="ArgumentException">The dimensions differ.</exception>
    public static double Between(GaussianStatistics first, GaussianStatistics second)
    {
        int n = first.Mean.Length;
        if (second.Mean.Length != n || first.Covariance.Length != n * n || second.Covariance.Length != n * n)
            throw new ArgumentException($"statistics of {n} and {second.Mean.Length} features cannot be compared");
        double distance = 0;
        for (int i = 0; i < n; i++)
        {
            double difference = first.Mean[i] - second.Mean[i];
            distance += difference * difference + first.Covariance[i * n + i] + second.Covariance[i * n + i];
        }

        double[] root = new SymmetricEigen(first.Covariance, n).SquareRoot();
        double[] product = Multiply(Multiply(root, second.Covariance, n), root, n);
        foreach (double value in new SymmetricEigen(product, n).Values) distance -= 2 * Math.Sqrt(Math.Max(value, 0));
        return Math.Max(distance, 0);
    }

    private static double[] Multiply(double[] a, double[] b, int n)
    {
        double[] product = new double[n * n];
        for (int i = 0; i < n; i++)
        {
            for (int k = 0; k < n; k++)
            {
                double factor = a[i * n + k];
                for (int j = 0; j < n; j++) product[i * n + j] += factor * b[k * n + j];
            }
        }

        return product;
    }
}
