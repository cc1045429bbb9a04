using BenchmarkDotNet.Attributes;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Benchmarks;

/// <summary>Memory and threads of a float benchmark.</summary>
public abstract unsafe class FloatBenchmark
{
    private readonly List<IDisposable> _owned = [];

    [Params(1, 2)]
    public int Threads { get; set; }

    protected WorkerPool Pool { get; private set; } = null!;

    protected void Start() => Pool = Own(new WorkerPool(Threads));

    protected float* Random(long length)
    {
        Random random = new(1);
        float* data = (float*)Bytes(length * sizeof(float));
        for (long i = 0; i < length; i++) data[i] = random.NextSingle() * 4 - 2;
        return data;
    }

    protected byte* Bytes(long length) => Own(new NativeBuffer((nuint)length)).Pointer;

    protected T Own<T>(T disposable) where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }

    [GlobalCleanup]
    public void Stop()
    {
        _owned.ForEach(o => o.Dispose());
        _owned.Clear();
    }
}

/// <summary>Float convolutions and linear layers of SD 1.5; operations = 2·M·N·K.</summary>
public unsafe class FloatConvolutionBenchmarks : FloatBenchmark
{
    private PackedFloatWeights _weights = null!;
    private float* _input;
    private ConvEpilogue _epilogue;
    private ConvWalk _walk = null!;

    public static IEnumerable<ConvGeometry> Shapes =>
    [
        new(1, 66, 66, 320, 320, 3, 3, 1), new(1, 34, 34, 640, 640, 3, 3, 1), new(1, 18, 18, 1280, 1280, 3, 3, 1), new(1, 10, 10, 1280, 1280, 3, 3, 1),
        new(1, 66, 66, 4, 320, 3, 3, 1), new(1, 66, 66, 320, 4, 3, 3, 1), ConvGeometry.Linear(4096, 320, 320), ConvGeometry.Linear(256, 1280, 10240),
        ConvGeometry.Linear(1, 1280, 1280),
    ];

    [ParamsSource(nameof(Shapes))]
    public ConvGeometry Shape { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        Start();
        Random random = new(2);
        float[] weights = [.. Enumerable.Range(0, Shape.OutChannels * Shape.Depth).Select(_ => random.NextSingle())];
        _walk = new ConvWalk(Shape);
        _weights = Own(FloatConvKernel.Pack(weights, Shape.OutChannels, Shape.Channels, Shape.KernelHeight, Shape.KernelWidth));
        _input = Random(Shape.InputLength);
        _epilogue = new() { Bias = Random(Shape.OutChannels), OutputScale = 1, Output = Random((long)Shape.Rows * Shape.OutChannels), OutputStride = Shape.OutChannels };
    }

    [Benchmark]
    public void Run() => FloatConvKernel.Run(Pool, _walk, _input, _weights, _epilogue);
}

/// <summary>Attentions of SD 1.5 at 512×512, SDXL at 1024×1024, DiT-XL/2 and the decoder of Stable Diffusion: heads, queries, keys, width of a head; operations = 4·queries·keys·channels.</summary>
public unsafe class AttentionBenchmarks : FloatBenchmark
{
    private AttentionJob _job;
    private byte* _scratch;
    private Int8Attention _integers = null!;
    private Bf16Attention? _brainFloats;

    public static IEnumerable<string> Shapes => ["8x4096x4096x40", "8x4096x77x40", "8x1024x1024x80", "8x256x256x160", "10x4096x4096x64", "16x256x256x72", "1x4096x4096x512"];

    [ParamsSource(nameof(Shapes))]
    public string Shape { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        Start();
        int[] sizes = [.. Shape.Split('x').Select(int.Parse)];
        int channels = sizes[0] * sizes[3];
        _job = new AttentionJob
        {
            Batch = 1,
            Heads = sizes[0],
            Queries = sizes[1],
            Keys = sizes[2],
            HeadWidth = sizes[3],
            ValueWidth = sizes[3],
            Query = new(Random((long)sizes[1] * channels), channels),
            Key = new(Random((long)sizes[2] * channels), channels),
            Value = new(Random((long)sizes[2] * channels), channels),
            Output = new(Random((long)sizes[1] * channels), channels),
            Scale = 1 / MathF.Sqrt(sizes[3]),
        };
        _scratch = Bytes(Math.Max(FloatAttention.ScratchBytes(_job, Threads), Math.Max(Int8Attention.ScratchBytes(_job, Threads), Bf16Attention.ScratchBytes(_job, Threads))));
        _integers = Own(new Int8Attention(KernelTable.Best.InstructionSet));
        _brainFloats = Bf16Attention.IsSupported ? Own(new Bf16Attention()) : null;
    }

    [Benchmark(Baseline = true)]
    public void Float() => FloatAttention.Run(Pool, _job, _scratch);

    [Benchmark]
    public void BrainFloats() => (_brainFloats ?? throw new NotSupportedException("the processor has no vdpbf16ps")).Run(Pool, _job, _scratch);

    [Benchmark]
    public void Integers() => _integers.Run(Pool, _job, _scratch);
}

/// <summary>The passes between matrix products on a 64×64×320 image.</summary>
public unsafe class FloatPassBenchmarks : FloatBenchmark
{
    private const int Size = 64;
    private const int Channels = 320;
    private static readonly RowShape s_shape = new(1, Size * Size, Channels);

    private StagingJob _job;
    private byte* _destination;
    private byte* _scratch;

    [GlobalSetup]
    public void Setup()
    {
        Start();
        _job = new StagingJob
        {
            First = new(Random(s_shape.Rows * Channels), Channels),
            FirstChannels = Channels,
            Batch = 1,
            SourceHeight = Size,
            SourceWidth = Size,
            Height = Size,
            Width = Size,
            Top = 1,
            Left = 1,
            Bottom = 1,
            Right = 1,
            Factor = Random(Channels),
            Offset = Random(Channels),
            Activation = Activation.Silu,
            Quantizer = new(30, 128),
            MaxCode = 255,
        };
        _destination = Bytes(_job.DestinationLength * sizeof(float));
        _scratch = Bytes(GroupNorm.ScratchBytes(s_shape));
    }

    [Benchmark]
    public void NormalizeActivateQuantize() => StagingPass.Quantize(Pool, _job, _destination);

    [Benchmark]
    public void NormalizeActivateStore() => StagingPass.Store(Pool, _job, (float*)_destination);

    [Benchmark]
    public void GroupNormFold() =>
        GroupNorm.Fold(Pool, s_shape, new(_job.First, Channels), 32, 1e-5f, null, null, default, default, _job.Factor, _job.Offset, _scratch);

    [Benchmark]
    public void LayerNormStatistics() => LayerNorm.Statistics(Pool, s_shape, _job.First, 1e-5f, (float*)_destination, (float*)_destination + s_shape.Rows);
}
