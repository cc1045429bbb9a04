using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>A model folder to quantize and what to make of it. What is null is the model's own default.</summary>
public sealed record QuantizationRequest
{
    /// <summary>The model's folder, or that of an autoencoder or a text encoder alone. The network that is quantized must be float, the others of the folder stay as they are.</summary>
    public required string Model { get; init; }

    /// <summary>Name of the network in the folder: <c>vae</c>, <c>text_encoder</c>; null for the denoiser.</summary>
    public string? Component { get; init; }

    /// <summary>The folder to write.</summary>
    public required string Output { get; init; }

    /// <summary>How the integers are found (<see cref="QuantizationMethods"/>).</summary>
    public string Method { get; init; } = "mse";

    /// <summary>Ingredients of the method that are left out.</summary>
    public IReadOnlyList<string> Without { get; init; } = [];

    /// <summary>Time that a method may learn for: its iterations are scaled to it, never beyond the paper's; null for all of the paper's.</summary>
    public TimeSpan? Budget { get; init; } = TimeSpan.FromMinutes(20);

    /// <summary>Iterations in place of those that budget and paper give.</summary>
    public int? Iterations { get; init; }

    /// <summary>Points of trajectories that a method learns from; null for the paper's number, or what the budget allows of it.</summary>
    public int? Samples { get; init; }

    /// <summary>Whether a stopped run is taken up where it ended; without one, a run begins.</summary>
    public bool Resume { get; init; }

    /// <summary>Bits of weights that no rule names, 2 to 8.</summary>
    public int WeightBits { get; init; } = 4;

    /// <summary>Bits of activations that no rule names, 2 to 8.</summary>
    public int ActivationBits { get; init; } = 8;

    /// <summary>Rules before the default ones.</summary>
    public IReadOnlyList<PrecisionRule> Rules { get; init; } = [];

    /// <summary>Steps of the calibration trajectories: as many timesteps get scales of their own. An autoencoder's latents are drawn in as many; null for 10 at most.</summary>
    public int? Steps { get; init; }

    /// <summary>Steps of the trajectories that a method learns along, if not those of the calibration; scales are then learned for these timesteps and interpolated for the others.</summary>
    public int? TrainingSteps { get; init; }

    /// <summary>Guidance scale of the calibration trajectories.</summary>
    public float? GuidanceScale { get; init; }

    /// <summary>What the calibration trajectories show where the model takes text, and what a text encoder reads, with the empty prompt beside them; null for <see cref="Sampling.PromptList.Default"/>.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>The same, encoded elsewhere; needed where the model's text encoder is not part of this library.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>Rows of pixels of the calibration trajectories.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of pixels of the calibration trajectories.</summary>
    public int? Width { get; init; }

    /// <summary>Calibration trajectories, latents or texts; null for 64, of a model that draws latents 8, of a text encoder all texts up to 256.</summary>
    public int? Images { get; init; }

    /// <summary>Pictures drawn at once; with guidance the network sees twice as many. Null for 8, of a model that draws latents 1; of texts 8.</summary>
    public int? Batch { get; init; }

    /// <summary>Seed of the first picture.</summary>
    public ulong Seed { get; init; }

    /// <summary>How activation ranges are chosen; null as the method does.</summary>
    public RangeMethod? ActivationRange { get; init; }

    /// <summary>How weight ranges are chosen.</summary>
    public RangeMethod WeightRange { get; init; } = RangeMethod.Mse;

    /// <summary>Which concatenated inputs get a quantizer for each half; null as the method does.</summary>
    public SplitInputs? Split { get; init; }

    /// <summary>Whether weights of fewer than 8 bits are symmetric, too.</summary>
    public bool SymmetricWeights { get; init; }

    /// <summary>Input channels that share a weight scale; 0 for one scale per output channel.</summary>
    public int GroupChannels { get; init; }

    /// <summary>How attentions are computed; null to measure what integers cost and decide (<see cref="AttentionChoice"/>).</summary>
    public AttentionPrecision? Attention { get; init; } = AttentionPrecision.Float;

    /// <summary>How tensors that are not quantized are stored: F32, F16 or BF16.</summary>
    public DType FloatType { get; init; } = DType.F32;

    /// <summary>Pictures behind the quality report's activations and trajectory; 0 for weights alone, null for 8, of a model that draws latents 2, of a text encoder all texts of the calibration.</summary>
    public int? ReportImages { get; init; }

    /// <summary>Whether an output folder that exists is replaced.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }
}

/// <summary>How far quantizing is.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="Fraction">Share of the stage that is done, 0 to 1.</param>
/// <param name="Detail">Block, iteration, loss, time left, where there are any.</param>
public readonly record struct QuantizationProgress(string Stage, double Fraction, string? Detail = null);
