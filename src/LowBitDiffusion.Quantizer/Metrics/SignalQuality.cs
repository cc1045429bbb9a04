namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>Sums of squares of a signal and of its error, collected piece by piece: signal-to-quantization-noise ratio and mean squared error.</summary>
public sealed class SignalQuality
{
    /// <summary>Sum of the reference's squares.</summary>
    public double Signal { get; private set; }

    /// <summary>Sum of the error's squares.</summary>
    public double Noise { get; private set; }

    /// <summary>How many values were compared.</summary>
    public long Count { get; private set; }

    /// <summary>Mean squared error; 0 if nothing was compared.</summary>
    public double MeanSquaredError => Count == 0 ? 0 : Noise / Count;

    /// <summary><c>10·log₁₀(Σ x² / Σ (x − xhat)²)</c> in decibels; infinite without error.</summary>
    public double Sqnr => Noise == 0 ? double.PositiveInfinity : 10 * Math.Log10(Signal / Noise);

    /// <summary><c>10·log₁₀(range² / MSE)</c> in decibels; infinite without error.</summary>
    /// <param name="dataRange">Largest minus smallest value a signal can have: 2 for pictures in [−1, 1].</param>
    public double Psnr(double dataRange) => Noise == 0 ? double.PositiveInfinity : 10 * Math.Log10(dataRange * dataRange / MeanSquaredError);

    /// <summary>Compares a piece of two signals.</summary>
    /// <exception cref="ArgumentException">Their lengths differ.</exception>
    public SignalQuality Add(ReadOnlySpan<float> reference, ReadOnlySpan<float> actual)
    {
        if (reference.Length != actual.Length) throw new ArgumentException($"signals of {reference.Length} and {actual.Length} values cannot be compared");
        double signal = 0, noise = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double x = reference[i], error = x - actual[i];
            signal += x * x;
            noise += error * error;
        }

        (Signal, Noise, Count) = (Signal + signal, Noise + noise, Count + reference.Length);
        return this;
    }
}
