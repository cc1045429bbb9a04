using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

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
        // Eight lanes on every machine, emulated where need be, so that the sums have one order everywhere.
        ReadOnlySpan<Vector256<float>> expected = MemoryMarshal.Cast<float, Vector256<float>>(reference), found = MemoryMarshal.Cast<float, Vector256<float>>(actual);
        Vector256<double> signalLow = default, signalHigh = default, noiseLow = default, noiseHigh = default;
        for (int i = 0; i < expected.Length; i++)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(expected[i]);
            (Vector256<double> foundLow, Vector256<double> foundHigh) = Vector256.Widen(found[i]);
            (signalLow, signalHigh) = (signalLow + low * low, signalHigh + high * high);
            (low, high) = (low - foundLow, high - foundHigh);
            (noiseLow, noiseHigh) = (noiseLow + low * low, noiseHigh + high * high);
        }

        double signal = Vector256.Sum(signalLow + signalHigh), noise = Vector256.Sum(noiseLow + noiseHigh);
        for (int i = expected.Length * Vector256<float>.Count; i < reference.Length; i++)
        {
            double x = reference[i], error = x - actual[i];
            signal += x * x;
            noise += error * error;
        }

        (Signal, Noise, Count) = (Signal + signal, Noise + noise, Count + reference.Length);
        return this;
    }
}
