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
        api.Source = text => Patched(text, product);
        using OpenClContext context = new(Device(api), new DeviceCache(_folder));
        DeviceCheck check = DeviceCheck.Of(context), again = DeviceCheck.Of(context);

        Assert.That(check.Choice.Dot, Is.EqualTo(IntegerDot.Plain));
        Assert.That(check.Refused.Select(r => r.Variant), Has.Exactly(1).StartsWith("Khronos"));
        Assert.That(check.Refused[0].Reason, Does.Contain(product.StartsWith("no", StringComparison.Ordinal) ? "CL_BUILD_PROGRAM_FAILURE" : "the definition gives"));
        Assert.That((again.FromCache, again.Choice, again.Refused.Single()), Is.EqualTo((true, check.Choice, check.Refused.Single())), "recalled");
    }

    [Test]
    public void A_right_variant_is_preferred_to_plain_arithmetic()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.MoreExtensions = "cl_khr_integer_dot_product";
        api.Source = text => Patched(text, "(int)(a & 255) * (int)(char)b + (int)((a >> 8) & 255) * (int)(char)(b >> 8) + (int)((a >> 16) & 255) * (int)(char)(b >> 16) + (int)(a >> 24) * (int)(char)(b >> 24)");
        using OpenClContext context = new(Device(api));

        Assert.That(DeviceCheck.Run(context).Choice.Dot, Is.EqualTo(IntegerDot.Khronos));
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

    private static string Patched(string text, string product) => text.Replace("dot_4x8packed_us_int(a, b)", $"({product})", StringComparison.Ordinal);

    private static OpenClDevice Device(ScriptedOpenCl api) => OpenClDevice.All(api, out _)[0];
}
