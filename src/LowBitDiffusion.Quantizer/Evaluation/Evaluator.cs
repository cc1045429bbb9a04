using LowBitDiffusion.Execution;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>Compares models with a reference that has drawn already: each pair of pictures from the same noise, each model by itself against real pictures, and the way from noise to picture.</summary>
public sealed class Evaluator
{
    private readonly ReferenceDrawing _reference;
    private readonly Ruler? _ruler;
    private readonly EvaluationOptions _options;
    private readonly PictureTally _tally;
    private readonly int?[] _predicted;

    /// <summary>Looks at the reference's pictures.</summary>
    /// <param name="reference">What was drawn.</param>
    /// <param name="ruler">Measures each model's pictures by themselves; null to compare pairs alone.</param>
    /// <param name="cancellationToken">Checked between pictures.</param>
    /// <exception cref="InvalidRequestException">The ruler does not fit the pictures.</exception>
    public Evaluator(ReferenceDrawing reference, Ruler? ruler, CancellationToken cancellationToken = default)
    {
        DrawingSettings settings = reference.Settings;
        ruler?.Check(settings.Description);
        (_reference, _ruler, _options) = (reference, ruler, settings.Options);
        _tally = new PictureTally(settings.Description, ruler);
        _predicted = [.. settings.Batches.SelectMany(batch => _tally.Add([.. Enumerable.Range(batch.First, batch.Count).Select(reference.Picture)], settings.Labels(batch.First, batch.Count), cancellationToken))];
        int shown = Math.Min(_options.SheetImages, settings.Count);
        Pictures = [.. Enumerable.Range(0, shown).Select(reference.Image)];
        Captions = [.. settings.Labels(0, shown).Select(label => settings.Description.LabelNames.TryGetValue(label, out string? name) ? name : $"label {label}")];
    }

    /// <summary>The reference by itself; null without a classifier.</summary>
    public ModelScore? ReferenceScore => _tally.Score;

    /// <summary>The reference's pictures for a contact sheet.</summary>
    public IReadOnlyList<Image> Pictures { get; }

    /// <summary>The names of their labels; empty without labels.</summary>
    public IReadOnlyList<string> Captions { get; }

    /// <summary>Compares two models.</summary>
    /// <param name="model">The model to judge.</param>
    /// <param name="reference">The model to compare it with, most often the float one it was made from.</param>
    /// <param name="ruler">Measures each model's pictures by themselves; null to compare pairs alone.</param>
    /// <param name="options">What to draw.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <returns>The figures, and a contact sheet: the reference's pictures in the upper row, the model's below.</returns>
    /// <exception cref="InvalidRequestException">The models draw pictures of different shapes or labels, or the options do not fit them or the ruler.</exception>
    public static async Task<(EvaluationResult Result, Image Sheet)> CompareAsync(
        DiffusionPipeline model, DiffusionPipeline reference, Ruler? ruler, EvaluationOptions options, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        options.Check();
        Check(model.Description, reference.Description);
        ruler?.Check(reference.Description);
        DirectoryInfo temporary = Directory.CreateTempSubdirectory("lowbit-evaluation");
        try
        {
            using ReferenceDrawing drawing = await ReferenceDrawing.DrawAsync(reference, options, Path.Combine(temporary.FullName, "reference.safetensors"), new PartialProgress(progress, 0, 0.5), cancellationToken).ConfigureAwait(false);
            Evaluator evaluator = new(drawing, ruler, cancellationToken);
            (EvaluationResult result, IReadOnlyList<Image> pictures) = await evaluator.JudgeAsync(model, new PartialProgress(progress, 0.5, 0.5), cancellationToken).ConfigureAwait(false);
            return (result, ContactSheet.Compose([("reference", evaluator.Pictures), ("model", pictures)], evaluator.Captions));
        }
        finally
        {
            temporary.Delete(recursive: true);
        }
    }

    /// <summary>Draws with a model what the reference has drawn, and compares.</summary>
    /// <param name="model">The model to judge.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <returns>The figures, and the model's pictures for a contact sheet.</returns>
    /// <exception cref="InvalidRequestException">The model draws pictures of another shape or has other labels.</exception>
    public async Task<(EvaluationResult Result, IReadOnlyList<Image> Pictures)> JudgeAsync(DiffusionPipeline model, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        DrawingSettings settings = _reference.Settings;
        Check(model.Description, settings.Reference);
        PictureTally tally = new(settings.Description, _ruler);
        SignalQuality[] trajectory = [.. _reference.Timesteps.Select(_ => new SignalQuality())];
        ValueRange[] ranges = new ValueRange[trajectory.Length];
        List<ImagePair> pairs = [];
        List<Image> shown = [];
        foreach ((int first, int count) in settings.Batches)
        {
            DrawnBatch batch = await settings.DrawAsync(model, first, count, cancellationToken).ConfigureAwait(false);
            if (batch.Watched > 0 && !batch.Timesteps.SequenceEqual(_reference.Timesteps))
                throw new InvalidRequestException("steps", $"{model.Description.Folder} samples at other timesteps than {settings.Description.Folder}; expected the same scheduler");
            int[] labels = settings.Labels(first, count);
            int?[] predicted = tally.Add(batch.Pictures, labels, cancellationToken);
            (double? Psnr, double? Ssim)[] likeness = new (double?, double?)[count];
            Parallel.For(0, count, new ParallelOptions { CancellationToken = cancellationToken }, i => likeness[i] = Likeness(_reference.Picture(first + i), batch.Pictures[i], settings.Description));
            for (int i = 0; i < count; i++)
                pairs.Add(new ImagePair(settings.Seed(first + i), labels.Length == 0 ? null : labels[i], likeness[i].Psnr, likeness[i].Ssim, predicted[i], _predicted[first + i]) { Prompt = settings.Prompt(first + i) });
            for (int i = 0; i < batch.Watched; i++)
            {
                int length = batch.Samples[0].Length / batch.Watched;
                for (int call = 0; call < trajectory.Length; call++)
                {
                    trajectory[call].Add(_reference.Sample(first + i, call), batch.Samples[call].AsSpan(i * length, length));
                    ranges[call] = ranges[call].Union(ValueRange.Of(_reference.Sample(first + i, call)));
                }
            }

            shown.AddRange(batch.Images.Take(Pictures.Count - shown.Count));
            progress?.Report((first + (double)count) / settings.Count);
        }

        EvaluationResult result = new()
        {
            Model = model.Description.Folder,
            Reference = settings.Description.Folder,
            Count = settings.Count,
            Height = settings.Description.Height,
            Width = settings.Description.Width,
            Decoded = settings.Reference.DrawsLatents,
            Steps = settings.Steps,
            GuidanceScale = settings.GuidanceScale,
            WeightBytes = model.WeightBytes,
            MeanPsnr = pairs.Average(pair => pair.Psnr),
            MeanSsim = pairs.Average(pair => pair.Ssim),
            Score = tally.Score,
            ReferenceScore = _tally.Score,
            MutualFrechetDistance = PictureTally.Distance(tally, _tally),
            Trajectory = [.. trajectory.Select((point, call) => TrajectoryPoint.Of(_reference.Timesteps[call], point, ranges[call], settings.Description.DrawsLatents))],
            Pairs = pairs,
        };
        return (result, shown);
    }

    /// <summary>Refuses two models that draw something else.</summary>
    /// <exception cref="InvalidRequestException">Shapes or labels differ.</exception>
    internal static void Check(ModelDescription model, ModelDescription reference)
    {
        (int, int, int) shape = (model.Channels, model.Height, model.Width), expected = (reference.Channels, reference.Height, reference.Width);
        if (shape != expected) throw new InvalidRequestException("reference", $"{model.Folder} draws pictures of {Text(shape)}, {reference.Folder} of {Text(expected)} (channels, rows, columns); expected the same");
        if (model.TakesText != reference.TakesText) throw new InvalidRequestException("reference", $"one of {model.Folder} and {reference.Folder} takes text, the other none; expected the same");
        if (model.LabelCount != reference.LabelCount) throw new InvalidRequestException("reference", $"{model.Folder} has {model.LabelCount} labels, {reference.Folder} {reference.LabelCount}; expected the same");

        static string Text((int Channels, int Height, int Width) shape) => $"{shape.Channels}x{shape.Height}x{shape.Width}";
    }

    private static (double? Psnr, double? Ssim) Likeness(float[] expected, float[] actual, ModelDescription shape) => (
        Finite(ImageQuality.Psnr(expected, actual, dataRange: 2)),
        Math.Min(shape.Height, shape.Width) < ImageQuality.SsimWindow ? null : ImageQuality.Ssim(expected, actual, shape.Channels, shape.Height, shape.Width, dataRange: 2));

    // Without any difference there is no ratio.
    private static double? Finite(double decibels) => double.IsFinite(decibels) ? decibels : null;
}
