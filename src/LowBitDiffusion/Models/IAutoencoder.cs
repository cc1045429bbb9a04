using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>
/// A network between images and the latents that a diffusion works on: <c>image</c> <c>[N, C, H, W]</c> to <see cref="EncodedOutputs"/>, <c>latent</c> <c>[N, c, H/f, W/f]</c> to <c>decoded</c>.
/// </summary>
public interface IAutoencoder : INetwork
{
    /// <summary>What a pipeline does outside the network: a diffusion's latent is <c>(encoded − ShiftFactor)·ScalingFactor</c>.</summary>
    float ScalingFactor { get; }

    /// <summary>See <see cref="ScalingFactor"/>.</summary>
    float ShiftFactor { get; }

    /// <summary>Channels of the latent.</summary>
    int LatentChannels { get; }

    /// <summary>Channels of the image.</summary>
    int ImageChannels { get; }

    /// <summary>Rows (and columns) of the image for each of the latent.</summary>
    int Factor { get; }

    /// <summary>What encoding gives: the encoded image, or mean and standard deviation of a normal distribution of it.</summary>
    IReadOnlyList<string> EncodedOutputs { get; }

    /// <summary>Channels of the image that is encoded.</summary>
    int EncodedChannels { get; }

    /// <inheritdoc/>
    IReadOnlyList<string> INetwork.MainOutputs => [EncodedOutputs[0], "decoded"];

    /// <inheritdoc/>
    IReadOnlyDictionary<string, TensorShape> INetwork.WholeInputs(int batch)
    {
        TensorShape latent = NativeInputs(batch)["latent"];
        return new Dictionary<string, TensorShape> { ["image"] = new(batch, EncodedChannels, latent[2] * Factor, latent[3] * Factor), ["latent"] = latent };
    }
}
