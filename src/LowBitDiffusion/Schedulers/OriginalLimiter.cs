namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Keeps a predicted clean sample inside the data's range: static clipping, or the dynamic thresholding of Saharia et al., "Imagen" (2022), section 2.3, which
/// takes each image's own
/// quantile <c>s</c> of |x₀|, limited to [1, sample_max_value], and returns <c>clamp(x₀, −s, s) / s</c>. Thresholding wins over clipping.
/// </summary>
internal sealed class OriginalLimiter
{
    private readonly bool _clip;
    private readonly bool _threshold;
    private readonly float _range;
    private readonly double _ratio;
    private readonly float _maximum;
    private readonly int _batch;
    private readonly float[] _magnitudes;

    /// <summary>Reads the limits of a configuration.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="run">The run, whose images are thresholded one by one.</param>
    /// <param name="clipByDefault">The scheduler's default of <c>clip_sample</c>, null for one that does not know the key.</param>
    /// <param name="knowsThresholding">Whether the scheduler knows <c>thresholding</c>.</param>
    public OriginalLimiter(SchedulerConfig config, SamplingRun run, bool? clipByDefault, bool knowsThresholding = true)
    {
        _clip = clipByDefault is { } clip && config.Flag("clip_sample", clip);
        _threshold = knowsThresholding && config.Flag("thresholding", false);
        _range = (float)config.Number("clip_sample_range", 1);
        _ratio = config.Number("dynamic_thresholding_ratio", 0.995);
        _maximum = (float)config.Number("sample_max_value", 1);
        if (_range < 0) throw config.Error("clip_sample_range", $"expected 0 or more, found {_range}");
        if (_ratio is < 0 or > 1) throw config.Error("dynamic_thresholding_ratio", $"expected 0 to 1, found {_ratio}");
        if (_maximum <= 0) throw config.Error("sample_max_value", $"expected more than 0, found {_maximum}");
        _batch = run.Batch;
        _magnitudes = _threshold ? new float[run.SampleLength / run.Batch] : [];
    }

    /// <summary>Whether <see cref="Apply"/> can change anything.</summary>
    public bool IsActive => _clip || _threshold;

    /// <summary>Limits a batch in place.</summary>
    public void Apply(Span<float> original)
    {
        if (_threshold)
        {
            int length = _magnitudes.Length;
            for (int i = 0; i < _batch; i++) Threshold(original.Slice(i * length, length));
        }
        else if (_clip)
        {
            foreach (ref float value in original) value = Math.Clamp(value, -_range, _range);
        }
    }

    private void Threshold(Span<float> image)
    {
        for (int i = 0; i < image.Length; i++) _magnitudes[i] = Math.Abs(image[i]);
        Array.Sort(_magnitudes);
        double rank = _ratio * (_magnitudes.Length - 1);
        int below = (int)rank;
        float low = _magnitudes[below];
        float high = _magnitudes[Math.Min(below + 1, _magnitudes.Length - 1)];
        float limit = Math.Min(Math.Max(low + (float)(rank - below) * (high - low), 1), _maximum);
        foreach (ref float value in image) value = Math.Clamp(value, -limit, limit) / limit;
    }
}
