namespace LowBitDiffusion.Pipelines;

/// <summary>What a model folder says of its model.</summary>
public sealed record ModelDescription
{
    /// <summary>The folder.</summary>
    public required string Folder { get; init; }

    /// <summary>diffusers' class of the pipeline.</summary>
    public required string PipelineClass { get; init; }

    /// <summary>diffusers' class of the denoising network.</summary>
    public required string NetworkClass { get; init; }

    /// <summary>Channels of an image: 1 grey, 3 RGB.</summary>
    public required int Channels { get; init; }

    /// <summary>Rows of an image if a request does not say.</summary>
    public required int Height { get; init; }

    /// <summary>Columns of an image if a request does not say.</summary>
    public required int Width { get; init; }

    /// <summary>What rows and columns must be multiples of.</summary>
    public required int SizeMultiple { get; init; }

    /// <summary>Whether images are drawn in the latent space of an autoencoder.</summary>
    public required bool DrawsLatents { get; init; }

    /// <summary>Whether images are drawn after a text.</summary>
    public required bool TakesText { get; init; }

    /// <summary>Whether the folder has the text encoders that prompts need; without them text comes as <see cref="PromptEmbeddings"/>.</summary>
    public required bool HasTextEncoder { get; init; }

    /// <summary>Labels that can be asked for: 0 … LabelCount − 1; 0 for an unconditional model.</summary>
    public required int LabelCount { get; init; }

    /// <summary>Names of labels, as far as the model has them.</summary>
    public required IReadOnlyDictionary<int, string> LabelNames { get; init; }

    /// <summary>The label that means "no label", for guidance; null if there is none.</summary>
    public required int? NullLabel { get; init; }

    /// <summary>Sampler steps if a request does not say.</summary>
    public required int DefaultSteps { get; init; }

    /// <summary>Guidance scale if a request does not say.</summary>
    public required float DefaultGuidanceScale { get; init; }

    /// <summary>How the network was quantized, or null for a float model.</summary>
    public required string? QuantizationMethod { get; init; }
}
