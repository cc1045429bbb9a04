using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Tests.Convolution;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;

/// <summary>Integer layers on a device give the bits of the definition, for every shape and every tile.</summary>
[Category("Kernels")]
public sealed class IntegerMatrixTests
{
    private DeviceBench _bench = null!;

    [OneTimeSetUp]
    public void Open() => _bench = new DeviceBench();

    [OneTimeTearDown]
    public void Close() => _bench?.Dispose();

    [TearDown]
    public void Free() => _bench.Clear();

    // An activation more is a program more; all of them are among the tests of staging, which computes them alike.
    public static IEnumerable<QuantizedConvCase> Cases() =>
        QuantizedConvCase.Table().Concat(QuantizedConvCase.Random()).Where(one => one.CodesOf is null or Activation.None or Activation.Gelu);

    [TestCaseSource(nameof(Cases))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
        if (definition is not { CodesOf: null or Activation.None, Gated: false } && !_bench.Context.Device.DividesCorrectly) Assert.Ignore("the device rounds divisions its own way");
        QuantizedConvProblem problem = new(definition);

        SameBits(Run(_bench, definition, problem, TestDevice.Portable), problem.Expected(), definition.Name);
    }

    public static IEnumerable<MatrixTile> Tiles() => [.. MatrixTile.Candidates(DeviceKind.Cpu), .. MatrixTile.Candidates(DeviceKind.Gpu), new(4, 1, 1, 1, false), new(4, 2, 3, 2, true)];

    [TestCaseSource(nameof(Tiles))]
    public void Every_tile_gives_the_same_bits(MatrixTile tile)
    {
        QuantizedConvCase[] definitions =
        [
            QuantizedConvCase.Linear(67, 36, 130), QuantizedConvCase.Linear(1, 129, 33) with { Codes = CodeRange.FourBit },
            new("tiles", 37, 70) { Batch = 3, Image = (7, 9), Kernel = (3, 3), Padding = (1, 1, 1, 1), Segments = [24, 13], ImageVector = true, Residual = true, OutputScale = 0.7f },
            new("upsampled", 20, 67) { Batch = 2, Kernel = (3, 3), Padding = (1, 1, 1, 1), Upsampled = (10, 11), Residual = true },
            new("nibbles", 40, 66) { Batch = 2, Kernel = (3, 3), Codes = CodeRange.FourBit, ZeroPoints = [255] },
        ];
        foreach (QuantizedConvCase definition in definitions)
        {
            QuantizedConvProblem problem = new(definition);
            SameBits(Run(_bench, definition, problem, TestDevice.Portable with { IntegerTile = tile }), problem.Expected(), definition.Name);
        }
    }

    [Test]
    public void Items_of_every_width_gate([Values(2, 4, 8)] int vector)
    {
        QuantizedConvCase definition = QuantizedConvCase.Linear(19, 20, 38) with { Name = "gated codes", Gated = true, CodesOf = Activation.None, ChannelScales = true };
        QuantizedConvProblem problem = new(definition);
        SameBits(Run(_bench, definition, problem, TestDevice.Portable with { IntegerTile = new(vector, 1, 1, 1, false) }), problem.Expected(), definition.Name);
    }

    internal static float[] Run(DeviceBench bench, QuantizedConvCase definition, QuantizedConvProblem problem, KernelChoice choice)
    {
        int segments = definition.Ranges.Length;
        IntegerWeights weights = IntegerWeights.Load(bench.Queue, bench.Arena, Ordered(problem.Codes, definition.Geometry.Depth), definition.Shape, definition.Ranges, Scales());
        if (definition.Codes == CodeRange.FourBit) Assert.That(weights.FourBit, "codes of four bits share a byte");
        IntegerMatrix layer = new(bench.Queue, bench.Arena, definition.Geometry, weights, [.. Enumerable.Range(0, segments)], segments);
        float[] scales = problem.InputScales.ToArray(), initial = problem.Output();
        DeviceSlice quantizer = bench.Of<float>([.. scales.Select(s => 1 / s), .. scales, .. problem.ZeroPoints.ToArray().Select(z => (float)z)]);
        DeviceSlice floats = bench.Of<float>(initial), codes = definition.CodesOf is null ? default : bench.Of<byte>([.. initial.Select(code => (byte)code)]), input = bench.Of(problem.Input);
        layer.Enqueue(bench.Queue, choice, input, quantizer, new MatrixEpilogue(
            bench.OfOrNowhere(problem.Bias is { } bias ? Ordered<float>(bias, 1) : null), bench.OfOrNowhere(problem.ImageVector), definition.OutChannels, definition.Residual ? floats : default, problem.OutputStride,
            definition.OutputScale, definition.CodesOf is null ? floats : codes, problem.OutputStride)
        {
            Gated = definition.Gated,
            CodeQuantizer = bench.Of<float>(problem.CodeQuantizer.InverseScale, 0, 0, 0, problem.CodeQuantizer.ZeroPoint, 0),
            CodeInverse = definition.ChannelScales ? bench.Of(problem.InverseScales) : default,
            CodesOf = definition.CodesOf,
            MaxCode = definition.MaxCode,
        });
        int length = initial.Length - definition.OutputGap;
        return definition.CodesOf is null ? bench.Queue.Download<float>(floats, length) : [.. bench.Queue.Download<byte>(codes, length).Select(code => (float)code)];

        float[] Scales()
        {
            List<float> ordered = [];
            for (int s = 0; s < segments; s++) ordered.AddRange(Ordered(problem.WeightScales.Slice(s * definition.OutChannels, definition.OutChannels), 1));
            return [.. ordered];
        }

        T[] Ordered<T>(ReadOnlySpan<T> channels, int length)
        {
            List<T> ordered = [];
            for (int place = 0; place < definition.OutChannels; place++)
                ordered.AddRange(channels.Slice((definition.Gated ? MatrixEpilogue.GatedChannel(place, definition.OutChannels) : place) * length, length));
            return [.. ordered];
        }
    }

    internal static void SameBits(ReadOnlySpan<float> found, ReadOnlySpan<float> expected, string what)
    {
        Assert.That(found.Length, Is.EqualTo(expected.Length), what);
        int first = MemoryMarshal.Cast<float, int>(found).CommonPrefixLength(MemoryMarshal.Cast<float, int>(expected));
        if (first < expected.Length) Assert.Fail($"{what}: element {first} of {expected.Length}: found {found[first]:R}, expected {expected[first]:R}");
    }
}
