using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Pipelines;

/// <summary>How a pipeline runs.</summary>
public sealed record PipelineOptions
{
    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }

    /// <summary>
    /// Most bytes that weights and activations of one request at a time may take, or null for no limit. Where it is short, activations are freed between encoding, sampling and decoding,
    /// batches are cut, guidance takes two passes, text encoders are freed after encoding and read again for the next request, and latents are decoded in tiles, in this order as far as
    /// needed. A model that needs more even so is refused before its weights are read.
    /// </summary>
    public long? MemoryBudget { get; init; }

    /// <summary>Most images that go through the network at once; more are drawn in turns. An image does not depend on the batch it is drawn in.</summary>
    public int MaxBatch { get; init; } = 8;

    /// <summary>Tiles in which latents are decoded; null for whole latents unless the memory budget asks for tiles.</summary>
    public DecodeTiling? DecodeTiling { get; init; }

    /// <summary>
    /// Where networks run: <c>cpu</c>; <c>opencl:N</c>, <c>opencl</c> for the first; or <c>auto</c> for a graphics processor if there is one that works and has the memory, else the processor.
    /// A memory budget counts what a device holds as well.
    /// </summary>
    public string Device { get; init; } = ComputeDevice.Processor;

    /// <summary>
    /// How a device keeps the denoising network's values between kernels. Text encoders and autoencoders, whose values leave float16's range in published models, keep single precision.
    /// </summary>
    public DeviceFloat DeviceFloat { get; init; }

    /// <summary>
    /// Whether a device may run steps of a network beside each other that need nothing of each other. Pictures do not depend on it; what it gains has not been measured on a graphics processor.
    /// </summary>
    public bool DeviceOutOfOrder { get; init; }

    /// <summary>
    /// Whether a device that meets a layer of some shape for the first time measures how it computes it fastest, which makes the first load longer; what was found is kept for later processes. Pictures do
    /// not depend on it.
    /// </summary>
    public bool MeasureDevice { get; init; } = true;

    /// <summary>The OpenCL that has the devices; null for the system's own.</summary>
    internal IOpenCl? OpenCl { get; init; }

    /// <summary>Bytes of <paramref name="count"/> gibibytes, for <see cref="MemoryBudget"/>.</summary>
    public static long GiB(double count) => (long)(count * (1L << 30));
}
