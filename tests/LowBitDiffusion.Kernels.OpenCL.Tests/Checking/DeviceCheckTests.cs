using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Programs;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Checking;

/// <summary>A variant that computes something else is refused by name and the next one is taken; what was found out is kept for the driver.</summary>
[Category("Kernels")]
public sealed class DeviceCheckTests
{
    private static readonly Dictionary<IntegerDot, (string Extension, string Call)> s_builtIns = new()
    {
        [IntegerDot.Khronos] = ("cl_khr_integer_dot_product", "dot_4x8packed_us_int(a, b)"),
        [IntegerDot.Intel] = ("cl_intel_dot_accumulate", "__builtin_IB_dp4a_us(sum, (int)a, (int)b)"),
        [IntegerDot.Nvidia] = ("cl_nv_device_attribute_query", """asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum))"""),
        [IntegerDot.AmdMixed] = ("cl_amd_device_attribute_query", "__builtin_amdgcn_sudot4(0, (int)a, 1, (int)b, sum, 0)"),
        [IntegerDot.AmdSigned] = ("cl_amd_device_attribute_query", "__builtin_amdgcn_sdot4((int)a, (int)b, sum, 0)"),
    };

    private string _folder = null!;

    [SetUp]
    public void Make() => _folder = Directory.CreateTempSubdirectory("lbd-check").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void An_honest_device_is_used_as_it_is()
    {
        using OpenClContext context = new(Device(ScriptedOpenCl.Create()));
        DeviceCheck check = DeviceCheck.Run(context);

        Assert.That(check.Refused.Where(r => r.Variant.StartsWith("Plain", StringComparison.Ordinal)), Is.Empty);
        Assert.That(check.Choice.IntegerTile, Is.EqualTo(MatrixTile.Candidates(context.Device.Kind)[0]));
    }

    // What a driver's product of bytes may get wrong: pairs in 16 bits that wrap around or saturate, the sign of the inputs, the order of bytes.
    [TestCase("(int)(short)((int)(a & 255) * (int)(char)b + (int)((a >> 8) & 255) * (int)(char)(b >> 8)) + (int)((a >> 16) & 255) * (int)(char)(b >> 16) + (int)(a >> 24) * (int)(char)(b >> 24)")]
    [TestCase("clamp((int)(a & 255) * (int)(char)b + (int)((a >> 8) & 255) * (int)(char)(b >> 8), -32768, 32767) + (int)((a >> 16) & 255) * (int)(char)(b >> 16) + (int)(a >> 24) * (int)(char)(b >> 24)")]
    [TestCase("(int)(char)(a & 255) * (int)(char)b + (int)((a >> 8) & 255) * (int)(char)(b >> 8) + (int)((a >> 16) & 255) * (int)(char)(b >> 16) + (int)(a >> 24) * (int)(char)(b >> 24)")]
    [TestCase("(int)(a & 255) * (int)(char)(b >> 8) + (int)((a >> 8) & 255) * (int)(char)b + (int)((a >> 16) & 255) * (int)(char)(b >> 16) + (int)(a >> 24) * (int)(char)(b >> 24)")]
    [TestCase("no function at all")]
    public void A_wrong_variant_is_refused_by_name_and_the_next_is_taken(string product)
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.MoreExtensions = "cl_khr_integer_dot_product";
        api.Source = text => text.Replace("dot_4x8packed_us_int(a, b)", $"({product})", StringComparison.Ordinal);
        using OpenClContext context = new(Device(api), new DeviceCache(_folder));
        DeviceCheck check = DeviceCheck.Of(context), again = DeviceCheck.Of(context);

        Assert.That(check.Choice.Dot, Is.EqualTo(IntegerDot.Plain));
        Assert.That(check.Refused.Select(r => r.Variant), Has.Exactly(1).StartsWith("Khronos"));
        Assert.That(check.Refused[0].Reason, Does.Contain(product.StartsWith("no", StringComparison.Ordinal) ? "CL_BUILD_PROGRAM_FAILURE" : "the definition gives"));
        Assert.That((again.FromCache, again.Choice, again.Refused.Single()), Is.EqualTo((true, check.Choice, check.Refused.Single())), "recalled");
    }

    // Each built-in with what it computes written out, and with the input's sign wrong.
    [TestCase(IntegerDot.Khronos)]
    [TestCase(IntegerDot.Intel)]
    [TestCase(IntegerDot.Nvidia)]
    [TestCase(IntegerDot.AmdMixed)]
    [TestCase(IntegerDot.AmdSigned)]
    public void A_built_in_is_preferred_to_plain_arithmetic_if_it_is_right(IntegerDot dot)
    {
        Assert.That(Check(right: true).Choice.Dot, Is.EqualTo(dot));

        DeviceCheck wrong = Check(right: false);
        Assert.That(wrong.Choice.Dot, Is.EqualTo(IntegerDot.Plain));
        Assert.That(wrong.Refused.Single(r => r.Variant.StartsWith($"{dot},", StringComparison.Ordinal)).Reason, Does.Contain("the definition gives"));

        DeviceCheck Check(bool right)
        {
            (string extension, string call) = s_builtIns[dot];
            ScriptedOpenCl api = ScriptedOpenCl.Create();
            api.MoreExtensions = extension;
            string input = right == (dot != IntegerDot.AmdSigned) ? "uchar" : "char";
            string sum = string.Join(" + ", Enumerable.Range(0, 4).Select(i => $"(int)({input})(a >> {8 * i}) * (int)(char)(b >> {8 * i})"));
            api.Source = text => text
                .Replace(call, dot switch { IntegerDot.Khronos => $"({sum})", IntegerDot.Nvidia => $"result = sum + {sum}", _ => $"(sum + {sum})" }, StringComparison.Ordinal)
                .Replace("asm(", "not_of_this_processor(", StringComparison.Ordinal);
            using OpenClContext context = new(Device(api));
            return DeviceCheck.Run(context);
        }
    }

    [Test]
    public void A_device_on_which_nothing_is_right_is_not_used()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.Source = text => text.Replace("values[r] = s == 0 ? term : values[r] + term;", "values[r] = term;", StringComparison.Ordinal);
        using OpenClContext context = new(Device(api));

        OpenClException error = Assert.Throws<OpenClException>(() => DeviceCheck.Run(context))!;
        Assert.That(error.Message, Does.StartWith("self-check").And.Contain("odd image, two ranges"));
    }

    [Test]
    public void Damaged_and_foreign_entries_of_the_cache_count_as_missing()
    {
        DeviceCache cache = new(_folder);
        cache.Keep("key", [1, 2, 3]);
        Assert.That(cache.Find("key"), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(cache.Find("other"), Is.Null);

        byte[] file = File.ReadAllBytes(cache.PathOf("key"));
        file[^1] ^= 1;
        File.WriteAllBytes(cache.PathOf("key"), file);
        Assert.That(cache.Find("key"), Is.Null, "a bit is wrong");
        File.WriteAllBytes(cache.PathOf("key"), file[..10]);
        Assert.That(cache.Find("key"), Is.Null, "cut");
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1), "nothing temporary is left");
        Assert.That(() => new DeviceCache(Path.Combine(cache.PathOf("key"), "below a file")).Keep("key", [1]), Throws.Nothing, "a cache that cannot be written is done without");
    }

    [Test]
    public void A_program_from_the_cache_is_not_compiled_and_a_damaged_one_is()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        DeviceCache cache = new(_folder);
        Use();
        int compiled = api.Calls["clCreateProgramWithSource"];
        Use();
        Assert.That(api.Calls["clCreateProgramWithSource"], Is.EqualTo(compiled), "compiled twice");

        foreach (string file in Directory.GetFiles(_folder)) File.WriteAllBytes(file, new byte[100]);
        Use();
        Assert.That(api.Calls["clCreateProgramWithSource"], Is.EqualTo(compiled + 1), "not compiled anew");
        Assert.That(api.Live, Is.Empty);

        void Use()
        {
            using OpenClContext context = new(Device(api), cache);
            using DeviceQueue queue = context.CreateQueue();
            using DeviceBuffer buffer = context.Allocate(64);
            queue.Upload<float>(buffer.At(0), [1, 2, 3]);
            DeviceRows rows = new(buffer.At(0), 3, 3);
            DeviceElements.Affine(queue, new(1, 1, 3), rows, 2, 1, rows);
            Assert.That(queue.Download<float>(buffer.At(0), 3), Is.EqualTo(new float[] { 3, 5, 7 }));
        }
    }

    private static OpenClDevice Device(ScriptedOpenCl api) => OpenClDevice.All(api, out _)[0];
}
