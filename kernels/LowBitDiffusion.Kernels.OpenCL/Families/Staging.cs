using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>The pass that feeds a layer, as <see cref="LowBitDiffusion.Kernels.Staging.StagingJob"/> has it, on a device. Strides are in elements; places that are nowhere skip their line.</summary>
public struct DeviceStaging
{
    private const int Group = 64;

    /// <summary>The first channels.</summary>
    public DeviceSlice First;

    /// <summary>The channels after them.</summary>
    public DeviceSlice Second;

    /// <summary>Mean of each source row.</summary>
    public DeviceSlice RowMean;

    /// <summary>Inverse deviation of each source row.</summary>
    public DeviceSlice RowInverseDeviation;

    /// <summary>Factor of each image and channel.</summary>
    public DeviceSlice Factor;

    /// <summary>Offset of each image and channel.</summary>
    public DeviceSlice Offset;

    /// <summary>Images, source size, destination size without border.</summary>
    public int Batch, SourceHeight, SourceWidth, Height, Width;

    /// <summary>Border.</summary>
    public int Top, Left, Bottom, Right;

    /// <summary>Channels and strides of the sources.</summary>
    public int FirstChannels, SecondChannels, FirstStride, SecondStride;

    /// <summary>Distance between the images' rows of <see cref="Factor"/>; 0 for one row.</summary>
    public int AffineStride;

    /// <summary>Applied last.</summary>
    public Activation Activation;

    /// <summary>First channel of the second quantizer; 0 for none.</summary>
    public int SplitChannel;

    /// <summary>Largest code.</summary>
    public int MaxCode;

    /// <summary>Writes codes.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="quantizer">Six floats: 1/d, 1/d, d, d, z, z.</param>
    /// <param name="channelInverse">1/(d·s) of each channel instead, or nowhere.</param>
    /// <param name="codes">Destination with its border.</param>
    public readonly void Quantize(DeviceQueue queue, DeviceSlice quantizer, DeviceSlice channelInverse, DeviceSlice codes)
    {
        Run(queue, Sources(queue.Call("staging", Options(queue), "stage_codes")).Memory(quantizer).Memory(channelInverse).Memory(codes));
    }

    /// <summary>Writes values.</summary>
    public readonly void Store(DeviceQueue queue, DeviceSlice values) => Run(queue, Sources(queue.Call("staging", Options(queue), "stage_values")).Memory(values));

    private static int Vector(DeviceQueue queue) => queue.Context.Device.Kind == DeviceKind.Cpu ? 16 : 4;

    private static string Options(DeviceQueue queue) => $"-DV={Vector(queue)}";

    private readonly void Run(DeviceQueue queue, KernelCall call)
    {
        Arguments arguments = Bind();
        int vector = Vector(queue);
        long items = (FirstChannels + vector - 1) / vector + ((SecondChannels + vector - 1) / vector);
        call.Value(arguments).Run((items * arguments.Batch * arguments.PaddedHeight * arguments.PaddedWidth, 1), (Group, 1));
    }

    private readonly KernelCall Sources(KernelCall call) => call.Memory(First).Memory(Second).Memory(RowMean).Memory(RowInverseDeviation).Memory(Factor).Memory(Offset);

    private readonly Arguments Bind() => new()
    {
        Batch = Batch,
        SourceHeight = SourceHeight,
        SourceWidth = SourceWidth,
        Height = Height,
        Width = Width,
        Top = Top,
        Left = Left,
        PaddedHeight = Top + Height + Bottom,
        PaddedWidth = Left + Width + Right,
        FirstChannels = FirstChannels,
        Channels = FirstChannels + SecondChannels,
        FirstStride = FirstStride,
        SecondStride = SecondStride,
        AffineStride = AffineStride,
        Activation = (int)Activation,
        SplitChannel = SplitChannel,
        MaxCode = MaxCode,
    };

    private struct Arguments
    {
        public int Batch, SourceHeight, SourceWidth, Height, Width, Top, Left, PaddedHeight, PaddedWidth;
        public int FirstChannels, Channels, FirstStride, SecondStride, AffineStride, Activation, SplitChannel, MaxCode;
    }
}
