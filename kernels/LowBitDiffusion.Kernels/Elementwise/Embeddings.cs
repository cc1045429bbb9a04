using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Sines and cosines of a timestep, as diffusers computes them: frequencies and angles rounded to single precision.</summary>
public static unsafe class Embeddings
{
    /// <summary>
    /// <c>freq_i = exp(−ln(10000)·i/(features/2 − shift))</c>; a row is the sines of <c>t·freq_i</c> and then the cosines, or the other way round (Vaswani et
    /// al. 2017).
    /// </summary>
    /// <param name="timesteps">One per row.</param>
    /// <param name="count">Rows.</param>
    /// <param name="features">Elements of a row, even.</param>
    /// <param name="cosineFirst">Cosines before sines.</param>
    /// <param name="shift">Subtracted from half the features.</param>
    /// <param name="output">Rows.</param>
    public static void Sinusoidal(float* timesteps, int count, int features, bool cosineFirst, float shift, RowView output)
    {
        int half = features / 2;
        for (int i = 0; i < half; i++)
        {
            // Rounded to float after each operation, as the reference does; exp and the angle functions are correctly rounded (but for rare ties) by way of double.
            float exponent = (float)-Math.Log(10000) * i / (half - shift);
            float frequency = (float)Math.Exp(exponent);
            for (int row = 0; row < count; row++) Write(output.Row(row), i, half, timesteps[row] * frequency, cosineFirst);
        }
    }

    /// <summary>Sines, then cosines, of <c>ln(t)·weight_i·2π</c> (Gaussian Fourier features, Tancik et al. 2020).</summary>
    /// <param name="timesteps">One positive number per row.</param>
    /// <param name="count">Rows.</param>
    /// <param name="weights">Frequencies.</param>
    /// <param name="frequencies">How many: half the elements of a row.</param>
    /// <param name="output">Rows.</param>
    public static void Fourier(float* timesteps, int count, float* weights, int frequencies, RowView output)
    {
        for (int row = 0; row < count; row++)
        {
            float logarithm = (float)Math.Log(timesteps[row]);
            for (int i = 0; i < frequencies; i++) Write(output.Row(row), i, frequencies, logarithm * weights[i] * 2 * (float)Math.PI, false);
        }
    }

    private static void Write(float* row, int i, int half, float angle, bool cosineFirst)
    {
        (double sine, double cosine) = Math.SinCos(angle);
        row[i] = (float)(cosineFirst ? cosine : sine);
        row[half + i] = (float)(cosineFirst ? sine : cosine);
    }
}
