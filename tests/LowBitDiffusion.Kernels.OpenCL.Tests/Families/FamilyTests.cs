using LowBitDiffusion.Imaging;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Families;

/// <summary>Each family of kernels on a device against the processor's kernel for the same work.</summary>
[Category("Kernels")]
public sealed unsafe class FamilyTests
{
    private readonly Random _random = new(4);
    private DeviceBench _bench = null!;
    private WorkerPool _pool = null!;

    [OneTimeSetUp]
    public void Open() => (_bench, _pool) = (new DeviceBench(), new WorkerPool(1));

    [OneTimeTearDown]
    public void Close()
    {
        _bench?.Dispose();
        _pool?.Dispose();
    }

    [TearDown]
    public void Free() => _bench.Clear();

    [Test]
    public void Codes_are_the_same_bits([Values] Activation activation, [Values(0, 1, 2)] int normalisation, [Values] bool perChannel)
    {
        const int Batch = 2, Height = 3, Width = 4, First = 21, Second = 16, Channels = First + Second, OutHeight = 6, OutWidth = 9;
        if (activation != Activation.None && !_bench.Context.Device.DividesCorrectly) Assert.Ignore("the device rounds divisions its own way");
        float[] first = Numbers(Batch * Height * Width * First), second = Numbers(Batch * Height * Width * Second), factor = Numbers(Batch * Channels), offset = Numbers(Batch * Channels);
        float[] mean = Numbers(Batch * Height * Width), deviation = Numbers(Batch * Height * Width), inverse = [.. Numbers(Channels).Select(x => 20 + Math.Abs(x))];

        // Ends of the codes, ties, and what is no number.
        (first[0], first[1], first[2], first[3], first[4], second[5]) = (1e30f, -1e30f, float.NaN, float.PositiveInfinity, 0.5f / 13, float.NegativeInfinity);
        byte[] expected = new byte[Batch * (OutHeight + 3) * (OutWidth + 1) * Channels];
        fixed (float* f = first, s = second, a = factor, b = offset, m = mean, d = deviation, i = inverse)
        fixed (byte* codes = expected)
        {
            StagingJob job = new()
            {
                First = new RowView(f, First),
                FirstChannels = First,
                Second = new RowView(s, Second),
                SecondChannels = Second,
                Batch = Batch,
                SourceHeight = Height,
                SourceWidth = Width,
                Height = OutHeight,
                Width = OutWidth,
                Top = 1,
                Bottom = 2,
                Left = 0,
                Right = 1,
                Activation = activation,
                Factor = normalisation > 0 ? a : null,
                Offset = normalisation > 0 ? b : null,
                AffineStride = Channels,
                RowMean = normalisation > 1 ? m : null,
                RowInverseDeviation = normalisation > 1 ? d : null,
                InverseScales = perChannel ? i : null,
                Quantizer = new ChannelQuantizer(13, 117),
                SplitChannel = 30,
                SplitQuantizer = new ChannelQuantizer(40, 255),
                MaxCode = 255,
            };
            StagingPass.Quantize(_pool, job, codes);
        }

        DeviceSlice output = _bench.Room<byte>(expected.Length);
        DeviceStaging staging = new()
        {
            First = _bench.Of<float>(first),
            FirstChannels = First,
            FirstStride = First,
            Second = _bench.Of<float>(second),
            SecondChannels = Second,
            SecondStride = Second,
            Batch = Batch,
            SourceHeight = Height,
            SourceWidth = Width,
            Height = OutHeight,
            Width = OutWidth,
            Top = 1,
            Bottom = 2,
            Left = 0,
            Right = 1,
            Activation = activation,
            Factor = normalisation > 0 ? _bench.Of<float>(factor) : default,
            Offset = normalisation > 0 ? _bench.Of<float>(offset) : default,
            AffineStride = Channels,
            RowMean = normalisation > 1 ? _bench.Of<float>(mean) : default,
            RowInverseDeviation = normalisation > 1 ? _bench.Of<float>(deviation) : default,
            SplitChannel = 30,
            MaxCode = 255,
        };
        staging.Quantize(_bench.Queue, _bench.Of<float>(13, 40, 0, 0, 117, 255), perChannel ? _bench.Of<float>(inverse) : default, output);

        Assert.That(_bench.Queue.Download<byte>(output, expected.Length), Is.EqualTo(expected));
    }

    [TestCase(1, 1, 4, 0, 2, false)]
    [TestCase(2, 100, 24, 0, 3, true)]
    [TestCase(2, 300, 20, 12, 4, false)]
    [TestCase(1, 5000, 64, 0, 32, true)]
    public void Group_norms_agree(int batch, int rows, int firstChannels, int secondChannels, int groups, bool modulated) =>
        GroupNormsAgree(_bench, batch, rows, firstChannels, secondChannels, groups, modulated, _bench.Context.Device.HasDoubles ? 0 : 1e-6);

    [Test]
    public void Without_double_precision_norms_keep_a_floats_digits()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.Source = text => text.Replace("HAS_DOUBLES", "NO_DOUBLES_HERE", StringComparison.Ordinal);
        using DeviceBench bench = new(new OpenClContext(OpenClDevice.All(api, out _)[0]));
        GroupNormsAgree(bench, 2, 100, 24, 0, 3, true, 1e-6);
        GroupNormsAgree(bench, 1, 5000, 64, 0, 32, false, 1e-6);
        LayerNormsAgree(bench, 33, 77, 1e-6);
    }

    private void GroupNormsAgree(DeviceBench bench, int batch, int rows, int firstChannels, int secondChannels, int groups, bool modulated, double bound)
    {
        int channels = firstChannels + secondChannels;
        float[] first = Numbers(batch * rows * firstChannels, 50), second = Numbers(batch * rows * secondChannels), gamma = Numbers(channels), beta = Numbers(channels);
        float[] scale = Numbers(batch * channels), shift = Numbers(batch * channels), factor = new float[batch * channels], offset = new float[batch * channels];
        RowShape shape = new(batch, rows, channels);
        byte[] scratch = new byte[GroupNorm.ScratchBytes(shape)];
        fixed (float* f = first, s = second, g = gamma, b = beta, sc = scale, sh = shift, fa = factor, of = offset)
        fixed (byte* room = scratch)
        {
            NormSources sources = secondChannels > 0 ? new(new RowView(f, firstChannels), firstChannels, new RowView(s, secondChannels), secondChannels) : new(new RowView(f, firstChannels), firstChannels);
            GroupNorm.Fold(_pool, shape, sources, groups, 1e-5f, g, b, modulated ? new RowView(sc, channels) : default, modulated ? new RowView(sh, channels) : default, fa, of, room);
        }

        DeviceSlice factorAt = bench.Room<float>(factor.Length), offsetAt = bench.Room<float>(offset.Length);
        Assert.That(DeviceNormalization.ScratchBytes(batch, rows, channels), Is.LessThanOrEqualTo(scratch.Length), "the plan's scratch suffices");
        DeviceNormalization.GroupNorm(
            bench.Queue, batch, rows, new(bench.Of<float>(first), firstChannels, firstChannels), secondChannels > 0 ? new(bench.Of<float>(second), secondChannels, secondChannels) : default, groups, 1e-5f,
            bench.Of<float>(gamma), bench.Of<float>(beta), modulated ? new(bench.Of<float>(scale), channels, channels) : default, modulated ? new(bench.Of<float>(shift), channels, channels) : default,
            factorAt, offsetAt, bench.Room<byte>(scratch.Length));

        // Without double precision pairs of floats round a little differently.
        Near(bench.Queue.Download<float>(factorAt, factor.Length), factor, bound, "factors");
        Near(bench.Queue.Download<float>(offsetAt, offset.Length), offset, bound, "offsets");
    }

    [TestCase(1, 3)]
    [TestCase(7, 320)]
    [TestCase(33, 77)]
    public void Layer_norms_agree(int rows, int channels) => LayerNormsAgree(_bench, rows, channels, _bench.Context.Device.HasDoubles ? 0 : 1e-6);

    private void LayerNormsAgree(DeviceBench bench, int rows, int channels, double bound)
    {
        float[] x = Numbers(rows * channels, 30), mean = new float[rows], deviation = new float[rows];
        fixed (float* input = x, m = mean, d = deviation) LayerNorm.Statistics(_pool, new RowShape(1, rows, channels), new RowView(input, channels), 1e-6f, m, d);

        DeviceSlice meanAt = bench.Room<float>(rows), deviationAt = bench.Room<float>(rows);
        DeviceNormalization.LayerNorm(bench.Queue, rows, new(bench.Of<float>(x), channels, channels), 1e-6f, meanAt, deviationAt);

        Near(bench.Queue.Download<float>(meanAt, rows), mean, bound, "means");
        Near(bench.Queue.Download<float>(deviationAt, rows), deviation, bound, "inverse deviations");
    }

    [TestCase(1, 1, 1, 1, 4, 4, false, false)]
    [TestCase(2, 70, 70, 3, 8, 8, false, false)]
    [TestCase(1, 33, 130, 2, 20, 12, false, true)]
    [TestCase(2, 77, 77, 2, 16, 16, true, false)]
    [TestCase(1, 65, 64, 1, 160, 160, false, false)]
    public void Attention_is_within_float_rounding(int batch, int queries, int keys, int heads, int width, int valueWidth, bool causal, bool masked)
    {
        float[] q = Numbers(batch * queries * heads * width), k = Numbers(batch * keys * heads * width), v = Numbers(batch * keys * heads * valueWidth), mask = [.. Enumerable.Range(0, batch * keys).Select(i => i % 3 == 1 ? -10000f : 0)];
        float[] expected = new float[batch * queries * heads * valueWidth];
        AttentionJob shape = new() { Batch = batch, Heads = heads, Queries = queries, Keys = keys, HeadWidth = width, ValueWidth = valueWidth, Scale = 1 / MathF.Sqrt(width), Causal = causal };
        void* scratch = System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)FloatAttention.ScratchBytes(shape, 1), 64);
        fixed (float* a = q, b = k, c = v, m = mask, o = expected)
        {
            AttentionJob job = shape;
            (job.Query, job.Key, job.Value, job.Output) = (new RowView(a, heads * width), new RowView(b, heads * width), new RowView(c, heads * valueWidth), new RowView(o, heads * valueWidth));
            job.Mask = masked ? m : null;
            job.MaskStride = keys;
            FloatAttention.Run(_pool, job, scratch);
        }

        System.Runtime.InteropServices.NativeMemory.AlignedFree(scratch);
        DeviceSlice output = _bench.Room<float>(expected.Length);
        new DeviceAttention
        {
            Query = Rows(q, heads * width),
            Key = Rows(k, heads * width),
            Value = Rows(v, heads * valueWidth),
            Output = new(output, heads * valueWidth, heads * valueWidth),
            Mask = masked ? _bench.Of<float>(mask) : default,
            MaskStride = keys,
            Batch = batch,
            Heads = heads,
            Queries = queries,
            Keys = keys,
            HeadWidth = width,
            ValueWidth = valueWidth,
            Scale = shape.Scale,
            Causal = causal,
        }.Enqueue(_bench.Queue);

        Near(_bench.Queue.Download<float>(output, expected.Length), expected, 1e-5, "outputs");
    }

    [TestCase(3, 3, 1, 70, false)]
    [TestCase(1, 1, 1, 33, false)]
    [TestCase(3, 3, 2, 5, false)]
    [TestCase(3, 3, 1, 35, true)]
    public void Float_layers_are_the_same_bits(int kernelHeight, int kernelWidth, int stride, int outChannels, bool upsampled)
    {
        if (!_bench.Context.Device.FusesMultiplyAdd || !System.Runtime.Intrinsics.X86.Fma.IsSupported) Assert.Ignore("fused multiply-add is not in hardware on both sides");
        ConvGeometry geometry = new(2, 7, 8, 19, outChannels, kernelHeight, kernelWidth, stride);
        if (upsampled) geometry = geometry with { Vertical = new(3, 5, 1, 1), Horizontal = new(3, 6, 1, 1) };
        float[] input = Numbers(geometry.InputLength), weights = Numbers(outChannels * geometry.Depth), bias = Numbers(outChannels), residual = Numbers(geometry.Rows * outChannels), expected = new float[residual.Length];
        using PackedFloatWeights packed = FloatConvKernel.Pack(weights, outChannels, 19, kernelHeight, kernelWidth);
        fixed (float* x = input, b = bias, r = residual, y = expected)
            FloatConvKernel.Run(_pool, new ConvWalk(geometry), x, packed, new ConvEpilogue { Bias = b, Residual = r, ResidualStride = outChannels, OutputScale = 0.7f, Output = y, OutputStride = outChannels });

        FloatWeights onDevice = FloatWeights.Load(_bench.Queue, _bench.Arena, weights, new ConvWeightShape(outChannels, 19, kernelHeight, kernelWidth));
        DeviceSlice inputAt = _bench.Of<float>(input), biasAt = _bench.Of<float>(bias), residualAt = _bench.Of<float>(residual);
        foreach (MatrixTile tile in (MatrixTile[])[TestDevice.Portable.FloatTile, new(4, 2, 3, 2, true), new(4, 16, 1, 2, false)])
        {
            DeviceSlice output = _bench.Room<float>(expected.Length);
            new FloatMatrix(_bench.Queue, _bench.Arena, geometry, onDevice) { Tile = tile }.Enqueue(_bench.Queue, TestDevice.Portable, inputAt, default, new OpenCL.Families.MatrixEpilogue(biasAt, default, 0, residualAt, outChannels, 0.7f, output, outChannels));
            IntegerMatrixTests.SameBits(_bench.Queue.Download<float>(output, expected.Length), expected, tile.ToString());
        }
    }

    [Test]
    public void Elements_are_the_same_bits()
    {
        RowShape shape = new(2, 15, 37);
        float[] x = Numbers(shape.Rows * 74), y = Numbers(shape.Rows * 37);
        DeviceRows xs = Rows(x, 74) with { Channels = 37 }, ys = Rows(y, 37);
        Check("geglu", (a, _, o) => Activations.Geglu(_pool, shape, a, o), (o) => DeviceElements.Geglu(_bench.Queue, shape, xs, o));
        Check("affine", (a, _, o) => Arithmetic.Affine(_pool, shape, a, 0.3f, 2, o), o => DeviceElements.Affine(_bench.Queue, shape, xs, 0.3f, 2, o));
        Check("divide", (a, b, o) => Arithmetic.Divide(_pool, shape, a, b.Data, o), o => DeviceElements.Divide(_bench.Queue, shape, xs, ys.Place, o));
        foreach (Broadcast broadcast in Enum.GetValues<Broadcast>())
        {
            Check($"add, {broadcast}", (a, b, o) => Arithmetic.Add(_pool, shape, a, b, broadcast, o), o => DeviceElements.Add(_bench.Queue, shape, xs, ys, broadcast, o));
            Check($"multiply, {broadcast}", (a, b, o) => Arithmetic.Multiply(_pool, shape, a, b, broadcast, o), o => DeviceElements.Multiply(_bench.Queue, shape, xs, ys, broadcast, o));
        }

        void Check(string what, Action<RowView, RowView, RowView> here, Action<DeviceRows> there)
        {
            float[] expected = new float[shape.Rows * 37];
            fixed (float* a = x, b = y, o = expected) here(new RowView(a, 74), new RowView(b, 37), new RowView(o, 37));
            DeviceSlice output = _bench.Room<float>(expected.Length);
            there(new DeviceRows(output, 37, 37));
            IntegerMatrixTests.SameBits(_bench.Queue.Download<float>(output, expected.Length), expected, what);
        }
    }

    [Test]
    public void Layouts_go_there_and_back()
    {
        RowShape shape = new(2, 35, 5);
        float[] planes = Numbers(shape.Rows * 5);
        DeviceSlice rows = _bench.Room<float>(shape.Rows * 8), back = _bench.Room<float>(planes.Length);
        DeviceElements.ToRows(_bench.Queue, shape, _bench.Of<float>(planes), new DeviceRows(rows, 8, 5));
        DeviceElements.ToPlanes(_bench.Queue, shape, new DeviceRows(rows, 8, 5), back);

        Assert.That(_bench.Queue.Download<float>(back, planes.Length), Is.EqualTo(planes));
        Assert.That(_bench.Queue.Download<float>(rows, 1)[0], Is.EqualTo(planes[0]));
        Assert.That(_bench.Queue.Download<float>(rows.Skip(8 * sizeof(float)), 5), Is.EqualTo(new[] { planes[1], planes[36], planes[71], planes[106], planes[141] }));
    }

    [Test]
    public void Pixels_are_the_processors()
    {
        float[] x =
        [
            float.NaN, float.PositiveInfinity, float.NegativeInfinity, -0f, float.Epsilon, float.MaxValue, -float.MaxValue,
            .. Enumerable.Range(-1, 1027).Select(i => (2 * (i / 4f) + 0.5f) / 255 - 1).SelectMany(v => (float[])[v, MathF.BitDecrement(v), MathF.BitIncrement(v)]), .. Numbers(1000),
        ];
        RowShape shape = new(1, x.Length / 4, 4);
        byte[] expected = new byte[shape.Rows * 3];
        fixed (float* from = x)
        fixed (byte* to = expected) Pixels.FromRows(_pool, shape with { Channels = 3 }, new RowView(from, 4), to);
        DeviceSlice pixels = _bench.Room<byte>(expected.Length);
        DeviceElements.ToPixels(_bench.Queue, shape with { Channels = 3 }, new DeviceRows(_bench.Of<float>(x), 4, 3), new DeviceRows(pixels, 3, 3));

        Assert.That(_bench.Queue.Download<byte>(pixels, expected.Length), Is.EqualTo(expected));
        Assert.That(expected, Is.EqualTo(Enumerable.Range(0, expected.Length).Select(i => Image.FromSample([x[i / 3 * 4 + i % 3]], 1, 1, 1).Pixels[0])), "as images are made of samples");
        Assert.That(expected.Distinct().Count(), Is.EqualTo(256));
    }

    private static void Near(float[] found, float[] expected, double bound, string what)
    {
        double scale = expected.Max(Math.Abs);
        for (int i = 0; i < expected.Length; i++)
            Assert.That(Math.Abs(found[i] - (double)expected[i]), Is.LessThanOrEqualTo(bound * scale), $"{what}: element {i}: found {found[i]:R}, expected {expected[i]:R}");
    }

    private DeviceRows Rows(float[] values, int stride) => new(_bench.Of<float>(values), stride, stride);

    private float[] Numbers(int count, float mean = 0) => [.. Enumerable.Range(0, count).Select(_ => mean + (2 * _random.NextSingle() - 1) * 3)];
}
