using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// Convolution of unsigned 8-bit activations with signed weights of up to 8 bits; a linear layer is the 1×1 case (<see cref="ConvGeometry.Linear"/>).
/// <code>
///   S[s][m][o] = Σ q[m][k]·w[o][k]   over the channels of segment s and all kernel positions, in int32, exact
///   W[s][o]    = Σ w[o][k]
///   y[m][o]    = epilogue( Σ over s of float(S − z[s]·W) · (d[s]·dw[s][o]) )
/// </code>
/// Exact for all codes q 0 … 255, w −127 … 127 and segments of up to <see cref="MaxDepth"/> terms; the float steps are those of
/// <see cref="ConvEpilogue"/>, each rounded, so every kernel gives the same bits for any number of threads.
/// </summary>
public abstract unsafe class QuantizedConvKernel
{
    /// <summary>Longest sum of a segment that cannot overflow: ⌊(2³¹ − 1)/(255·127)⌋.</summary>
    public const int MaxDepth = int.MaxValue / (255 * 127);

    /// <summary>What the kernel asks of the processor.</summary>
    public abstract InstructionSet InstructionSet { get; }

    /// <summary>A name for listings: instructions and tile.</summary>
    public abstract string Name { get; }

    /// <summary>The machine code in words, one instruction a line, for kernels that assemble their own; empty for the others.</summary>
    public virtual IReadOnlyList<string> Listing => [];

    /// <summary>Output channels that lie side by side in packed weights; even.</summary>
    internal abstract int PanelWidth { get; }

    /// <summary>Bytes that <see cref="Pack"/> will take for weights of this shape.</summary>
    /// <param name="shape">Shape of the weight.</param>
    /// <param name="segments">Ranges of input channels; empty for one that holds all of them.</param>
    /// <param name="fourBit">Whether codes have up to four bits, with a zero point or without: two then share a byte.</param>
    public nuint PackedBytes(in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, bool fourBit) =>
        new PackedPlan(shape, segments, PanelWidth, fourBit).TotalBytes;

    /// <summary>Brings weights into the kernel's own layout.</summary>
    /// <param name="codes">Centred codes <c>[out, in, rows, columns]</c>, −127 … 127.</param>
    /// <param name="shape">Their shape.</param>
    /// <param name="segments">Ranges of input channels, ascending and without gaps; empty for one that holds all of them.</param>
    /// <param name="weightScales">Scales <c>[segments][out]</c>.</param>
    /// <exception cref="ArgumentException">Lengths, ranges of channels or codes are wrong, or a segment is longer than <see cref="MaxDepth"/>.</exception>
    /// <exception cref="OutOfMemoryException">No memory for the packed weights.</exception>
    public PackedWeights Pack(ReadOnlySpan<sbyte> codes, in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, ReadOnlySpan<float> weightScales) =>
        new(this, codes, shape, segments, weightScales);

    /// <summary>Whether a layer of so many output channels can be gated in its epilogue (<see cref="ConvEpilogue.Gated"/>).</summary>
    public bool CanGate(int outChannels) => outChannels % PanelWidth == 0;

    /// <summary>
    /// The order that a gated layer's weights, scales and bias are packed in, so that each panel holds channels and their gates:
    /// <code>panel p of width P:  p·P/2 … (p + 1)·P/2 − 1  |  N/2 + p·P/2 …</code>
    /// </summary>
    /// <param name="place">Place in the packed order, 0 … N − 1.</param>
    /// <param name="outChannels">Output channels N.</param>
    /// <returns>The channel that belongs there.</returns>
    public int GatedChannel(int place, int outChannels)
    {
        int half = PanelWidth / 2;
        (int panel, int lane) = Math.DivRem(place, PanelWidth);
        return lane < half ? (panel * half) + lane : (outChannels / 2) + (panel * half) + lane - half;
    }

    /// <summary>Computes the output. Allocates nothing; may be called from several threads at once with different outputs.</summary>
    /// <param name="pool">Threads to share the work among; the result does not depend on their number.</param>
    /// <param name="arguments">Shapes and memory. The pointers must be valid; shapes are checked against the packed weights.</param>
    /// <exception cref="ArgumentException">The weights were packed by another kernel or for another shape.</exception>
    public void Run(WorkerPool pool, in QuantizedConvArguments arguments)
    {
        PackedWeights weights = arguments.Weights;
        ConvGeometry geometry = arguments.Walk.Geometry;
        if (!ReferenceEquals(weights.Kernel, this)) throw new ArgumentException($"the weights were packed by {weights.Kernel.Name}, not by {Name}");
        ConvWeightShape expected = weights.Shape;
        ConvWeightShape found = new(geometry.OutChannels, geometry.Channels, geometry.KernelHeight, geometry.KernelWidth);
        if (expected != found) throw new ArgumentException($"the weights are {expected}, the geometry asks for {found}");
        if (arguments.Epilogue.Gated && (!CanGate(geometry.OutChannels) || arguments.Epilogue.Residual != null || arguments.Epilogue.ImageVector != null))
        {
            throw new ArgumentException($"a gated layer of {geometry.OutChannels} output channels: {PanelWidth} must divide them, and nothing is added to it");
        }

        if (geometry.Rows <= 0) return;
        Execute(pool, arguments);
        GC.KeepAlive(weights);
    }

    /// <summary>Computes the output of checked arguments with at least one row.</summary>
    private protected abstract void Execute(WorkerPool pool, in QuantizedConvArguments arguments);
}
