using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Pipelines;

/// <summary>A drawn image and what it takes to draw it again.</summary>
/// <param name="Image">8-bit pixels.</param>
/// <param name="Sample">The same in floats, <c>[C, H, W]</c>, about −1 to 1, as the sampler left it.</param>
/// <param name="Label">Its label, or null.</param>
/// <param name="Seed">Its seed.</param>
public sealed record GeneratedImage(Image Image, float[] Sample, int? Label, ulong Seed);

/// <summary>One step of a request in progress.</summary>
/// <param name="Progress">How far the request is.</param>
/// <param name="Timestep">The timestep just done.</param>
/// <param name="Previews">What the images would be if the sampler stopped here, or empty where no previews were asked for.</param>
/// <param name="Finished">The batch's images, after its last step; else empty.</param>
public sealed record GenerationUpdate(GenerationProgress Progress, float Timestep, IReadOnlyList<Image> Previews, IReadOnlyList<GeneratedImage> Finished);
