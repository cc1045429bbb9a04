using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>A text encoder on texts, which take turns.</summary>
/// <param name="outputs">The outputs that two encoders are compared by.</param>
/// <param name="texts">Tokens of every text, all as many.</param>
/// <param name="items">Texts shown at once.</param>
public sealed class TokenSource(IReadOnlyList<string> outputs, IReadOnlyList<float[]> texts, int items) : ICalibrationSource
{
    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> InputShapes { get; } = new Dictionary<string, TensorShape> { ["input_ids"] = new(items, texts[0].Length) };

    /// <inheritdoc/>
    public int Items => items;

    /// <inheritdoc/>
    public IReadOnlyList<float> Timesteps => [0];

    /// <inheritdoc/>
    public int? Worthwhile => texts.Count;

    /// <inheritdoc/>
    public IReadOnlyList<ComparisonPoint> Points { get; } = [.. outputs.Select(output => new ComparisonPoint(output, 0, null))];

    /// <inheritdoc/>
    public void Pass(int first, NetworkCall run, ResultObserver? onResult = null, CancellationToken cancellationToken = default)
    {
        float[] ids = [.. Enumerable.Range(first, items).SelectMany(number => texts[number % texts.Count])];
        IReadOnlyDictionary<string, float[]> found = run(0, new Dictionary<string, float[]> { ["input_ids"] = ids });
        for (int point = 0; point < Points.Count; point++) onResult?.Invoke(point, found[Points[point].Output!]);
    }
}
