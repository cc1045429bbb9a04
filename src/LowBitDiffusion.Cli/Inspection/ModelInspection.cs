using System.Globalization;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>What a network is made of and what it costs, from its files alone: weights are not read.</summary>
internal sealed record ModelInspection
{
    /// <summary>The folder.</summary>
    public required string Folder { get; init; }

    /// <summary>The network's class.</summary>
    public required string Network { get; init; }

    /// <summary>How it was quantized, or null for a float network.</summary>
    public required string? Method { get; init; }

    /// <summary>Correction of what it predicts; null if there is none.</summary>
    public required CorrectionInspection? Correction { get; init; }

    /// <summary>How attentions are computed.</summary>
    public required AttentionPrecision Attention { get; init; }

    /// <summary>Shape of an image <c>[C, H, W]</c>, or of whatever the network's first input is.</summary>
    public required IReadOnlyList<int> Sample { get; init; }

    /// <summary>Parameters of the network.</summary>
    public required long Parameters { get; init; }

    /// <summary>Convolutions and linear layers, in the network's order.</summary>
    public required IReadOnlyList<ModuleInspection> Modules { get; init; }

    /// <summary>Bytes of norms, tables and other parameters of modules that are not in <see cref="Modules"/>, in single precision and in the file.</summary>
    public required (long Float, long Stored) OtherBytes { get; init; }

    /// <summary>Its arithmetic for one image.</summary>
    public required NetworkCost Cost { get; init; }

    /// <summary>Bytes in single precision.</summary>
    public long FloatBytes => Modules.Sum(m => m.FloatBytes) + OtherBytes.Float;

    /// <summary>Bytes in the file.</summary>
    public long StoredBytes => Modules.Sum(m => m.StoredBytes) + OtherBytes.Stored;

    /// <summary>Looks at an opened network.</summary>
    public static ModelInspection Of(string path, NetworkFolder folder)
    {
        IReadOnlyDictionary<string, TensorShape> inputs = folder.Network.NativeInputs(batch: 1);
        Graph graph = folder.Network.Build(folder.Network.WholeInputs(batch: 1)).Select(folder.Network.MainOutputs);
        Dictionary<string, MatrixOp> matrices = graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module).ToDictionary(op => op.Module);
        HashSet<string> counted = [.. matrices.Values.SelectMany(op => op.Parameters).Select(parameter => parameter.Name)];
        NetworkCost cost = NetworkCost.Of(graph, folder.Weights);
        Parameter[] others = [.. graph.Parameters.Where(parameter => !counted.Contains(parameter.Name))];
        return new ModelInspection
        {
            Folder = path,
            Network = folder.Network.ClassName,
            Method = folder.Component.Quantization?.Method,
            Correction = CorrectionInspection.Of(folder.Component.Correction),
            Attention = folder.Component.Quantization?.Attention ?? AttentionPrecision.Float,
            Sample = [.. (inputs.GetValueOrDefault("sample") ?? inputs.Values.First()).Skip(1)],
            Parameters = graph.Parameters.Sum(parameter => parameter.Shape.Elements),
            Modules = [.. cost.Modules.Select(module => ModuleInspection.Of(folder, matrices[module.Name], module))],
            OtherBytes = (others.Sum(parameter => parameter.Shape.Elements) * sizeof(float), others.Sum(parameter => folder.StoredBytes(parameter.Name))),
            Cost = cost,
        };
    }
}

/// <summary>What a correction of predictions does, over its timesteps.</summary>
/// <param name="Timesteps">How many there are.</param>
/// <param name="GuidanceScale">The guidance it holds for.</param>
/// <param name="Slope">Largest share of the prediction that is error.</param>
/// <param name="Bias">Largest size of a channel's bias.</param>
/// <param name="Deviation">Largest deviation of the noise that is left.</param>
internal sealed record CorrectionInspection(int Timesteps, float GuidanceScale, double Slope, double Bias, double Deviation)
{
    /// <summary>Looks at a correction.</summary>
    public static CorrectionInspection? Of(PredictionCorrection? correction) => correction is null ? null : new CorrectionInspection(
        correction.Timesteps.Length, correction.GuidanceScale, correction.Slopes.ToArray().Max(), correction.Biases.ToArray().Max(Math.Abs), correction.Deviations.ToArray().Max());

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Timesteps} timesteps, guidance {GuidanceScale}, slope up to {Slope:G3}, bias up to {Bias:G3}, noise left up to {Deviation:G3}");
}
