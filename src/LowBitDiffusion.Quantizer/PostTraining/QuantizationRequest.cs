using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>A model folder to quantize and what to make of it. What is null is the model's own default.</summary>
public sealed record QuantizationRequest
{
    /// <summary>The float model's folder.</summary>
    public required string Model { get; init; }

    /// <summary>The folder to write.</summary>
    public required string Output { get; init; }

    /// <summary>Bits of weights that no rule names, 2 to 8.</summary>
    public int WeightBits { get; init; } = 4;

    /// <summary>Bits of activations that no rule names, 2 to 8.</summary>
    public int ActivationBits { get; init; } = 8;

    /// <summary>Rules before the default ones.</summary>
    public IReadOnlyList<PrecisionRule> Rules { get; init; } = [];

    /// <summary>Steps of the calibration trajectories: as many timesteps get scales of their own.</summary>
    public int? Steps { get; init; }

    /// <summary>Guidance scale of the calibration trajectories.</summary>
    public float? GuidanceScale { get; init; }

    /// <summary>What the calibration trajectories show where the model takes text; null for <see cref="PromptList.Default"/>.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>The same, encoded elsewhere; needed where the model's text encoder is not part of this library.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>Rows of pixels of the calibration trajectories.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of pixels of the calibration trajectories.</summary>
    public int? Width { get; init; }

    /// <summary>Calibration trajectories; null for 64, of a model that draws latents 8.</summary>
    public int? Images { get; init; }

    /// <summary>Pictures drawn at once; with guidance the network sees twice as many. Null for 8, of a model that draws latents 1.</summary>
    public int? Batch { get; init; }

    /// <summary>Seed of the first picture.</summary>
    public ulong Seed { get; init; }

    /// <summary>How activation ranges are chosen.</summary>
    public RangeMethod ActivationRange { get; init; } = RangeMethod.Mse;

    /// <summary>How weight ranges are chosen.</summary>
    public RangeMethod WeightRange { get; init; } = RangeMethod.Mse;

    /// <summary>Which concatenated inputs get a quantizer for each half.</summary>
    public SplitInputs Split { get; init; } = SplitInputs.Concatenations;

    /// <summary>Whether weights of fewer than 8 bits are symmetric, too.</summary>
    public bool SymmetricWeights { get; init; }

    /// <summary>Input channels that share a weight scale; 0 for one scale per output channel.</summary>
    public int GroupChannels { get; init; }

    /// <summary>How attentions are computed.</summary>
    public AttentionPrecision Attention { get; init; }

    /// <summary>How tensors that are not quantized are stored: F32, F16 or BF16.</summary>
    public DType FloatType { get; init; } = DType.F32;

    /// <summary>Pictures behind the quality report's activations and trajectory; 0 for weights alone, null for 8, of a model that draws latents 2.</summary>
    public int? ReportImages { get; init; }

    /// <summary>Whether an output folder that exists is replaced.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }

    /// <summary>The request with the model's defaults filled in.</summary>
    /// <exception cref="InvalidRequestException">A value is out of range.</exception>
    public PostTrainingOptions ToOptions(SourceModel model)
    {
        Precision standard = Precision.Parse($"w{WeightBits}a{ActivationBits}");
        if (Batch < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {Batch}");
        if (ReportImages < 0) throw new InvalidRequestException("report images", $"expected 0 or more, found {ReportImages}");
        if (GroupChannels < 0) throw new InvalidRequestException("group channels", $"expected 0 or more, found {GroupChannels}");
        if (FloatType is not (DType.F32 or DType.F16 or DType.BF16)) throw new InvalidRequestException("float type", $"expected F32, F16 or BF16, found {FloatType}");
        SamplingSettings settings = SamplingSettings.For(model);
        settings = new SamplingSettings(Steps ?? settings.Steps, GuidanceScale ?? settings.GuidanceScale) { Prompts = Prompts, PromptEmbeddings = PromptEmbeddings, Height = Height, Width = Width };
        // Latent models are large: a step of theirs takes seconds.
        (int images, int batch, int reportImages) = model.DrawsLatents ? (8, 1, 2) : (64, 8, 8);
        return new PostTrainingOptions
        {
            Rules = new PrecisionRules(standard, Rules),
            Standard = standard,
            Calibration = new CalibrationOptions(settings, Images ?? images, Batch ?? batch, Seed, ActivationRange, Split),
            WeightRange = WeightRange,
            SymmetricWeights = SymmetricWeights,
            GroupChannels = GroupChannels,
            Attention = Attention,
            FloatType = FloatType,
            ReportImages = ReportImages ?? reportImages,
            Overwrite = Overwrite,
        };
    }
}
