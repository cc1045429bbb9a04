using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Tests.Convolution;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;

/// <summary>
/// The kernel for tensor cores where there are none: its one instruction is replaced by what the instruction set's description says that a warp computes, by way of local memory. That real tensor cores
/// do the same is for the check of a device to find out.
/// </summary>
[Category("Kernels")]
public sealed class TensorMatrixTests
{
    // Of a 16×32 times 32×8 product lane 4·quad + place holds: of A, words {place, place + 4} of rows {quad, quad + 8}; of B, the same words of column quad; of the sums, columns {2·place, 2·place + 1}.
    private const string Emulation = """
        inline int4 emulate(__local uint *shared, int lane, uint4 a, uint2 b, int4 sum) {
            const uint held[6] = { a.x, a.y, a.z, a.w, b.x, b.y };
            for (int i = 0; i < 6; i++) shared[lane * 6 + i] = held[i];
            barrier(CLK_LOCAL_MEM_FENCE);
            int sums[4] = { sum.x, sum.y, sum.z, sum.w };
            for (int i = 0; i < 4; i++) {
                const int row = lane / 4 + (i / 2) * 8, column = lane % 4 * 2 + i % 2;
                for (int k = 0; k < 32; k++) {
                    const int word = k / 4;
                    const uint codes = shared[(row % 8 * 4 + word % 4) * 6 + row / 8 + word / 4 * 2], weights = shared[(column * 4 + word % 4) * 6 + 4 + word / 4];
                    sums[i] += (int)(codes >> (k % 4 * 8) & 255) * (int)(char)(weights >> (k % 4 * 8) & 255);
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            return (int4)(sums[0], sums[1], sums[2], sums[3]);
        }

        __kernel
        """;

    private DeviceBench _bench = null!;

    [OneTimeSetUp]
    public void Open()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.Source = Emulated;
        _bench = new DeviceBench(new OpenClContext(OpenClDevice.All(api, out _)[0]));
    }

    [OneTimeTearDown]
    public void Close() => _bench?.Dispose();

    [TearDown]
    public void Free() => _bench.Clear();

    public static IEnumerable<QuantizedConvCase> Cases() =>
    [
        QuantizedConvCase.Linear(67, 36, 130), QuantizedConvCase.Linear(1, 129, 33) with { Codes = CodeRange.FourBit }, QuantizedConvCase.Linear(17, 260, 9) with { Codes = CodeRange.Alternating },
        new("tensor, segments", 37, 70) { Batch = 3, Image = (7, 9), Kernel = (3, 3), Padding = (1, 1, 1, 1), Segments = [24, 13], ZeroPoints = [3, 200], ImageVector = true, Residual = true, OutputScale = 0.7f },
        new("tensor, nibbles", 40, 66) { Batch = 2, Kernel = (3, 3), Codes = CodeRange.FourBit, ZeroPoints = [255] },
        QuantizedConvCase.Linear(70, 64, 64) with { Codes = CodeRange.Largest },
    ];

    [TestCaseSource(nameof(Cases))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
        QuantizedConvProblem problem = new(definition);
        IntegerMatrixTests.SameBits(IntegerMatrixTests.Run(_bench, definition, problem, TestDevice.Portable with { Dot = IntegerDot.NvidiaTensor }), problem.Expected(), definition.Name);
    }

    [Test]
    public void A_driver_that_does_not_know_the_instruction_has_it_refused()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.MoreExtensions = "cl_nv_device_attribute_query";
        using OpenClContext context = new(OpenClDevice.All(api, out _)[0]);
        DeviceCheck check = DeviceCheck.Run(context);

        Assert.That(check.Choice.Dot, Is.EqualTo(IntegerDot.Plain));
        Assert.That(check.Refused.Select(r => r.Variant.Split(',')[0]), Is.EqualTo(new[] { "NvidiaTensor", "Nvidia" }));
        Assert.That(check.Refused.Select(r => r.Reason), Is.All.Contains("CL_BUILD_PROGRAM_FAILURE"));
    }

    private static string Emulated(string text)
    {
        int at = text.IndexOf("inline int4 multiplyTiles", StringComparison.Ordinal), kernel = text.IndexOf("__kernel", Math.Max(at, 0), StringComparison.Ordinal), peak = text.IndexOf("// What the products", StringComparison.Ordinal);
        if (at < 0) return text;
        string body = text[kernel..peak]["__kernel".Length..].Replace("multiplyTiles(a, b, sums[t])", "emulate(shared + get_local_id(1) * 192, lane, a, b, sums[t])", StringComparison.Ordinal)
            .Replace("OPEN_INTEGER", "__local uint shared[WARPS * 192]; OPEN_INTEGER", StringComparison.Ordinal);
        return (text[..at] + Emulation + body).Replace("DOT_NVIDIA", "DOT_PLAIN_HERE", StringComparison.Ordinal);
    }
}
