namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>How much a picture resembles another.</summary>
public static class ImageQuality
{
    /// <summary>Rows and columns of the window of <see cref="Ssim"/>.</summary>
    public const int SsimWindow = 11;

    private const double SsimSigma = 1.5;

    /// <summary>Peak signal-to-noise ratio in decibels, over all channels and pixels; infinite for equal pictures.</summary>
    /// <param name="reference">First picture.</param>
    /// <param name="actual">Second picture.</param>
    /// <param name="dataRange">Largest minus smallest value a pixel can have: 2 for [−1, 1].</param>
    /// <exception cref="ArgumentException">The sizes differ.</exception>
    public static double Psnr(ReadOnlySpan<float> reference, ReadOnlySpan<float> actual, double dataRange) => new SignalQuality().Add(reference, actual).Psnr(dataRange);

    /// <summary>
    /// Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004) with the paper's parameters: an 11×11 Gaussian window of σ = 1.5 with weights that sum to one,
    /// K₁ = 0.01, K₂ = 0.03, at every place where the window lies wholly within the picture; the mean over places and channels.
    /// <code>
    /// SSIM = (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)),   C₁ = (K₁ L)², C₂ = (K₂ L)²
    /// </code>
    /// </summary>
    /// <param name="reference">First picture, <c>[channels, height, width]</c>.</param>
    /// <param name="actual">Second picture, of the same shape.</param>
    /// <param name="channels">Channels.</param>
    /// <param name="height">Rows, at least 11.</param>
    /// <param name="width">Columns, at least 11.</param>
    /// <param name="dataRange">L: largest minus smallest value a pixel can have: 2 for [−1, 1].</param>
    /// <exception cref="ArgumentException">The sizes differ or are smaller than the window.</exception>
    public static double Ssim(ReadOnlySpan<float> reference, ReadOnlySpan<float> actual, int channels, int height, int width, double dataRange)
    {
        int pixels = height * width;
        if (height < SsimWindow || width < SsimWindow) throw new ArgumentException($"SSIM needs at least {SsimWindow}x{SsimWindow} pixels, found {height}x{width}");
        if (reference.Length != channels * pixels || actual.Length != reference.Length) throw new ArgumentException($"pictures of {reference.Length} and {actual.Length} values are not {channels}x{height}x{width}");
        double c1 = Math.Pow(0.01 * dataRange, 2), c2 = Math.Pow(0.03 * dataRange, 2), sum = 0;
        int places = 0;
        for (int channel = 0; channel < channels; channel++)
        {
            ReadOnlySpan<float> x = reference.Slice(channel * pixels, pixels), y = actual.Slice(channel * pixels, pixels);
            double[] meanX = Window(x, default, height, width), meanY = Window(y, default, height, width);
            double[] squareX = Window(x, x, height, width), squareY = Window(y, y, height, width), product = Window(x, y, height, width);
            for (int i = 0; i < meanX.Length; i++)
            {
                double varianceX = squareX[i] - meanX[i] * meanX[i], varianceY = squareY[i] - meanY[i] * meanY[i], covariance = product[i] - meanX[i] * meanY[i];
                sum += (2 * meanX[i] * meanY[i] + c1) * (2 * covariance + c2) / ((meanX[i] * meanX[i] + meanY[i] * meanY[i] + c1) * (varianceX + varianceY + c2));
            }

            places += meanX.Length;
        }

        return sum / places;
    }

    // The Gaussian mean of x, or of x·y, at every place of the window: first along rows, then along columns.
    private static double[] Window(ReadOnlySpan<float> x, ReadOnlySpan<float> y, int height, int width)
    {
        Span<double> weights = stackalloc double[SsimWindow];
        double total = 0;
        for (int i = 0; i < SsimWindow; i++) total += weights[i] = Math.Exp(-Math.Pow(i - SsimWindow / 2, 2) / (2 * SsimSigma * SsimSigma));
        int columns = width - SsimWindow + 1, rows = height - SsimWindow + 1;
        double[] horizontal = new double[height * columns], result = new double[rows * columns];
        for (int r = 0; r < height; r++)
        {
            for (int c = 0; c < columns; c++)
            {
                for (int i = 0, at = r * width + c; i < SsimWindow; i++, at++) horizontal[r * columns + c] += weights[i] / total * x[at] * (y.IsEmpty ? 1 : y[at]);
            }
        }

        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < columns; c++)
            {
                for (int i = 0; i < SsimWindow; i++) result[r * columns + c] += weights[i] / total * horizontal[(r + i) * columns + c];
            }
        }

        return result;
    }
}
