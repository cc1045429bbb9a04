namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>
/// Eigenvalues and eigenvectors of a symmetric matrix by cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 8.5): slower than
/// tridiagonalization but short, and accurate to the last bits also for small eigenvalues. 128 × 128 takes a fraction of a second.
/// </summary>
internal sealed class SymmetricEigen
{
    private const int MaxSweeps = 60;

    private readonly int _n;

    /// <summary>Decomposes <paramref name="matrix"/> = V·diag(values)·Vᵀ.</summary>
    public SymmetricEigen(ReadOnlySpan<double> matrix, int n)
    {
        _n = n;
        double[] a = matrix.ToArray();
        // Rows of Vectors are eigenvectors: a rotation then works on two contiguous rows.
        Vectors = new double[n * n];
        for (int i = 0; i < n; i++) Vectors[i * n + i] = 1;
        double total = 0;
        foreach (double x in a) total += x * x;
        for (int sweep = 0; sweep < MaxSweeps && OffDiagonal(a) > 1e-30 * total; sweep++)
        {
            for (int p = 0; p < n - 1; p++)
            {
                for (int q = p + 1; q < n; q++) Rotate(a, p, q);
            }
        }

        Values = new double[n];
        for (int i = 0; i < n; i++) Values[i] = a[i * n + i];
    }

    /// <summary>Eigenvalues in no particular order.</summary>
    public double[] Values { get; }

    /// <summary>Eigenvectors, one a row.</summary>
    public double[] Vectors { get; }

    /// <summary>V·diag(√values)·Vᵀ; eigenvalues below zero, which rounding makes of zeros, count as zero.</summary>
    public double[] SquareRoot()
    {
        double[] root = new double[_n * _n];
        for (int k = 0; k < _n; k++)
        {
            double value = Math.Sqrt(Math.Max(Values[k], 0));
            ReadOnlySpan<double> vector = Vectors.AsSpan(k * _n, _n);
            for (int i = 0; i < _n; i++)
            {
                double factor = value * vector[i];
                for (int j = 0; j < _n; j++) root[i * _n + j] += factor * vector[j];
            }
        }

        return root;
    }

    private double OffDiagonal(double[] a)
    {
        double sum = 0;
        for (int i = 0; i < _n; i++)
        {
            for (int j = 0; j < i; j++) sum += 2 * a[i * _n + j] * a[i * _n + j];
        }

        return sum;
    }

    // Chooses the angle that makes a[p, q] zero: A ← JᵀAJ, V ← VJ.
    private void Rotate(double[] a, int p, int q)
    {
        double apq = a[p * _n + q];
        if (apq == 0) return;
        double theta = (a[q * _n + q] - a[p * _n + p]) / (2 * apq);
        double t = Math.CopySign(1, theta) / (Math.Abs(theta) + Math.Sqrt(theta * theta + 1));
        double c = 1 / Math.Sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < _n; k++)
        {
            (double x, double y) = (a[k * _n + p], a[k * _n + q]);
            (a[k * _n + p], a[k * _n + q]) = (c * x - s * y, s * x + c * y);
        }

        Turn(a, p, q, c, s);
        Turn(Vectors, p, q, c, s);
    }

    private void Turn(double[] rows, int p, int q, double c, double s)
    {
        Span<double> first = rows.AsSpan(p * _n, _n), second = rows.AsSpan(q * _n, _n);
        for (int k = 0; k < _n; k++)
        {
            (double x, double y) = (first[k], second[k]);
            (first[k], second[k]) = (c * x - s * y, s * x + c * y);
        }
    }
}
