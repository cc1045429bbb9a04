using System.Runtime.InteropServices;
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

    // Layers on a device write floats, and no gate's result.
    public static IEnumerable<QuantizedConvCase> Cases() => QuantizedConvCase.Table().Concat(QuantizedConvCase.Random()).Where(one => one is { CodesOf: null, Gated: false });

    [TestCaseSource(nameof(Cases))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
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
            new("nibbles", 40, 66) { Batch = 2, Kernel = (3, 3), Codes = CodeRange.FourBit, ZeroPoints = [255] },
        ];
        foreach (QuantizedConvCase definition in definitions)
        {
            QuantizedConvProblem problem = new(definition);
            SameBits(Run(_bench, definition, problem, TestDevice.Portable with { IntegerTile = tile }), problem.Expected(), definition.Name);
        }
    }

    internal static float[] Run(DeviceBench bench, QuantizedConvCase definition, QuantizedConvProblem problem, KernelChoice choice)
    {
        IntegerWeights weights = IntegerWeights.Load(bench.Queue, bench.Arena, problem.Codes, definition.Shape, definition.Ranges, problem.WeightScales);
        if (definition.Codes == CodeRange.FourBit) Assert.That(weights.FourBit, "codes of four bits share a byte");
        int segments = definition.Ranges.Length;
        IntegerMatrix layer = new(bench.Queue, bench.Arena, definition.Geometry, weights, [.. Enumerable.Range(0, segments)], segments);
        float[] scales = problem.InputScales.ToArray(), initial = problem.Output();
        DeviceSlice quantizer = bench.Of<float>([.. scales.Select(s => 1 / s), .. scales, .. problem.ZeroPoints.ToArray().Select(z => (float)z)]);
        DeviceSlice output = bench.Of<float>(initial), input = bench.Of(problem.Input);
        layer.Enqueue(bench.Queue, choice, input, quantizer, new MatrixEpilogue(
            bench.OfOrNowhere(problem.Bias), bench.OfOrNowhere(problem.ImageVector), definition.OutChannels, definition.Residual ? output : default, problem.OutputStride,
            definition.OutputScale, output, problem.OutputStride));
        return bench.Queue.Download<float>(output, initial.Length - definition.OutputGap);
    }

    internal static void SameBits(ReadOnlySpan<float> found, ReadOnlySpan<float> expected, string what)
    {
        Assert.That(found.Length, Is.EqualTo(expected.Length), what);
        int first = MemoryMarshal.Cast<float, int>(found).CommonPrefixLength(MemoryMarshal.Cast<float, int>(expected));
        if (first < expected.Length) Assert.Fail($"{what}: element {first} of {expected.Length}: found {found[first]:R}, expected {expected[first]:R}");
    }
}
