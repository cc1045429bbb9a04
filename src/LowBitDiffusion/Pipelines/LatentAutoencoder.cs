using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Pipelines;

/// <summary>The autoencoder of a latent model as pipelines use it: one image at a time, latents at the diffusion's scale.</summary>
internal sealed class LatentAutoencoder(ModelComponent component) : IDisposable
{
    /// <summary>Outputs of decoding.</summary>
    public static readonly IReadOnlyList<string> DecodedOutputs = ["decoded"];

    /// <summary>The component.</summary>
    public ModelComponent Component => component;

    /// <summary>The architecture.</summary>
    public IAutoencoder Network { get; } = (IAutoencoder)component.Network;

    /// <summary>Shapes for decoding a latent, or a tile of it.</summary>
    public IReadOnlyDictionary<string, TensorShape> DecoderInputs(int height, int width, DecodeTiling? tiling = null) => new Dictionary<string, TensorShape>
    {
        ["latent"] = new(1, Network.LatentChannels, new TileAxis(height, tiling, 1).Size, new TileAxis(width, tiling, 1).Size),
    };

    /// <summary>Shapes for encoding an image.</summary>
    public IReadOnlyDictionary<string, TensorShape> EncoderInputs(int height, int width) => new Dictionary<string, TensorShape> { ["image"] = new(1, Network.ImageChannels, height, width) };

    /// <summary>Gets ready to decode latents of a size.</summary>
    public LatentDecoder Decoder(int height, int width, DecodeTiling? tiling, Keep keep, CancellationToken cancellationToken) =>
        new(component.Rent(DecoderInputs(height, width, tiling), DecodedOutputs, keep, cancellationToken: cancellationToken), Network, new TileAxis(height, tiling, Network.Factor), new TileAxis(width, tiling, Network.Factor));

    /// <summary>Encodes an image <c>[C, H, W]</c>.</summary>
    public EncodedImage Encode(float[] image, int height, int width, Keep keep, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        using ModelComponent.Lease lease = component.Rent(EncoderInputs(height, width), Network.EncodedOutputs, keep, cancellationToken: cancellationToken);
        IReadOnlyDictionary<string, float[]> encoded = lease.Network.Run(new Dictionary<string, float[]> { ["image"] = image }, progress, cancellationToken);
        return new EncodedImage(encoded[Network.EncodedOutputs[0]], Network.EncodedOutputs.Count > 1 ? encoded[Network.EncodedOutputs[1]] : null, Network.ScalingFactor, Network.ShiftFactor);
    }

    /// <inheritdoc/>
    public void Dispose() => component.Dispose();
}

/// <summary>An image in the latent space: one point, or a normal distribution to draw one from.</summary>
internal sealed record EncodedImage(float[] Mean, float[]? Deviation, float ScalingFactor, float ShiftFactor)
{
    /// <summary>Whether a latent of it takes noise.</summary>
    public bool IsRandom => Deviation is not null;

    /// <summary>Draws a latent at the diffusion's scale.</summary>
    /// <param name="noise">Noise of unit variance, if <see cref="IsRandom"/>; becomes the latent.</param>
    public void Draw(Span<float> noise)
    {
        for (int i = 0; i < noise.Length; i++) noise[i] = ((Deviation is null ? Mean[i] : Mean[i] + Deviation[i] * noise[i]) - ShiftFactor) * ScalingFactor;
    }
}

/// <summary>Decodes latents of one size, whole or in tiles.</summary>
internal sealed class LatentDecoder(ModelComponent.Lease lease, IAutoencoder network, TileAxis rows, TileAxis columns) : IDisposable
{
    private readonly float[] _tile = new float[network.LatentChannels * rows.Size * columns.Size];

    // Of the whole latent.
    private int Height => rows.Starts[^1] + rows.Size;

    private int Width => columns.Starts[^1] + columns.Size;

    /// <summary>Decodes one latent <c>[c, h, w]</c> at the diffusion's scale to an image <c>[C, h·f, w·f]</c>.</summary>
    public float[] Decode(ReadOnlySpan<float> latent, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        int height = Height * network.Factor, width = Width * network.Factor, tiles = rows.Starts.Count * columns.Starts.Count, done = 0;
        if (tiles == 1) return DecodeTile(latent, 0, 0, progress, cancellationToken);
        float[] image = new float[network.ImageChannels * height * width];
        for (int row = 0; row < rows.Starts.Count; row++)
        {
            for (int column = 0; column < columns.Starts.Count; column++)
            {
                PartialProgress part = new(progress, (double)done++ / tiles, 1.0 / tiles);
                Blend(DecodeTile(latent, rows.Starts[row], columns.Starts[column], part, cancellationToken), image, height, width, row, column);
            }
        }

        return image;
    }

    /// <summary>The same as a picture. Where it takes no tiles, it is made where the network runs, and a device hands over one byte a value.</summary>
    public Image DecodeImage(ReadOnlySpan<float> latent, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        (int height, int width, int channels) = (Height * network.Factor, Width * network.Factor, network.ImageChannels);
        return rows.Starts.Count * columns.Starts.Count == 1
            ? new Image(width, height, channels, lease.Network.RunToPixels(Tile(latent, 0, 0), progress, cancellationToken))
            : Image.FromSample(Decode(latent, progress, cancellationToken), channels, height, width);
    }

    /// <inheritdoc/>
    public void Dispose() => lease.Dispose();

    private float[] DecodeTile(ReadOnlySpan<float> latent, int top, int left, IProgress<double>? progress, CancellationToken cancellationToken) =>
        lease.Network.Run(Tile(latent, top, left), progress, cancellationToken)["decoded"];

    // A tile of the latent at the autoencoder's scale.
    private Dictionary<string, float[]> Tile(ReadOnlySpan<float> latent, int top, int left)
    {
        int at = 0;
        for (int channel = 0; channel < network.LatentChannels; channel++)
        {
            for (int y = top; y < top + rows.Size; y++)
            {
                foreach (float value in latent.Slice((channel * Height + y) * Width + left, columns.Size)) _tile[at++] = value / network.ScalingFactor + network.ShiftFactor;
            }
        }

        return new Dictionary<string, float[]> { ["latent"] = _tile };
    }

    private void Blend(float[] tile, float[] image, int height, int width, int row, int column)
    {
        ReadOnlySpan<float> down = rows.Weights(row), across = columns.Weights(column);
        int top = rows.Starts[row] * network.Factor, left = columns.Starts[column] * network.Factor, from = 0;
        for (int channel = 0; channel < network.ImageChannels; channel++)
        {
            for (int y = 0; y < down.Length; y++)
            {
                Span<float> line = image.AsSpan((channel * height + top + y) * width + left, across.Length);
                for (int x = 0; x < across.Length; x++) line[x] += down[y] * across[x] * tile[from++];
            }
        }
    }
}
