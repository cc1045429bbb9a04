namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>Models to compare with the float model they were made from.</summary>
public sealed record ComparisonRequest
{
    /// <summary>Folders of quantized models, at least one.</summary>
    public required IReadOnlyList<string> Models { get; init; }

    /// <summary>The float model's folder.</summary>
    public required string Reference { get; init; }

    /// <summary>Folder where what was drawn and judged is kept, to be continued or extended; made if it is missing.</summary>
    public required string Cache { get; init; }

    /// <summary>A classifier's folder: adds label accuracy and Fréchet distances.</summary>
    public string? Classifier { get; init; }

    /// <summary>What to draw.</summary>
    public EvaluationOptions Drawing { get; init; } = new(SheetImages: 10, Trajectories: 1024);

    /// <summary>Whether everything is drawn again, whatever the cache holds.</summary>
    public bool Fresh { get; init; }

    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }
}

/// <summary>How far a comparison is.</summary>
/// <param name="Fraction">Share of all models, 0 to 1.</param>
/// <param name="Model">The model that is being drawn.</param>
public readonly record struct ComparisonProgress(double Fraction, string Model);
