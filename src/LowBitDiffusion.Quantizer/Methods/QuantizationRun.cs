using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>A request under way: the opened model, the request with all defaults filled in, threads, a place for what a stopped run needs. What methods work with.</summary>
public sealed class QuantizationRun : IDisposable
{
    private readonly IProgress<QuantizationProgress>? _progress;
    private readonly IReadOnlyList<float[]> _texts;
    private readonly LatentPictures? _pictures;

    private QuantizationRun(QuantizationRequest request, SourceModel model, IProgress<QuantizationProgress>? progress, CancellationToken cancellationToken)
    {
        (Request, Model, _progress, CancellationToken) = (request, model, progress, cancellationToken);
        Method = QuantizationMethods.Of(request.Method);
        foreach (string ingredient in request.Without)
        {
            if (!Method.Ingredients.Any(known => known.Name == ingredient))
                throw new InvalidRequestException("without", $"expected {(Method.Ingredients.Count == 0 ? "nothing" : string.Join(", ", Method.Ingredients.Select(known => known.Name)))} for {Method.Name}, found '{ingredient}'");
        }

        if (request.Batch < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {request.Batch}");
        if (request.ReportImages < 0) throw new InvalidRequestException("report images", $"expected 0 or more, found {request.ReportImages}");
        if (request.Attention is null && request.ReportImages == 0) throw new InvalidRequestException("report images", "expected at least one to choose by how attentions are computed, found 0");
        if (request.GroupChannels < 0) throw new InvalidRequestException("group channels", $"expected 0 or more, found {request.GroupChannels}");
        if (request.Iterations < 1) throw new InvalidRequestException("iterations", $"expected at least one, found {request.Iterations}");
        if (request.Samples < 1) throw new InvalidRequestException("samples", $"expected at least one, found {request.Samples}");
        if (request.Budget <= TimeSpan.Zero) throw new InvalidRequestException("budget", $"expected a positive time, found {request.Budget}");
        if (request.FloatType is not (DType.F32 or DType.F16 or DType.BF16)) throw new InvalidRequestException("float type", $"expected F32, F16 or BF16, found {request.FloatType}");
        if (model.Quantization is { } quantization) throw new InvalidRequestException("model", $"{Path.Combine(model.Path, model.IsDenoiser ? "" : model.Component)} is quantized already ({quantization.Method}), expected a float {(model.IsDenoiser ? "model" : "network")}");
        CheckSubjects(request, model);

        Standard = Precision.Parse($"w{request.WeightBits}a{request.ActivationBits}");
        Rules = new PrecisionRules(Standard, request.Rules);
        Start = Method.Start(Uses);
        Start = Start with { Range = request.ActivationRange ?? Start.Range, Split = request.Split ?? Start.Split };
        SamplingSettings sampling = SamplingSettings.For(model);
        sampling = new SamplingSettings(request.Steps ?? sampling.Steps, request.GuidanceScale ?? sampling.GuidanceScale)
        {
            Prompts = request.Prompts,
            PromptEmbeddings = request.PromptEmbeddings,
            Height = request.Height,
            Width = request.Width,
        };
        _texts = model.Network is ClipTextModel ? TokenTexts.Of(model, request.Prompts) : [];
        PictureCounts counts = PictureCounts.For(model, _texts.Count);
        ReportImages = request.ReportImages ?? counts.Report;
        Calibration = new CalibrationOptions(sampling, request.Images ?? counts.Calibration, request.Batch ?? counts.CalibrationBatch, request.Seed, Start.Range, Start.Split, Start.PerTimestep);
        if (model.Network is IAutoencoder) _pictures = new LatentPictures(model, Calibration, Stage("drawing"), Stage("encoding"));
        Layers = ModuleInputs.Of(model.Graph, Start.Split);
        Rules.CheckUsed([.. Layers.Select(layer => layer.Op.Module)]);

        // Before the work, not after it.
        if (!request.Overwrite && Directory.Exists(request.Output) && Directory.EnumerateFileSystemEntries(request.Output).Any()) throw new OutputException(request.Output, "exists and is not empty");
        Saved = new SavedRun(request);
        Networks = NetworksWith(model.Weights);
    }

    /// <summary>What was asked for.</summary>
    public QuantizationRequest Request { get; }

    /// <summary>How.</summary>
    public IQuantizationMethod Method { get; }

    /// <summary>The float model.</summary>
    public SourceModel Model { get; }

    /// <summary>Executes the float network, fast. Every network has packed weights of its own, which go with it.</summary>
    public ObservedNetworkFactory Networks { get; }

    /// <summary>Every convolution and linear layer, with what it reads.</summary>
    public IReadOnlyList<ModuleInputs> Layers { get; }

    /// <summary>Which layer gets which precision.</summary>
    public PrecisionRules Rules { get; }

    /// <summary>Precision of layers that no rule names; what the file calls its default.</summary>
    public Precision Standard { get; }

    /// <summary>The method's starting point, with what the request overrides.</summary>
    public StartingPoint Start { get; }

    /// <summary>How activation ranges are collected.</summary>
    public CalibrationOptions Calibration { get; }

    /// <summary>Pictures behind the quality report's activations and trajectory; 0 for weights alone.</summary>
    public int ReportImages { get; }

    /// <summary>What a stopped run leaves to go on with.</summary>
    public SavedRun Saved { get; }

    /// <summary>Threads.</summary>
    public WorkerPool Pool => Model.Pool;

    /// <summary>Checked between layers.</summary>
    public CancellationToken CancellationToken { get; }

    /// <summary>Opens the model and checks the request before any work.</summary>
    /// <exception cref="InvalidRequestException">The request asks for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">The model is missing, damaged or not supported.</exception>
    /// <exception cref="OutputException">The output exists and must not be replaced.</exception>
    public static QuantizationRun Open(QuantizationRequest request, IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        SourceModel model = SourceModel.Open(request.Model, request.Threads, request.Component);
        try
        {
            return new QuantizationRun(request, model, progress, cancellationToken);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Executes the network with other weights, fast; progress of packing them is told as a stage.</summary>
    public ObservedNetworkFactory NetworksWith(ModelWeights weights) => ObservedPlannedNetwork.Factory(Model.Network, weights, Pool, Stage("packing"));

    /// <summary>What the network is shown, so many items at once.</summary>
    public ICalibrationSource Source(int items) => Source(Calibration.Sampling, items, number => Calibration.Seed + (ulong)number);

    /// <summary>The same with trajectories of another kind, where there are any.</summary>
    /// <param name="sampling">How they are drawn.</param>
    /// <param name="items">How many at once.</param>
    /// <param name="seedOf">Seed of a picture by its number.</param>
    public ICalibrationSource Source(SamplingSettings sampling, int items, Func<int, ulong> seedOf)
    {
        if (items < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {items}");
        if (_pictures is not null) return new AutoencoderSource(_pictures, items);
        if (_texts.Count > 0) return new TokenSource(Model.Network.MainOutputs, _texts, items);
        return new TrajectorySource(Model.Network, new GuidedSampler(Model, sampling, items, Stage("encoding"), CancellationToken), seedOf, Model.Description!.DrawsLatents);
    }

    /// <summary>Whether an ingredient is not left out.</summary>
    public bool Uses(string ingredient) => !Request.Without.Contains(ingredient);

    /// <summary>Whether a layer runs in integers.</summary>
    public bool IsQuantized(string module) => !Rules.Of(module).IsFloat;

    /// <summary>A layer's float weight, row-major.</summary>
    public float[] Weight(MatrixOp op) => Model.Weights.Float(new Parameter($"{op.Module}.weight", op.WeightShape));

    /// <summary>Iterations to make: those that were asked for, else the paper's as far as the budget reaches. Decided once; a resumed run makes as many.</summary>
    /// <param name="paper">The paper's.</param>
    /// <param name="measure">Measures the seconds that an iteration takes, and those that are needed beside the iterations.</param>
    public int Iterations(int paper, Func<(double PerIteration, double Beside)> measure)
    {
        if (Request.Iterations is { } asked) return asked;
        if (Request.Budget is not { } budget) return paper;
        return (int)Saved.Decide("iterations", () =>
        {
            (double perIteration, double beside) = measure();
            return Math.Floor(Math.Clamp((budget.TotalSeconds - Saved.Seconds - beside) / perIteration, 1, paper));
        });
    }

    /// <summary>Progress of one stage as a fraction; null if nobody listens.</summary>
    public IProgress<double>? Stage(string stage) => _progress is null ? null : new StageProgress(_progress, stage);

    /// <summary>Tells how far a stage is, in words too.</summary>
    public void Report(string stage, double fraction, string detail) => _progress?.Report(new QuantizationProgress(stage, fraction, detail));

    /// <summary>Ends a run whose model is written: nothing is left to go on with.</summary>
    public void Complete() => Saved.Remove();

    /// <inheritdoc/>
    public void Dispose()
    {
        Saved.Dispose();
        Model.Dispose();
    }

    /// <summary>What the pictures or texts are, said where it has no meaning.</summary>
    private static void CheckSubjects(QuantizationRequest request, SourceModel model)
    {
        bool texts = model.Network is ClipTextModel;
        if (request.TrainingSteps is not null && !model.IsDenoiser) throw new InvalidRequestException("training steps", $"expected none, because a {model.Network.ClassName} has no timesteps, found {request.TrainingSteps}");
        if (request.PromptEmbeddings is not null && (texts || model.Pipeline is null)) throw new InvalidRequestException("prompt embeddings", $"expected none for a {model.Network.ClassName}{(texts ? ", which reads prompts" : " without a pipeline to draw with")}, found some");
        if (request.Prompts is not null && !texts && model.Pipeline is null) throw new InvalidRequestException("prompts", $"expected none for a {model.Network.ClassName} without a pipeline to draw with, found {request.Prompts.Count}");
    }

    private sealed class StageProgress(IProgress<QuantizationProgress> progress, string stage) : IProgress<double>
    {
        public void Report(double value) => progress.Report(new QuantizationProgress(stage, value));
    }
}
