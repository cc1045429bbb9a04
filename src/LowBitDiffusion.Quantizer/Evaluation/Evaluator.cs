using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>What to draw for a comparison. What is null is the model's own default.</summary>
/// <param name="Count">Pictures from each model.</param>
/// <param name="Steps">Steps of the sampler.</param>
/// <param name="GuidanceScale">Guidance scale.</param>
/// <param name="Seed">Seed of the first picture; the others follow.</param>
/// <param name="Batch">Pictures asked for at once; the result does not depend on it.</param>
/// <param name="SheetPairs">Pairs on the contact sheet.</param>
public sealed record EvaluationOptions(int Count = 1024, int? Steps = null, float? GuidanceScale = null, ulong Seed = 0, int Batch = 32, int SheetPairs = 20)
{
    /// <summary>Prompts of models that take text, which take turns; null for <see cref="PromptList.Default"/>.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>The same, encoded elsewhere.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>Rows of the pictures.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of the pictures.</summary>
    public int? Width { get; init; }
}

/// <summary>The classifier that measures pictures, and the features of real ones.</summary>
/// <param name="Classifier">The classifier.</param>
/// <param name="RealStatistics">Mean and covariance of its features over real pictures.</param>
public sealed record Ruler(ConvClassifier Classifier, GaussianStatistics RealStatistics)
{
    /// <summary>Reads a classifier's folder with its <c>reference_statistics.safetensors</c>.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or does not fit the classifier.</exception>
    public static Ruler Load(string folder)
    {
        ConvClassifier classifier = ConvClassifier.Load(folder);
        using Formats.SafeTensorsFile file = Formats.SafeTensorsFile.Open(Path.Combine(folder, "reference_statistics.safetensors"));
        GaussianStatistics statistics = GaussianStatistics.Read(file);
        if (statistics.Mean.Length != classifier.Features) throw new ModelFormatException(file.Origin, "feature_mean", $"expected the classifier's {classifier.Features} features, found {statistics.Mean.Length}");
        return new Ruler(classifier, statistics);
    }
}

/// <summary>Draws the same noise with two models and compares the pictures: each pair, and each model by itself against real pictures.</summary>
public static class Evaluator
{
    /// <summary>Compares two models.</summary>
    /// <param name="model">The model to judge.</param>
    /// <param name="reference">The model to compare it with, most often the float one it was made from.</param>
    /// <param name="ruler">Measures each model's pictures by themselves; null to compare pairs alone.</param>
    /// <param name="options">What to draw.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <returns>The figures, and a contact sheet: the reference's pictures in the upper row of each pair of rows, the model's below.</returns>
    /// <exception cref="InvalidRequestException">The models draw pictures of different shapes or labels, or the options do not fit them or the ruler.</exception>
    public static async Task<(EvaluationResult Result, Image Sheet)> CompareAsync(
        DiffusionPipeline model, DiffusionPipeline reference, Ruler? ruler, EvaluationOptions options, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        Check(model.Description, reference.Description, ruler, options);
        ModelDescription description = reference.Description;
        int steps = options.Steps ?? description.DefaultSteps;
        float guidance = options.GuidanceScale ?? description.DefaultGuidanceScale;
        (int height, int width) = (options.Height ?? description.Height, options.Width ?? description.Width);
        IReadOnlyList<string> prompts = options.Prompts ?? (description.HasTextEncoder && options.PromptEmbeddings is null ? PromptList.Default : []);
        Tally tally = new(ruler, height, width), referenceTally = new(ruler, height, width);
        List<ImagePair> pairs = [];
        List<Image> upper = [], lower = [];
        for (int first = 0; first < options.Count; first += options.Batch)
        {
            int count = Math.Min(options.Batch, options.Count - first);
            int[] numbers = [.. Enumerable.Range(first, count)];
            GenerationRequest request = new()
            {
                Labels = description.LabelCount == 0 ? [] : [.. numbers.Select(i => i % description.LabelCount)],
                Prompts = prompts.Count == 0 ? [] : [.. numbers.Select(i => prompts[i % prompts.Count])],
                PromptEmbeddings = options.PromptEmbeddings?.Select([.. numbers.Select(i => i % options.PromptEmbeddings.Count)]),
                Height = height,
                Width = width,
                Count = count,
                Steps = steps,
                GuidanceScale = guidance,
                Seed = unchecked(options.Seed + (ulong)first),
            };
            IReadOnlyList<GeneratedImage> expected = await reference.GenerateAsync(request, cancellationToken: cancellationToken).ConfigureAwait(false);
            progress?.Report((first + 0.5 * count) / options.Count);
            IReadOnlyList<GeneratedImage> actual = await model.GenerateAsync(request, cancellationToken: cancellationToken).ConfigureAwait(false);
            int?[] predicted = tally.Add(actual, cancellationToken), referencePredicted = referenceTally.Add(expected, cancellationToken);
            for (int i = 0; i < count; i++) pairs.Add(Compare(expected[i], actual[i], predicted[i], referencePredicted[i]));
            upper.AddRange(expected.Select(image => image.Image).Take(options.SheetPairs - upper.Count));
            lower.AddRange(actual.Select(image => image.Image).Take(options.SheetPairs - lower.Count));
            progress?.Report((first + (double)count) / options.Count);
        }

        EvaluationResult result = new()
        {
            Model = model.Description.Folder,
            Reference = description.Folder,
            Count = options.Count,
            Height = height,
            Width = width,
            Decoded = description.DrawsLatents,
            Steps = steps,
            GuidanceScale = guidance,
            MeanPsnr = pairs.Average(pair => pair.Psnr),
            MeanSsim = pairs.Average(pair => pair.Ssim),
            Score = tally.Score,
            ReferenceScore = referenceTally.Score,
            MutualFrechetDistance = Tally.Distance(tally, referenceTally),
            Pairs = pairs,
        };
        return (result, Sheet(upper, lower));
    }

    private static void Check(ModelDescription model, ModelDescription reference, Ruler? ruler, EvaluationOptions options)
    {
        if (options.Count < 1) throw new InvalidRequestException("count", $"expected at least one picture, found {options.Count}");
        if (options.Batch < 1) throw new InvalidRequestException("batch", $"expected at least one picture, found {options.Batch}");
        if (options.SheetPairs < 1) throw new InvalidRequestException("sheet", $"expected at least one pair, found {options.SheetPairs}");
        (int, int, int) shape = (model.Channels, model.Height, model.Width), expected = (reference.Channels, reference.Height, reference.Width);
        if (shape != expected) throw new InvalidRequestException("reference", $"{model.Folder} draws pictures of {Text(shape)}, {reference.Folder} of {Text(expected)} (channels, rows, columns); expected the same");
        if (model.TakesText != reference.TakesText) throw new InvalidRequestException("reference", $"one of {model.Folder} and {reference.Folder} takes text, the other none; expected the same");
        if (model.LabelCount != reference.LabelCount) throw new InvalidRequestException("reference", $"{model.Folder} has {model.LabelCount} labels, {reference.Folder} {reference.LabelCount}; expected the same");
        if (ruler is not null && ruler.Classifier.Channels != reference.Channels)
            throw new InvalidRequestException("classifier", $"it reads pictures of {ruler.Classifier.Channels} channels, the models draw {reference.Channels}");
        if (ruler is not null && reference.LabelCount > ruler.Classifier.Classes)
            throw new InvalidRequestException("classifier", $"it knows {ruler.Classifier.Classes} labels, the models draw {reference.LabelCount}");

        static string Text((int Channels, int Height, int Width) shape) => $"{shape.Channels}x{shape.Height}x{shape.Width}";
    }

    private static ImagePair Compare(GeneratedImage expected, GeneratedImage actual, int? predicted, int? referencePredicted)
    {
        float[] x = Clamp(expected.Sample), y = Clamp(actual.Sample);
        double psnr = ImageQuality.Psnr(x, y, dataRange: 2);
        Image shape = actual.Image;
        double? ssim = Math.Min(shape.Height, shape.Width) < ImageQuality.SsimWindow ? null : ImageQuality.Ssim(x, y, shape.Channels, shape.Height, shape.Width, dataRange: 2);
        return new ImagePair(actual.Seed, actual.Label, double.IsFinite(psnr) ? psnr : null, ssim, predicted, referencePredicted) { Prompt = actual.Prompt };
    }

    private static Image Sheet(List<Image> upper, List<Image> lower)
    {
        const int Columns = 10;
        List<Image> rows = [];
        for (int first = 0; first < upper.Count; first += Columns)
        {
            int count = Math.Min(Columns, upper.Count - first);
            // A last row that is not full is filled up, so that the model's row begins at the left.
            Image[] empty = [.. Enumerable.Range(0, first == 0 ? 0 : Columns - count).Select(_ => new Image(upper[0].Width, upper[0].Height, upper[0].Channels))];
            rows.AddRange([.. upper.Skip(first).Take(count), .. empty, .. lower.Skip(first).Take(count), .. empty]);
        }

        return ImageGrid.Compose(rows, Math.Min(Columns, upper.Count), scale: 2);
    }

    // What a picture file can hold: samplers may leave values a little outside.
    private static float[] Clamp(float[] sample) => Array.ConvertAll(sample, x => Math.Clamp(x, -1, 1));

    /// <summary>Collects what the classifier says of one model's pictures.</summary>
    private sealed class Tally(Ruler? ruler, int height, int width)
    {
        private readonly FeatureStatistics? _features = ruler is null ? null : new FeatureStatistics(ruler.Classifier.Features);
        private int _labelled;
        private int _right;

        public ModelScore? Score => ruler is null || _features is null
            ? null
            : new ModelScore(_labelled == 0 ? null : (double)_right / _labelled, _features.Count < 2 ? null : FrechetDistance.Between(_features.ToGaussian(), ruler.RealStatistics));

        public static double? Distance(Tally first, Tally second) =>
            first._features is { Count: > 1 } x && second._features is { Count: > 1 } y ? FrechetDistance.Between(x.ToGaussian(), y.ToGaussian()) : null;

        public int?[] Add(IReadOnlyList<GeneratedImage> images, CancellationToken cancellationToken)
        {
            int?[] predicted = new int?[images.Count];
            if (ruler is null || _features is null) return predicted;
            ConvClassifier classifier = ruler.Classifier;
            (float[] features, float[] logits) = classifier.Run(images.SelectMany(image => Clamp(image.Sample)).ToArray(), height, width, cancellationToken);
            for (int i = 0; i < images.Count; i++)
            {
                _features.Add(features.AsSpan(i * classifier.Features, classifier.Features));
                predicted[i] = ConvClassifier.Label(logits.AsSpan(i * classifier.Classes, classifier.Classes));
                if (images[i].Label is not { } label) continue;
                _labelled++;
                if (predicted[i] == label) _right++;
            }

            return predicted;
        }
    }
}
