namespace LowBitDiffusion.Quantizer.Correction;

/// <summary>
/// Collects, piece by piece, how a quantized prediction differs from the float one at one timestep, and fits <c>e_q = (1 + k)·e + b[c] + n</c> by least squares: the slope from all channels
/// together, each about its own mean, then a bias per channel. A negative slope counts as 0, as PTQD has it: noise that is not correlated must not be amplified.
/// </summary>
/// <param name="channels">Channels of a prediction.</param>
public sealed class CorrectionStatistics(int channels)
{
    private readonly double[] _expected = new double[channels];
    private readonly double[] _error = new double[channels];
    private readonly double[] _expectedSquare = new double[channels];
    private readonly double[] _product = new double[channels];
    private readonly double[] _errorSquare = new double[channels];

    /// <summary>Values seen of each channel.</summary>
    public long Count { get; private set; }

    /// <summary>Mean square of the error without a correction.</summary>
    public double MeanSquaredError => Count == 0 ? 0 : _errorSquare.Sum() / (Count * channels);

    /// <summary>Takes note of predictions.</summary>
    /// <param name="expected">The float model's, <c>[images, C, h, w]</c>, or <c>[images, 2C, h, w]</c> with a predicted variance, which is left out.</param>
    /// <param name="actual">The quantized model's.</param>
    /// <param name="images">Images of the batch.</param>
    /// <param name="imageLength">Values of C channels of an image.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public void Add(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, int images, int imageLength)
    {
        if (expected.Length != actual.Length) throw new ArgumentException($"predictions of {expected.Length} and {actual.Length} values cannot be compared");
        int plane = imageLength / channels, stride = expected.Length / images;
        for (int image = 0; image < images; image++)
        {
            for (int c = 0; c < channels; c++)
            {
                int at = image * stride + c * plane;
                for (int i = at; i < at + plane; i++)
                {
                    double x = expected[i], error = actual[i] - x;
                    _expected[c] += x;
                    _error[c] += error;
                    _expectedSquare[c] += x * x;
                    _product[c] += x * error;
                    _errorSquare[c] += error * error;
                }
            }
        }

        Count += (long)images * plane;
    }

    /// <summary>The fit: k, b for each channel, and σ, the deviation of what is left after the correction.</summary>
    public (double Slope, double[] Bias, double Deviation) Fit()
    {
        double variance = 0, covariance = 0;
        for (int c = 0; c < channels; c++)
        {
            variance += _expectedSquare[c] - _expected[c] * _expected[c] / Count;
            covariance += _product[c] - _expected[c] * _error[c] / Count;
        }

        double slope = variance > 0 ? Math.Max(covariance / variance, 0) : 0, rest = 0;
        double[] bias = new double[channels];
        for (int c = 0; c < channels; c++)
        {
            bias[c] = (_error[c] - slope * _expected[c]) / Count;
            double square = _errorSquare[c] - 2 * slope * _product[c] + slope * slope * _expectedSquare[c];
            rest += Math.Max(square - Count * bias[c] * bias[c], 0);
        }

        return (slope, bias, Math.Sqrt(rest / (Count * channels)) / (1 + slope));
    }
}
