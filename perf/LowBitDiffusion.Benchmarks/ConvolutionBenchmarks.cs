using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Benchmarks;

/// <summary>A layer of a real network.</summary>
/// <param name="Name">Network and layer.</param>
/// <param name="Geometry">Its shape.</param>
public sealed record ConvolutionShape(string Name, ConvGeometry Geometry)
{
    /// <summary>Layers of Stable Diffusion 1.5 at 512×512, SDXL at 1024×1024, DiT-XL/2 at 256×256, the DDPM network for CIFAR-10 and the fashion model.</summary>
    public static IEnumerable<ConvolutionShape> All =>
    [
        new("SD 1.5 conv 64×64, 320→320", new ConvGeometry(1, 66, 66, 320, 320, 3, 3, 1)),
        new("SD 1.5 conv 64×64, 960→320", new ConvGeometry(1, 66, 66, 960, 320, 3, 3, 1)),
        new("SD 1.5 conv 64×64 stride 2", new ConvGeometry(1, 66, 66, 320, 320, 3, 3, 2)),
        new("SD 1.5 conv 64×64 behind an upsampling, 640→640", new ConvGeometry(1, 66, 66, 640, 640, 3, 3, 1) { Vertical = new(32, 64, 1, 1), Horizontal = new(32, 64, 1, 1) }),
        new("SD 1.5 conv 32×32, 640→640", new ConvGeometry(1, 34, 34, 640, 640, 3, 3, 1)),
        new("SD 1.5 conv 16×16, 1280→1280", new ConvGeometry(1, 18, 18, 1280, 1280, 3, 3, 1)),
        new("SD 1.5 conv 8×8, 1280→1280", new ConvGeometry(1, 10, 10, 1280, 1280, 3, 3, 1)),
        new("SD 1.5 conv in 64×64, 4→320", new ConvGeometry(1, 66, 66, 4, 320, 3, 3, 1)),
        new("SD 1.5 linear 4096, 320→320", ConvGeometry.Linear(4096, 320, 320)),
        new("SD 1.5 linear 4096, 320→2560", ConvGeometry.Linear(4096, 320, 2560)),
        new("SD 1.5 linear 1024, 2560→640", ConvGeometry.Linear(1024, 2560, 640)),
        new("SD 1.5 linear 77, 768→640", ConvGeometry.Linear(77, 768, 640)),
        new("SD 1.5 linear 2, 1280→1280", ConvGeometry.Linear(2, 1280, 1280)),
        new("SDXL conv 128×128, 320→320", new ConvGeometry(1, 130, 130, 320, 320, 3, 3, 1)),
        new("SDXL conv 32×32, 1280→1280", new ConvGeometry(1, 34, 34, 1280, 1280, 3, 3, 1)),
        new("SDXL linear 4096, 640→5120", ConvGeometry.Linear(4096, 640, 5120)),
        new("SDXL linear 1024, 5120→1280", ConvGeometry.Linear(1024, 5120, 1280)),
        new("DiT-XL/2 linear 256, 1152→1152", ConvGeometry.Linear(256, 1152, 1152)),
        new("DiT-XL/2 linear 256, 1152→4608", ConvGeometry.Linear(256, 1152, 4608)),
        new("DiT-XL/2 linear 256, 4608→1152", ConvGeometry.Linear(256, 4608, 1152)),
        new("DDPM conv 32×32, 128→128", new ConvGeometry(1, 34, 34, 128, 128, 3, 3, 1)),
        new("DDPM conv 4×4, 256→256", new ConvGeometry(1, 6, 6, 256, 256, 3, 3, 1)),
        new("fashion conv 28×28, 32→32", new ConvGeometry(1, 30, 30, 32, 32, 3, 3, 1)),
        new("fashion conv 7×7, 64→64, batch 16", new ConvGeometry(16, 9, 9, 64, 64, 3, 3, 1)),
    ];

    public override string ToString() => Name;
}

/// <summary>
/// Quantized convolutions by instruction set, width of weights and threads. There are many: choose with a filter such as
/// <c>--filter '*WeightBits: 4, GroupChannels: 0, Threads: 2, Shape: SD 1.5*Avx512Vnni*'</c>.
/// </summary>
[Config(typeof(Settings))]
public unsafe class ConvolutionBenchmarks
{
    private WorkerPool _pool = null!;
    private QuantizedConvKernel _kernel = null!;
    private ConvWalk _walk = null!;
    private PackedWeights _weights = null!;
    private float[] _scales = [];
    private byte[] _zeroPoints = [];
    private NativeBuffer _input = null!;
    private NativeBuffer _output = null!;

    /// <summary>The layer.</summary>
    [ParamsSource(nameof(Shapes))]
    public ConvolutionShape Shape { get; set; } = null!;

    /// <summary>The instruction set.</summary>
    [ParamsSource(nameof(Sets))]
    public InstructionSet Set { get; set; }

    /// <summary>Bits of the weights.</summary>
    [Params(8, 4)]
    public int WeightBits { get; set; }

    /// <summary>Input channels with scales of their own; 0 for one scale for each output channel.</summary>
    [Params(0, 32, 64, 128)]
    public int GroupChannels { get; set; }

    /// <summary>Threads.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    public static IEnumerable<ConvolutionShape> Shapes => ConvolutionShape.All;

    public static IEnumerable<InstructionSet> Sets => KernelTable.Available.Where(set => set > InstructionSet.Vector128);

    [GlobalSetup]
    public void Setup()
    {
        ConvGeometry geometry = Shape.Geometry;
        _walk = new ConvWalk(geometry);
        Random random = new(1);
        int largest = (1 << (WeightBits - 1)) - 1;
        sbyte[] codes = new sbyte[geometry.OutChannels * geometry.Depth];
        for (int i = 0; i < codes.Length; i++) codes[i] = (sbyte)random.Next(-largest, largest + 1);
        int group = GroupChannels == 0 ? geometry.Channels : GroupChannels;
        KernelSegment[] segments = [.. Enumerable.Range(0, (geometry.Channels + group - 1) / group).Select(s => new KernelSegment(s * group, Math.Min(group, geometry.Channels - (s * group))))];
        float[] scales = new float[segments.Length * geometry.OutChannels];
        scales.AsSpan().Fill(0.01f);
        _scales = GC.AllocateArray<float>(segments.Length, pinned: true);
        _scales.AsSpan().Fill(0.01f);
        _zeroPoints = GC.AllocateArray<byte>(segments.Length, pinned: true);
        _zeroPoints.AsSpan().Fill(128);
        _pool = new WorkerPool(Threads);
        _kernel = KernelTable.For(Set).QuantizedConv;
        _weights = _kernel.Pack(codes, new ConvWeightShape(geometry.OutChannels, geometry.Channels, geometry.KernelHeight, geometry.KernelWidth), segments, scales);
        _input = new NativeBuffer((nuint)geometry.InputLength);
        random.NextBytes(new Span<byte>(_input.Pointer, (int)_input.Length));
        _output = new NativeBuffer((nuint)geometry.Rows * (nuint)geometry.OutChannels * sizeof(float));
    }

    [Benchmark]
    public void Run()
    {
        QuantizedConvArguments arguments = new()
        {
            Walk = _walk,
            Weights = _weights,
            Input = _input.Pointer,
            InputScales = (float*)Marshal.UnsafeAddrOfPinnedArrayElement(_scales, 0),
            InputZeroPoints = (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(_zeroPoints, 0),
            Epilogue = new ConvEpilogue { OutputScale = 1, Output = (float*)_output.Pointer, OutputStride = Shape.Geometry.OutChannels },
        };
        _kernel.Run(_pool, arguments);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _weights.Dispose();
        _input.Dispose();
        _output.Dispose();
        _pool.Dispose();
    }

    private sealed class Settings : ManualConfig
    {
        public Settings()
        {
            AddColumn(new GigaOperationsColumn());
            SummaryStyle = SummaryStyle.Default.WithMaxParameterColumnWidth(40);
        }
    }
}
