using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Metrics;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>The classifier that measures pictures, and the features of real ones.</summary>
/// <param name="Classifier">The classifier.</param>
/// <param name="RealStatistics">Mean and covariance of its features over real pictures.</param>
public sealed record Ruler(ConvClassifier Classifier, GaussianStatistics RealStatistics)
{
    /// <summary>The files that <see cref="Load"/> reads.</summary>
    internal static readonly IReadOnlyList<string> Files = ["config.json", "model.safetensors", "reference_statistics.safetensors"];

    /// <summary>Reads a classifier's folder with its <c>reference_statistics.safetensors</c>.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or does not fit the classifier.</exception>
    public static Ruler Load(string folder)
    {
        ConvClassifier classifier = ConvClassifier.Load(folder);
        using SafeTensorsFile file = SafeTensorsFile.Open(Path.Combine(folder, Files[2]));
        GaussianStatistics statistics = GaussianStatistics.Read(file);
        if (statistics.Mean.Length != classifier.Features) throw new ModelFormatException(file.Origin, "feature_mean", $"expected the classifier's {classifier.Features} features, found {statistics.Mean.Length}");
        return new Ruler(classifier, statistics);
    }

    /// <summary>Refuses models whose pictures or labels it does not know.</summary>
    /// <exception cref="InvalidRequestException">The model does not fit.</exception>
    internal void Check(ModelDescription model)
    {
        if (Classifier.Channels != model.Channels) throw new InvalidRequestException("classifier", $"it reads pictures of {Classifier.Channels} channels, the models draw {model.Channels}");
        if (model.LabelCount > Classifier.Classes) throw new InvalidRequestException("classifier", $"it knows {Classifier.Classes} labels, the models draw {model.LabelCount}");
    }
}

/// <summary>Collects what the classifier says of one model's pictures.</summary>
internal sealed class PictureTally(ModelDescription shape, Ruler? ruler)
{
    private readonly FeatureStatistics? _features = ruler is null ? null : new FeatureStatistics(ruler.Classifier.Features);
    private int _labelled;
    private int _right;

    /// <summary>How good they are; null without a classifier.</summary>
    public ModelScore? Score => ruler is null ? null : new ModelScore(_labelled == 0 ? null : (double)_right / _labelled, Gaussian is { } own ? FrechetDistance.Between(own, ruler.RealStatistics) : null);

    private GaussianStatistics? Gaussian => _features is { Count: > 1 } features ? features.ToGaussian() : null;

    /// <summary>Fréchet distance between the pictures of two models; null without a classifier or with fewer than two pictures.</summary>
    public static double? Distance(PictureTally first, PictureTally second) => first.Gaussian is { } x && second.Gaussian is { } y ? FrechetDistance.Between(x, y) : null;

    /// <summary>Takes note of pictures.</summary>
    /// <param name="pictures">Values in [−1, 1], one array each.</param>
    /// <param name="labels">Their labels; empty for none.</param>
    /// <param name="cancellationToken">Checked between pictures.</param>
    /// <returns>What the classifier takes each for; null without a classifier.</returns>
    public int?[] Add(IReadOnlyList<float[]> pictures, IReadOnlyList<int> labels, CancellationToken cancellationToken)
    {
        int?[] predicted = new int?[pictures.Count];
        if (ruler is null || _features is null) return predicted;
        ConvClassifier classifier = ruler.Classifier;
        (float[] features, float[] logits) = classifier.Run(pictures.SelectMany(picture => picture).ToArray(), shape.Height, shape.Width, cancellationToken);
        for (int i = 0; i < pictures.Count; i++)
        {
            _features.Add(features.AsSpan(i * classifier.Features, classifier.Features));
            predicted[i] = ConvClassifier.Label(logits.AsSpan(i * classifier.Classes, classifier.Classes));
            if (labels.Count == 0) continue;
            _labelled++;
            if (predicted[i] == labels[i]) _right++;
        }

        return predicted;
    }
}
