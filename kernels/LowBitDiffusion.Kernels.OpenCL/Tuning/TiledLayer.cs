using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;

namespace LowBitDiffusion.Kernels.OpenCL.Tuning;

/// <summary>A layer for one size of image, which may be cut into tiles of several shapes. Its result does not depend on them.</summary>
public abstract class TiledLayer
{
    private protected TiledLayer(in ConvGeometry geometry) => Walk = new ConvWalk(geometry);

    /// <summary>Shapes of padded input and output.</summary>
    public ConvGeometry Geometry => Walk.Geometry;

    /// <summary>How they walk over the image; one launch for each phase.</summary>
    private protected ConvWalk Walk { get; }

    /// <summary>The tile that was found to be the fastest; null for the device's usual one.</summary>
    public MatrixTile? Tile { get; set; }

    /// <summary>What of its weights the kernel depends on.</summary>
    internal abstract string Weights { get; }

    /// <summary>Numbers of the input for a measurement, from random ones, as they lie in memory.</summary>
    internal abstract byte[] Input(Random random, ValueStorage storage);

    /// <summary>Whether the kernel of a choice has tiles of several shapes.</summary>
    internal virtual bool HasTiles(KernelChoice choice) => true;

    /// <summary>The tile that a device uses unless another was found faster.</summary>
    internal abstract MatrixTile Usual(KernelChoice choice);

    /// <summary>Hands the layer over.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="choice">Variant, and the usual tile.</param>
    /// <param name="input">Codes or values <c>[batch, stored height, stored width, channels]</c> with their border, at a multiple of 4 bytes; 3 bytes behind the end may be read.</param>
    /// <param name="quantizer">Of the input's quantizers: 1/d of each, d of each, z of each; not used by a layer in floats.</param>
    /// <param name="epilogue">What happens to the sums.</param>
    public abstract void Enqueue(DeviceQueue queue, KernelChoice choice, DeviceSlice input, DeviceSlice quantizer, in MatrixEpilogue epilogue);
}
