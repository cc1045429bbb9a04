using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Sines and cosines of a timestep, as diffusers computes them: frequencies and angles rounded to single precision.</summary>
public static unsafe class Embeddings
{
    /// <summary>
    /// <c>freq_i = exp(−ln(10000)·i/(features/2 − shift))</c>; a row is the sines of <c>t·freq_i</c> and then the cosines, or the other way round (Vaswani et al. 2017).
    /// </summary>
    /// <param name="timesteps">One per row.</param>
    /// <param name="count">Rows.</param>
    /// <param name="features">Elements of a row, even.</param>
    /// <param name="cosineFirst">Cosines before sines.</param>
    /// <param name="shift">Subtracted from half the features.</param>
    /// <param name="output">Rows.</param>
    public static void Sinusoidal(float* timesteps, int count, int features, bool cosineFirst, float shift, RowView output) => throw new NotImplementedException();

    /// <summary>Sines, then cosines, of <c>ln(t)·weight_i·2π</c> (Gaussian Fourier features, Tancik et al. 2020).</summary>
    /// <param name="timesteps">One positive number per row.</param>
    /// <param name="count">Rows.</param>
    /// <param name="weights">Frequencies.</param>
    /// <param name="frequencies">How many: half the elements of a row.</param>
    /// <param name="output">Rows.</param>
    public static void Fourier(float* timesteps, int count, float* weights, int frequencies, RowView output) => throw new NotImplementedException();
}
