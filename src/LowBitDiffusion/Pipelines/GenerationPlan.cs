using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Pipelines;

/// <summary>A request checked against a model, with every default filled in.</summary>
internal sealed class GenerationPlan
{
    private readonly DiffusionModel _model;

    private GenerationPlan(GenerationRequest request, DiffusionModel model)
    {
        _model = model;
        ModelDescription description = model.Description;
        Labels = CheckedLabels(request, description);
        Text = TextPlan.Create(request, model);
        Images = request.Images;
        if (Images < 1) throw new InvalidRequestException("count", $"expected at least 1 image, found {Images}");
        Steps = request.Steps ?? description.DefaultSteps;
        if (Steps < 1 || Steps > model.Scheduler.TrainSteps) throw new InvalidRequestException("steps", $"expected 1 to {model.Scheduler.TrainSteps}, found {Steps}");
        Guidance = request.GuidanceScale ?? description.DefaultGuidanceScale;
        if (!float.IsFinite(Guidance)) throw new InvalidRequestException("guidance", $"expected a finite number, found {Guidance}");
        Guided = (Labels.Count > 0 || Text is not null) && Guidance != 1;
        if (Guided && Labels.Count > 0 && description.NullLabel is null) throw new InvalidRequestException("guidance", $"expected 1, because the model has no null label, found {Guidance}");
        if (Guided) Text?.CheckGuidance(Guidance);
        if (Correction is { } correction && correction.GuidanceScale != (Guided ? Guidance : 1))
            throw new InvalidRequestException("guidance", $"expected {correction.GuidanceScale}, for which the correction of the model's predictions was collected, found {(Guided ? Guidance : 1)}; 'lbd correct' collects another or removes it");
        if (!(request.Eta is >= 0 and <= 1)) throw new InvalidRequestException("eta", $"expected 0 to 1, found {request.Eta}");
        Eta = request.Eta;
        KeepsSamples = request.KeepsSamples;
        NoiseSource = request.NoiseSource;
        if (request.Seeds is { } seeds && seeds.Count != Images) throw new InvalidRequestException("seeds", $"expected one per image, {Images}, found {seeds.Count}");
        Seeds = request.Seeds is { } given ? [.. given] : [.. Enumerable.Range(0, Images).Select(i => unchecked(request.Seed + (ulong)i))];
        (Height, Width) = CheckedSize(request, description);
        InitSample = request.InitImage is { } init ? ToSample(init, description.Channels) : null;
        if (request.Scheduler is { } name && !SchedulerFactory.Supported.Contains(name))
            throw new InvalidRequestException("scheduler", $"expected one of {string.Join(", ", SchedulerFactory.Supported)}, found '{name}'");
        SchedulerConfig = request.Scheduler is { } other ? model.Scheduler.With(other) : model.Scheduler;
        IScheduler scheduler = CreateScheduler(1);
        Calls = scheduler.Timesteps.Count;
        FirstCall = InitSample is null ? 0 : CallOfStrength(request.Strength, scheduler);
        CheckNetworkTakesSize();
        Memory = MemoryPlan.Choose(model, new DrawingShape
        {
            Images = Math.Min(Math.Max(model.Options.MaxBatch, 1), Images),
            Guided = Guided,
            Calls = Calls - FirstCall,
            Inputs = NetworkInputs,
            ImageHeight = Height,
            ImageWidth = Width,
            EncodesText = Text is { NeedsEncoder: true },
            EncodesImage = InitSample is not null && model.Autoencoder is not null,
        });
    }

    /// <summary>Labels, one per image, or none.</summary>
    public IReadOnlyList<int> Labels { get; }

    /// <summary>What is known of the text; null for a model without.</summary>
    public TextPlan? Text { get; }

    /// <summary>Images to draw.</summary>
    public int Images { get; }

    /// <summary>Sampler steps.</summary>
    public int Steps { get; }

    /// <summary>Guidance scale.</summary>
    public float Guidance { get; }

    /// <summary>Whether the network sees every image twice.</summary>
    public bool Guided { get; }

    /// <summary>Correction of what the network predicts; null for none.</summary>
    public PredictionCorrection? Correction => _model.Denoiser.Correction;

    /// <summary>DDIM's η.</summary>
    public float Eta { get; }

    /// <summary>Whether images come with their floats.</summary>
    public bool KeepsSamples { get; }

    /// <summary>Whose random numbers.</summary>
    public NoiseSource NoiseSource { get; }

    /// <summary>One per image.</summary>
    public ulong[] Seeds { get; }

    /// <summary>Rows of an image.</summary>
    public int Height { get; }

    /// <summary>Columns of an image.</summary>
    public int Width { get; }

    /// <summary>The initial image <c>[C, H, W]</c> in [−1, 1], or null.</summary>
    public float[]? InitSample { get; }

    /// <summary>The scheduler.</summary>
    public SchedulerConfig SchedulerConfig { get; }

    /// <summary>Calls of the network of a whole run.</summary>
    public int Calls { get; }

    /// <summary>The call that the run begins with.</summary>
    public int FirstCall { get; }

    /// <summary>How it fits into memory.</summary>
    public MemoryPlan Memory { get; }

    /// <summary>Shape of one image as the sampler has it, <c>[1, C, h, w]</c>.</summary>
    public TensorShape SampleShape
    {
        get
        {
            int factor = _model.Autoencoder?.Network.Factor ?? 1;
            return new TensorShape(1, _model.Denoiser.Network.NativeInputs(1)["sample"].Channels, Height / factor, Width / factor);
        }
    }

    /// <summary>Checks a request.</summary>
    /// <exception cref="InvalidRequestException">It does not fit the model.</exception>
    /// <exception cref="MemoryBudgetException">It does not fit the memory budget.</exception>
    public static GenerationPlan Create(GenerationRequest request, DiffusionModel model) => new(request, model);

    /// <summary>Shapes of the network's inputs for a batch.</summary>
    public IReadOnlyDictionary<string, TensorShape> NetworkInputs(int batch)
    {
        Dictionary<string, TensorShape> inputs = _model.NativeInputs(batch, Text?.Tokens);
        inputs["sample"] = SampleShape.With(0, batch);
        if (Text is { HasMask: true }) inputs["encoder_attention_mask"] = new TensorShape(batch, Text.Tokens);
        return inputs;
    }

    /// <summary>A scheduler for a batch.</summary>
    public IScheduler CreateScheduler(int count) =>
        SchedulerFactory.Create(SchedulerConfig, new SamplingRun(Steps, count, count * (int)SampleShape.Elements) { Eta = Eta, PredictionNoise = Correction is null ? null : Correction.DeviationAt });

    /// <summary>What the network is told of every image.</summary>
    /// <param name="encoded">Encoded prompts; needed where <see cref="TextPlan.NeedsEncoder"/>.</param>
    public ConditionSet Conditions(IReadOnlyDictionary<string, Dictionary<string, float[]>> encoded)
    {
        if (Text is not null) return Text.Conditions(encoded, Images, Guided, Height, Width);
        if (Labels.Count == 0) return new ConditionSet([.. Enumerable.Repeat(new Dictionary<string, float[]>(), Images)], null);
        return new ConditionSet([.. Labels.Select(Row)], Guided ? Row(_model.Description.NullLabel!.Value) : null);

        static Dictionary<string, float[]> Row(int label) => new() { ["class_labels"] = [label] };
    }

    private static IReadOnlyList<int> CheckedLabels(GenerationRequest request, ModelDescription description)
    {
        if (description.LabelCount == 0)
        {
            if (request.Labels.Count > 0) throw new InvalidRequestException("labels", $"expected none, because the model has no labels, found {request.Labels.Count}");
            return [];
        }

        if (request.Labels.Count == 0) throw new InvalidRequestException("labels", $"expected at least one label from 0 to {description.LabelCount - 1}, found none");
        foreach (int label in request.Labels)
        {
            if (label < 0 || label >= description.LabelCount) throw new InvalidRequestException("labels", $"expected labels from 0 to {description.LabelCount - 1}, found {label}");
        }

        return request.Labels;
    }

    private static (int Height, int Width) CheckedSize(GenerationRequest request, ModelDescription description)
    {
        const int most = 1 << 14;
        int height = request.Height ?? request.InitImage?.Height ?? description.Height, width = request.Width ?? request.InitImage?.Width ?? description.Width;
        foreach ((string name, int extent) in (ReadOnlySpan<(string, int)>)[("height", height), ("width", width)])
        {
            if (extent < 1 || extent > most || extent % description.SizeMultiple != 0)
                throw new InvalidRequestException(name, $"expected a multiple of {description.SizeMultiple} up to {most}, found {extent}");
        }

        if (request.InitImage is { } init && (init.Height != height || init.Width != width))
            throw new InvalidRequestException("init image", $"expected {width}x{height}, the images' size, found {init.Width}x{init.Height}");
        return (height, width);
    }

    private static float[] ToSample(Image image, int channels)
    {
        float[] sample = image.ToSample();
        int plane = image.Width * image.Height;
        return (image.Channels, channels) switch
        {
            _ when image.Channels == channels => sample,
            (4, 3) => sample[..(3 * plane)],
            (1, 3) => [.. sample, .. sample, .. sample],
            _ => throw new InvalidRequestException("init image", $"expected {channels} channels, found {image.Channels}"),
        };
    }

    /// <summary>As many steps are done as the strength's share; some schedulers cannot begin at every call.</summary>
    private int CallOfStrength(float strength, IScheduler scheduler)
    {
        if (!(strength is > 0 and <= 1)) throw new InvalidRequestException("strength", $"expected above 0 to 1, found {strength}");
        int skipped = Steps - Math.Min((int)(Steps * strength), Steps);
        for (int call = (int)((long)skipped * Calls / Steps); call < Calls; call++)
        {
            if (scheduler.CanBeginAt(call)) return call;
        }

        throw new InvalidRequestException("strength", $"expected at least one of {Steps} steps, found {strength}");
    }

    private void CheckNetworkTakesSize()
    {
        try
        {
            _model.Denoiser.Network.Build(NetworkInputs(1));
        }
        catch (GraphException e)
        {
            throw new InvalidRequestException("size", $"the network does not take {Width}x{Height}: {e.Message}");
        }
    }
}
