using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>Compares many quantized models with the float model they were made from: what <c>lbd compare</c> does. The float model is drawn once, models are loaded one after the other.</summary>
public static class ModelComparer
{
    /// <summary>Compares.</summary>
    /// <param name="request">Which models, and what to draw.</param>
    /// <param name="progress">Told fraction and model.</param>
    /// <param name="cancellationToken">Takes effect within one layer; models that were judged before stay in the cache.</param>
    /// <returns>The figures, and a contact sheet: pictures of the same noise, the float model's above.</returns>
    /// <exception cref="InvalidRequestException">A model is not quantized, is another network than the reference, or draws other pictures; or the options do not fit.</exception>
    /// <exception cref="ModelFormatException">A model or the classifier is missing or damaged.</exception>
    /// <exception cref="OutputException">The cache cannot be written.</exception>
    public static async Task<(ComparisonResult Result, Image Sheet)> RunAsync(ComparisonRequest request, IProgress<ComparisonProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        request.Drawing.Check();
        if (request.Models.Count == 0) throw new InvalidRequestException("models", "expected at least one quantized model, found none");

        // Everything is looked at before anything is drawn.
        Candidate reference = Candidate.Open(request.Reference);
        if (reference.Method is not null) throw new InvalidRequestException("reference", $"{request.Reference} is quantized ({reference.Method}), expected the float model");
        Candidate[] models = [.. request.Models.Select(Candidate.Open)];
        foreach (Candidate model in models) model.CheckAgainst(reference);
        Ruler? ruler = request.Classifier is { } folder ? Ruler.Load(folder) : null;
        ruler?.Check(reference.Description);
        DrawingSettings settings = new(reference.Description, request.Drawing);
        ComparisonCache cache = new(request, settings);
        string[] names = Names(models);

        PipelineOptions running = new() { Threads = request.Threads };
        double share = 1.0 / (models.Length + 1);
        (ReferenceDrawing drawing, long weightBytes) = await DrawAsync(reference, settings, cache, running, Part(0, Name(reference.Folder.Path)), cancellationToken).ConfigureAwait(false);
        using (drawing)
        {
            Evaluator evaluator = new(drawing, ruler, cancellationToken);
            List<ComparedModel> rows = [];
            List<(string, IReadOnlyList<Image>)> pictures = [(Name(reference.Folder.Path), evaluator.Pictures)];
            for (int i = 0; i < models.Length; i++)
            {
                IProgress<double> part = Part(i + 1, names[i]);
                part.Report(0);
                string key = cache.KeyOf(models[i].Folder, reference.Folder);
                (EvaluationResult result, IReadOnlyList<Image> shown) = cache.Judged(key, evaluator.Pictures.Count)
                    ?? await JudgeAsync(evaluator, models[i], cache, key, running, part, cancellationToken).ConfigureAwait(false);
                rows.Add(models[i].Row(names[i], result.WeightBytes) with
                {
                    Psnr = result.MeanPsnr,
                    Ssim = result.MeanSsim,
                    LabelAccuracy = result.Score?.LabelAccuracy,
                    FrechetDistance = result.Score?.FrechetDistance,
                    FrechetDistanceToReference = result.MutualFrechetDistance,
                    Trajectory = result.Trajectory,
                });
                pictures.Add((names[i], shown));
                part.Report(1);
            }

            ComparisonResult comparison = new()
            {
                Count = settings.Count,
                Steps = settings.Steps,
                GuidanceScale = settings.GuidanceScale,
                Seed = request.Drawing.Seed,
                Trajectories = drawing.Trajectories,
                Reference = reference.Row(Name(reference.Folder.Path), weightBytes) with { LabelAccuracy = evaluator.ReferenceScore?.LabelAccuracy, FrechetDistance = evaluator.ReferenceScore?.FrechetDistance },
                Models = rows,
            };
            return (comparison, ContactSheet.Compose(pictures, evaluator.Captions));
        }

        PartProgress Part(int part, string model) => new(progress, part * share, share, model);
    }

    private static async Task<(ReferenceDrawing Drawing, long WeightBytes)> DrawAsync(
        Candidate reference, DrawingSettings settings, ComparisonCache cache, PipelineOptions running, IProgress<double> progress, CancellationToken cancellationToken)
    {
        progress.Report(0);
        string path = cache.DrawingOf(reference.Folder);
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(reference.Folder.Path, running, cancellationToken: cancellationToken).ConfigureAwait(false);
        ReferenceDrawing drawing = cache.Drawing(settings, path)
            ?? await ReferenceDrawing.DrawAsync(pipeline, settings.Options, path, progress, cancellationToken).ConfigureAwait(false);
        return (drawing, pipeline.WeightBytes);
    }

    private static async Task<(EvaluationResult Result, IReadOnlyList<Image> Pictures)> JudgeAsync(
        Evaluator evaluator, Candidate model, ComparisonCache cache, string key, PipelineOptions running, IProgress<double> progress, CancellationToken cancellationToken)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(model.Folder.Path, running, cancellationToken: cancellationToken).ConfigureAwait(false);
        (EvaluationResult result, IReadOnlyList<Image> pictures) = await evaluator.JudgeAsync(pipeline, progress, cancellationToken).ConfigureAwait(false);
        cache.Keep(key, result, pictures);
        return (result, pictures);
    }

    private static string Name(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));

    private static string[] Names(Candidate[] models)
    {
        string[] names = [.. models.Select(model => Name(model.Folder.Path))];
        return [.. names.Select((name, i) => names.Count(other => other == name) == 1 ? name : models[i].Folder.Path)];
    }

    /// <summary>A model looked at without its weights.</summary>
    private sealed record Candidate(ModelFolder Folder, ModelDescription Description, string? Method, bool Corrected, string Precision, long FileBytes, long BitOperationsPerStep, IReadOnlyDictionary<string, TensorShape> Parameters)
    {
        public static Candidate Open(string path)
        {
            using SourceModel model = SourceModel.Open(path);
            DiffusionModel pipeline = model.Pipeline ?? throw new InvalidRequestException("models", $"expected whole models' folders, found a network's alone, {path}");
            Graph graph = model.Graph;
            // The denoiser's precision counts; others are named where they are not float.
            string[] methods = [.. pipeline.Components.Select(component => component.QuantizationMethod).OfType<string>().Distinct()];
            IEnumerable<string> precisions = pipeline.Components.Where(component => component == pipeline.Denoiser || component.QuantizationMethod is not null)
                .Select(component => component == pipeline.Denoiser ? PrecisionOf(component) : $"{component.Name} {PrecisionOf(component)}");
            return new Candidate(
                model.Folder!, pipeline.Description, methods.Length == 0 ? null : string.Join(", ", methods), pipeline.Denoiser.Correction is not null, string.Join(", ", precisions),
                model.Tensors.Tensors.Values.Sum(tensor => tensor.ByteLength), NetworkCost.Of(graph, model.Weights).BitOperationsPerStep,
                graph.Parameters.ToDictionary(parameter => parameter.Name, parameter => parameter.Shape));
        }

        private static string PrecisionOf(ModelComponent component) =>
            component.Files.Component.Quantization?.Default is { } standard ? new Precision(standard.WeightBits, standard.ActivationBits).ToString() : "float";

        public void CheckAgainst(Candidate reference)
        {
            if (Method is null) throw new InvalidRequestException("models", $"{Folder.Path} is not quantized, expected a folder that lbd quantize wrote");
            Evaluator.Check(Description, reference.Description);
            if (Description.NetworkClass != reference.Description.NetworkClass)
                throw new InvalidRequestException("models", $"{Folder.Path} is a {Description.NetworkClass}, {reference.Folder.Path} a {reference.Description.NetworkClass}; expected the same network");
            string? differs = Parameters.Keys.Union(reference.Parameters.Keys).FirstOrDefault(name => !(Parameters.TryGetValue(name, out TensorShape? own) && reference.Parameters.TryGetValue(name, out TensorShape? other) && own.Equals(other)));
            if (differs is not null)
                throw new InvalidRequestException("models", $"{Folder.Path} is another network than {reference.Folder.Path}: '{differs}' is {Text(Parameters)} in the one and {Text(reference.Parameters)} in the other");

            string Text(IReadOnlyDictionary<string, TensorShape> parameters) => parameters.TryGetValue(differs, out TensorShape? shape) ? shape.ToString() : "missing";
        }

        public ComparedModel Row(string name, long weightBytes) => new()
        {
            Name = name,
            Folder = Folder.Path,
            Method = Method,
            Corrected = Corrected,
            Precision = Precision,
            FileBytes = FileBytes,
            WeightBytes = weightBytes,
            BitOperationsPerStep = BitOperationsPerStep,
        };
    }

    private sealed class PartProgress(IProgress<ComparisonProgress>? whole, double start, double share, string model) : IProgress<double>
    {
        public void Report(double value) => whole?.Report(new ComparisonProgress(start + share * value, model));
    }
}
