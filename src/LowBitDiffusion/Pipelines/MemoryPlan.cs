using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Pipelines;

/// <summary>What memory depends on in a request.</summary>
internal sealed record DrawingShape
{
    /// <summary>Images that could be drawn at once.</summary>
    public required int Images { get; init; }

    /// <summary>Whether the network sees every image twice.</summary>
    public required bool Guided { get; init; }

    /// <summary>Calls of the network.</summary>
    public required int Calls { get; init; }

    /// <summary>Shapes of the network's inputs for a batch.</summary>
    public required Func<int, IReadOnlyDictionary<string, TensorShape>> Inputs { get; init; }

    /// <summary>Rows of an image.</summary>
    public required int ImageHeight { get; init; }

    /// <summary>Columns of an image.</summary>
    public required int ImageWidth { get; init; }

    /// <summary>Whether prompts are encoded.</summary>
    public required bool EncodesText { get; init; }

    /// <summary>Whether an image is encoded.</summary>
    public required bool EncodesImage { get; init; }
}

/// <summary>How a request is drawn so that it fits the memory budget.</summary>
internal sealed record MemoryPlan
{
    // Smaller ones differ too much from the whole.
    private const int MinTileSize = 16;

    /// <summary>Images in a batch.</summary>
    public required int Batch { get; init; }

    /// <summary>Whether guidance takes two passes.</summary>
    public required bool TwoPasses { get; init; }

    /// <summary>Whether activations stay for the next request.</summary>
    public required bool KeepsActivations { get; init; }

    /// <summary>Whether the text encoders' weights stay.</summary>
    public required bool KeepsTextEncoders { get; init; }

    /// <summary>Tiles that latents are decoded in, or null.</summary>
    public required DecodeTiling? Tiling { get; init; }

    /// <summary>What it takes.</summary>
    public required MemoryEstimate Estimate { get; init; }

    /// <summary>What stays of a network that each request needs.</summary>
    public Keep Keep => KeepsActivations ? Keep.Everything : Keep.Weights;

    /// <summary>What stays of a text encoder.</summary>
    public Keep KeepText => KeepsTextEncoders ? Keep : Keep.Nothing;

    /// <summary>
    /// Chooses the way that costs the least time. Stages come one after the other, so where activations do not stay, each stage fits by itself:
    /// <code>
    /// everything kept                   weights + all activations
    /// activations freed                 weights + max(encoding, sampling, decoding)    batch cut, then two passes; tiles
    /// text encoders freed as well       … without the text encoders' weights while sampling and decoding
    /// </code>
    /// </summary>
    /// <exception cref="MemoryBudgetException">No way fits the budget.</exception>
    public static MemoryPlan Choose(DiffusionModel model, DrawingShape shape)
    {
        DecodeTiling? asked = model.Options.DecodeTiling;
        Stages stages = new(model, shape);
        MemoryEstimate everything = stages.Everything(shape.Images, asked);
        if (model.Options.MemoryBudget is not { } budget || everything.Total <= budget)
            return new MemoryPlan { Batch = shape.Images, TwoPasses = false, KeepsActivations = true, KeepsTextEncoders = true, Tiling = asked, Estimate = everything };

        MemoryPlan? least = null;
        foreach (bool keepsText in shape.EncodesText ? (bool[])[true, false] : [true])
        {
            long weights = stages.Weights(keepsText);
            (int Batch, bool TwoPasses) sampling = First(Samplings(shape), way => weights + stages.Sampling(way.Batch, way.TwoPasses) <= budget);
            DecodeTiling? tiling = First(Tilings(model, shape, asked), way => weights + stages.Decoding(way) <= budget);
            long activations = Math.Max(Math.Max(stages.Sampling(sampling.Batch, sampling.TwoPasses), stages.Decoding(tiling)), stages.Encoding(keepsText));
            least = new MemoryPlan
            {
                Batch = sampling.Batch,
                TwoPasses = sampling.TwoPasses,
                KeepsActivations = false,
                KeepsTextEncoders = keepsText,
                Tiling = tiling,
                Estimate = stages.Placed([.. stages.WeightParts(keepsText), ("activations", activations)]),
            };
            if (least.Estimate.Total <= budget) return least;
        }

        throw new MemoryBudgetException(budget, least!.Estimate);
    }

    private static IEnumerable<(int Batch, bool TwoPasses)> Samplings(DrawingShape shape)
    {
        for (int batch = shape.Images; batch > 0; batch /= 2) yield return (batch, false);
        if (shape.Guided) yield return (1, true);
    }

    private static IEnumerable<DecodeTiling?> Tilings(DiffusionModel model, DrawingShape shape, DecodeTiling? asked)
    {
        yield return asked;
        if (asked is not null || model.Autoencoder is not { } autoencoder) yield break;
        int longest = Math.Max(shape.ImageHeight, shape.ImageWidth) / autoencoder.Network.Factor;
        for (int tiles = 2; DecodeTiling.Into(tiles, longest) is { Size: >= MinTileSize } tiling; tiles++) yield return tiling;
    }

    // The last way is the thriftiest: it is what an error tells of.
    private static T First<T>(IEnumerable<T> ways, Func<T, bool> fits)
    {
        T last = default!;
        foreach (T way in ways)
        {
            last = way;
            if (fits(way)) break;
        }

        return last;
    }

    /// <summary>Bytes of each stage.</summary>
    private sealed class Stages(DiffusionModel model, DrawingShape shape)
    {
        private readonly long _network = model.Denoiser.Estimate(shape.Inputs(1)).Weights;
        private readonly PlanMemory _imageEncoder = shape.EncodesImage && model.Autoencoder is { } autoencoder
            ? autoencoder.Component.Estimate(autoencoder.EncoderInputs(shape.ImageHeight, shape.ImageWidth), autoencoder.Network.EncodedOutputs)
            : default;
        private readonly (string Name, PlanMemory Memory)[] _text = shape.EncodesText && model.Text is { } text
            ? [.. text.Encoders.Select(encoder => (encoder.Component.Name, encoder.Component.Estimate(encoder.Inputs, encoder.Outputs)))]
            : [];

        public MemoryEstimate Everything(int batch, DecodeTiling? tiling) => Placed(
        [
            .. WeightParts(keepsText: true),
            ($"{model.Denoiser.Name} activations", Sampling(batch, twoPasses: false)),
            .. model.Autoencoder is { } autoencoder ? ((string, long)[])[($"{autoencoder.Component.Name} activations", Decoding(tiling) + _imageEncoder.Activations(1))] : [],
            .. _text.Select(one => ($"{one.Name} activations", one.Memory.Activations(1))),
        ]);

        /// <summary>Parts with the device that holds them; what the host keeps of a network on a device is counted with it.</summary>
        public MemoryEstimate Placed(IReadOnlyList<(string Part, long Bytes)> parts) =>
            new(model.Device is { } device ? [.. parts.Select(part => ($"{part.Part} on {device.Name}", part.Bytes))] : parts);

        public (string, long)[] WeightParts(bool keepsText) =>
        [
            ($"{model.Denoiser.Name} weights", _network),
            .. model.Autoencoder is { } autoencoder ? ((string, long)[])[($"{autoencoder.Component.Name} weights", Decoder(null).Weights + _imageEncoder.Weights)] : [],
            .. keepsText ? _text.Select(one => ($"{one.Name} weights", one.Memory.Weights)) : [],
        ];

        public long Weights(bool keepsText) => WeightParts(keepsText).Sum(part => part.Item2);

        public long Sampling(int batch, bool twoPasses)
        {
            PlanMemory memory = model.Denoiser.Estimate(shape.Inputs(shape.Guided && !twoPasses ? 2 * batch : batch));
            return memory.Activations(shape.Calls) + (twoPasses ? memory.Kept(shape.Calls) : 0);
        }

        public long Decoding(DecodeTiling? tiling) => model.Autoencoder is null ? 0 : Decoder(tiling).Activations(1);

        // Freed text encoders are read one after the other, each for its turn.
        public long Encoding(bool keepsText) => Math.Max(
            _imageEncoder.Activations(1),
            _text.Select(one => one.Memory.Activations(1) + (keepsText ? 0 : one.Memory.Weights)).DefaultIfEmpty().Max());

        private PlanMemory Decoder(DecodeTiling? tiling)
        {
            LatentAutoencoder autoencoder = model.Autoencoder!;
            int factor = autoencoder.Network.Factor;
            return autoencoder.Component.Estimate(autoencoder.DecoderInputs(shape.ImageHeight / factor, shape.ImageWidth / factor, tiling), LatentAutoencoder.DecodedOutputs);
        }
    }
}
