using System.Text.Json.Nodes;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Pipelines;

/// <summary>A loaded model: its networks, its scheduler's configuration and the threads they run on. Pipelines share it by counting references.</summary>
internal sealed class DiffusionModel : IDisposable
{
    // Compiled networks kept per component: a full and a last batch of two sizes of image.
    private const int MostIdle = 4;

    // What pipelines know to tell a network.
    private static readonly string[] s_knownInputs =
        ["sample", "timestep", "class_labels", "encoder_hidden_states", "encoder_attention_mask", "timestep_cond", "text_embeds", "time_ids", "resolution", "aspect_ratio"];

    private readonly List<IDisposable> _parts = [];
    private int _references = 1;

    private DiffusionModel(ModelFolder folder, PipelineOptions options)
    {
        try
        {
            Options = options;
            Class = PipelineClass.Of(folder);
            string denoiser = NetworkFolder.DenoiserOf(folder);
            string? autoencoder = Class.Autoencoder(folder);
            JsonConfig scheduler = folder.OpenConfig("scheduler");
            Scheduler = new SchedulerConfig(JsonObject.Create(scheduler.Root) ?? [], scheduler.File);
            Pool = Owned(new WorkerPool(options.Threads ?? Environment.ProcessorCount));
            Device = ComputeDevice.Open(options.Device, out string reason, options.OpenCl);
            if (Device is not null)
            {
                _parts.Add(Device);
                Device.MeasuresTiles = options.MeasureDevice;
                Device.OutOfOrder = options.DeviceOutOfOrder;
            }

            Placement = new PipelinePlacement(Device?.ToString() ?? ComputeDevice.Processor, reason);

            // Under a budget what is kept for the next call must be counted: one network each.
            int mostIdle = options.MemoryBudget is null ? MostIdle : 1;
            Denoiser = Owned(new ModelComponent(folder, denoiser, Class.Networks, Pool, mostIdle, Device, options.DeviceFloat));
            if (autoencoder is not null)
                Autoencoder = Owned(new LatentAutoencoder(new ModelComponent(folder, autoencoder, [nameof(AutoencoderKL), nameof(VQModel)], Pool, mostIdle, Device)));
            IReadOnlyDictionary<string, TensorShape> inputs = Denoiser.Network.NativeInputs(1);
            CheckInputs(inputs);
            if (Denoiser.Correction is { } correction && correction.Channels != inputs["sample"].Channels)
                throw new ModelFormatException(Path.Combine(folder.Path, denoiser, PredictionCorrectionFile.Name), "channels", $"expected the network's {inputs["sample"].Channels}, found {correction.Channels}");
            if (Class.Text is TextSource.Clip or TextSource.ClipPair && folder.Components.ContainsKey("text_encoder"))
                Text = Owned(new PromptEncoder(folder, Class.Text, inputs["encoder_hidden_states"].Channels, inputs.TryGetValue("text_embeds", out TensorShape? pooled) ? pooled.Channels : 0, Pool, mostIdle, Device));
            ZerosForNoPrompt = Class.Text == TextSource.ClipPair && folder.Index.GetBool("force_zeros_for_empty_prompt", true);
            Description = Describe(folder);
        }
        catch
        {
            DisposeParts();
            throw;
        }
    }

    /// <summary>How it runs.</summary>
    public PipelineOptions Options { get; }

    /// <summary>The pipeline's class.</summary>
    public PipelineClass Class { get; }

    /// <summary>What the folder says.</summary>
    public ModelDescription Description { get; }

    /// <summary>The scheduler's configuration.</summary>
    public SchedulerConfig Scheduler { get; }

    /// <summary>Threads.</summary>
    public WorkerPool Pool { get; }

    /// <summary>Where the networks run; null for the processor.</summary>
    public ComputeDevice? Device { get; }

    /// <summary>The same in words, with the reason.</summary>
    public PipelinePlacement Placement { get; private set; }

    /// <summary>The denoising network.</summary>
    public ModelComponent Denoiser { get; }

    /// <summary>The autoencoder; null for a model that draws pixels.</summary>
    public LatentAutoencoder? Autoencoder { get; }

    /// <summary>The text encoders; null where there are none.</summary>
    public PromptEncoder? Text { get; }

    /// <summary>Whether an empty negative prompt is zeros.</summary>
    public bool ZerosForNoPrompt { get; }

    /// <summary>Whether a predicted variance is dropped: diffusers' transformers predict one that their samplers do not use.</summary>
    public bool DropsVariance => Denoiser.Network is DiTTransformer2DModel or PixArtTransformer2DModel;

    /// <summary>All networks.</summary>
    public IEnumerable<ModelComponent> Components =>
        [Denoiser, .. Autoencoder is null ? (ModelComponent[])[] : [Autoencoder.Component], .. Text?.Encoders.Select(encoder => encoder.Component) ?? []];

    /// <summary>Bytes of packed weights.</summary>
    public long WeightBytes => Components.Sum(component => component.WeightBytes);

    /// <summary>Reads what a folder says, and no weights.</summary>
    public static DiffusionModel Open(string path, PipelineOptions options) => new(ModelFolder.Open(path), options);

    /// <summary>Opens a folder, checks the memory budget, and packs the weights. A device that was found, not asked for, and then fails gives way to the processor.</summary>
    public static DiffusionModel Load(string path, PipelineOptions options, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        try
        {
            return LoadAsAsked(path, options, progress, cancellationToken);
        }
        catch (DeviceException e) when (options.Device == ComputeDevice.Automatic)
        {
            DiffusionModel model = LoadAsAsked(path, options with { Device = ComputeDevice.Processor }, progress, cancellationToken);
            model.Placement = new PipelinePlacement(ComputeDevice.Processor, e.Message);
            return model;
        }
    }

    private static DiffusionModel LoadAsAsked(string path, PipelineOptions options, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        DiffusionModel model = Open(path, options);
        try
        {
            MemoryPlan plan = model.PlanFullBatch();
            List<Action<IProgress<double>>> loads = [one => model.Denoiser.Load(model.Denoiser.Network.NativeInputs(1), null, one, cancellationToken)];
            if (model.Autoencoder is { } autoencoder) loads.Add(one => autoencoder.Component.Load(autoencoder.Network.NativeInputs(1), LatentAutoencoder.DecodedOutputs, one, cancellationToken));
            if (plan.KeepsTextEncoders)
                loads.AddRange(model.Text?.Encoders.Select(encoder => (Action<IProgress<double>>)(one => encoder.Component.Load(encoder.Inputs, encoder.Outputs, one, cancellationToken))) ?? []);
            for (int i = 0; i < loads.Count; i++) loads[i](new PartialProgress(progress, (double)i / loads.Count, 1.0 / loads.Count));
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>How a full batch of the model's own size is drawn with guidance, within the budget.</summary>
    public MemoryPlan PlanFullBatch()
    {
        ModelDescription d = Description;
        return MemoryPlan.Choose(this, new DrawingShape
        {
            Images = Math.Max(Options.MaxBatch, 1),
            Guided = d.NullLabel is not null || d.TakesText,
            Calls = d.DefaultSteps,
            Inputs = batch => NativeInputs(batch, Text?.Tokens),
            ImageHeight = d.Height,
            ImageWidth = d.Width,
            EncodesText = Text is not null,
            EncodesImage = false,
        });
    }

    /// <summary>Shapes of the denoising network's inputs at the model's own size.</summary>
    /// <param name="batch">Images.</param>
    /// <param name="tokens">Tokens of a text; null for as many as the network's kind usually has.</param>
    public Dictionary<string, TensorShape> NativeInputs(int batch, int? tokens)
    {
        Dictionary<string, TensorShape> inputs = new(Denoiser.Network.NativeInputs(batch));
        if (tokens is { } count && inputs.TryGetValue("encoder_hidden_states", out TensorShape? text)) inputs["encoder_hidden_states"] = text.With(1, count);
        return inputs;
    }

    /// <summary>Keeps the model alive until the result is disposed.</summary>
    public DiffusionModel AddReference()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _references) == 0, this);
        Interlocked.Increment(ref _references);
        return this;
    }

    /// <summary>Lets one reference go; the last frees everything.</summary>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _references) == 0) DisposeParts();
    }

    private T Owned<T>(T part) where T : IDisposable
    {
        _parts.Add(part);
        return part;
    }

    private void DisposeParts()
    {
        // Networks before the threads they run on.
        for (int i = _parts.Count - 1; i >= 0; i--) _parts[i].Dispose();
        _parts.Clear();
    }

    private void CheckInputs(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        if (inputs.Keys.Except(s_knownInputs).FirstOrDefault() is { } unknown)
            throw new ModelFormatException(Denoiser.File, unknown, $"the network needs an input that no pipeline has; known are {string.Join(", ", s_knownInputs)}");
        if (inputs.ContainsKey("class_labels") && (Denoiser.Network.ClassLabels == 0 || Class.Text != TextSource.None))
            throw new ModelFormatException(Denoiser.File, "class_labels", $"a {Class.Name} has no labels of this kind");
        bool takesText = inputs.ContainsKey("encoder_hidden_states");
        if (takesText != (Class.Text != TextSource.None)) throw new ModelFormatException(Denoiser.File, "encoder_hidden_states", $"a {Class.Name} {(takesText ? "takes no text" : "takes text")}");
        if (inputs.ContainsKey("text_embeds") && Class.Text != TextSource.ClipPair) throw new ModelFormatException(Denoiser.File, "text_embeds", $"a {Class.Name} has no pooled text, expected a StableDiffusionXLPipeline");
        if (Autoencoder is { } autoencoder && inputs["sample"].Channels != autoencoder.Network.LatentChannels)
            throw new ModelFormatException(Denoiser.File, "in_channels", $"expected the {autoencoder.Network.LatentChannels} channels of the {autoencoder.Component.Name}'s latents, found {inputs["sample"].Channels}");
    }

    private ModelDescription Describe(ModelFolder folder)
    {
        INetwork network = Denoiser.Network;
        TensorShape sample = network.NativeInputs(1)["sample"];
        int labels = network.ClassLabels, factor = Autoencoder?.Network.Factor ?? 1, channels = Autoencoder?.Network.ImageChannels ?? sample.Channels;
        if (channels is not (1 or 3 or 4)) throw new ModelFormatException(Denoiser.File, null, $"expected images of 1, 3 or 4 channels, found {channels}");

        // A DiT's table has a null label at its end, which its folder does not mention.
        int? nullLabel = folder.NullLabel ?? (network is DiTTransformer2DModel ? labels - 1 : null);
        if (nullLabel is { } none && none >= labels)
            throw new ModelFormatException(folder.Path, "null_label", $"expected a label below {labels}, the network's class embeddings, found {none}");
        return new ModelDescription
        {
            Folder = folder.Path,
            PipelineClass = Class.Name,
            NetworkClass = network.ClassName,
            Channels = channels,
            Height = sample[2] * factor,
            Width = sample[3] * factor,
            SizeMultiple = factor,
            DrawsLatents = Autoencoder is not null,
            TakesText = Class.Text != TextSource.None,
            HasTextEncoder = Text is not null,
            // The null label is the last one: it is never asked for by name.
            LabelCount = nullLabel is { } last && last == labels - 1 ? labels - 1 : labels,
            LabelNames = folder.Labels,
            NullLabel = nullLabel,
            DefaultSteps = folder.DefaultSteps ?? Math.Min(Class.Steps, Scheduler.TrainSteps),
            DefaultGuidanceScale = folder.DefaultGuidanceScale ?? Class.GuidanceScale,
            QuantizationMethod = Denoiser.QuantizationMethod,
        };
    }
}
