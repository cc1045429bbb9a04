namespace LowBitDiffusion.Quantization;

/// <summary>
/// Correction of what a quantized network predicts (PTQD: He et al., NeurIPS 2023). The quantized prediction is taken for the float one with an error that is correlated with it, has a mean per
/// channel, and is otherwise noise:
/// <code>
/// e_q = (1 + k[t])·e + b[t, c] + n,   n of deviation σ[t]·(1 + k[t])        →        e ≈ (e_q − b[t, c]) / (1 + k[t]), with noise of deviation σ[t]
/// </code>
/// A sampler that adds noise of its own adds so much less. Entries belong to timestep values; the nearest is used. The prediction is the one that the sampler sees, after guidance, so the
/// correction holds for one guidance scale.
/// </summary>
public sealed class PredictionCorrection
{
    private readonly float[] _timesteps;
    private readonly double[] _slopes;
    private readonly double[] _biases;
    private readonly double[] _deviations;

    /// <summary>Creates a correction.</summary>
    /// <param name="timesteps">Where it was collected, strictly ascending; at least one.</param>
    /// <param name="slopes">k, at least 0, one per timestep.</param>
    /// <param name="biases">b, <c>[timesteps, channels]</c>.</param>
    /// <param name="deviations">σ, at least 0, one per timestep.</param>
    /// <param name="channels">Channels of a prediction, without those of a predicted variance.</param>
    /// <param name="guidanceScale">Guidance of the predictions it was collected on; 1 for none.</param>
    /// <exception cref="ArgumentException">The arrays do not fit each other or hold values outside their range; the message says which.</exception>
    public PredictionCorrection(float[] timesteps, double[] slopes, double[] biases, double[] deviations, int channels, float guidanceScale)
    {
        if (channels < 1) throw new ArgumentException($"expected at least one channel, found {channels}");
        if (!float.IsFinite(guidanceScale)) throw new ArgumentException($"expected a finite guidance scale, found {guidanceScale}");
        if (timesteps.Length == 0) throw new ArgumentException("expected at least one timestep, found none");
        for (int i = 0; i < timesteps.Length; i++)
        {
            if (!float.IsFinite(timesteps[i]) || (i > 0 && timesteps[i] <= timesteps[i - 1])) throw new ArgumentException($"timesteps must be finite and strictly ascending, found {timesteps[i]} at {i}");
        }

        Check("slopes", slopes, timesteps.Length, minimum: 0);
        Check("biases", biases, timesteps.Length * channels, double.MinValue);
        Check("deviations", deviations, timesteps.Length, minimum: 0);
        (_timesteps, _slopes, _biases, _deviations, Channels, GuidanceScale) = (timesteps, slopes, biases, deviations, channels, guidanceScale);
    }

    /// <summary>Where it was collected, ascending.</summary>
    public ReadOnlySpan<float> Timesteps => _timesteps;

    /// <summary>k, one per timestep.</summary>
    public ReadOnlySpan<double> Slopes => _slopes;

    /// <summary>b, <c>[timesteps, channels]</c>.</summary>
    public ReadOnlySpan<double> Biases => _biases;

    /// <summary>σ, one per timestep.</summary>
    public ReadOnlySpan<double> Deviations => _deviations;

    /// <summary>Channels of a prediction.</summary>
    public int Channels { get; }

    /// <summary>Guidance of the predictions it was collected on; 1 for none.</summary>
    public float GuidanceScale { get; }

    /// <summary>Deviation of the noise that a corrected prediction still has.</summary>
    public double DeviationAt(float timestep) => _deviations[TimestepTable.IndexOf(_timesteps, timestep)];

    /// <summary>Corrects a batch in place.</summary>
    /// <param name="timestep">Its timestep.</param>
    /// <param name="prediction"><c>[images, C, h, w]</c>, or <c>[images, 2C, h, w]</c> with a predicted variance, which is left as it is.</param>
    /// <param name="images">Images of the batch.</param>
    /// <param name="imageLength">Values of C channels of an image.</param>
    public void Apply(float timestep, Span<float> prediction, int images, int imageLength)
    {
        int entry = TimestepTable.IndexOf(_timesteps, timestep), plane = imageLength / Channels, stride = prediction.Length / images;
        float factor = (float)(1 / (1 + _slopes[entry]));
        for (int image = 0; image < images; image++)
        {
            for (int c = 0; c < Channels; c++)
            {
                float bias = (float)_biases[entry * Channels + c];
                foreach (ref float value in prediction.Slice(image * stride + c * plane, plane)) value = (value - bias) * factor;
            }
        }
    }

    private static void Check(string name, double[] values, int count, double minimum)
    {
        if (values.Length != count) throw new ArgumentException($"expected {count} {name}, found {values.Length}");
        int wrong = Array.FindIndex(values, value => !double.IsFinite(value) || value < minimum);
        if (wrong >= 0) throw new ArgumentException($"{name} must be finite{(minimum == 0 ? " and not negative" : "")}, found {values[wrong]} at {wrong}");
    }
}
