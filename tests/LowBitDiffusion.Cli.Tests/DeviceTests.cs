using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>--device</c>: what a device is, what it draws, what it leaves to the processor, how fast it is; and what is said where there is none.</summary>
public sealed class DeviceTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task The_doctor_lists_devices_or_says_why_there_are_none()
    {
        JsonElement machine = (await Lbd.SucceedAsync("doctor", "--json")).Json;
        IReadOnlyList<OpenClDevice> devices = OpenClDevice.All(out string? reason);

        Assert.That(machine.GetProperty("devices").EnumerateArray().Select(d => d.GetProperty("name").GetString()), Is.EqualTo(devices.Select(d => d.Name)));
        Assert.That(machine.GetProperty("no_devices").GetString(), Is.EqualTo(reason));
    }

    [Test]
    public async Task A_device_that_is_not_there_is_one_line()
    {
        LbdResult result = await Lbd.RunAsync("generate", "--model", SharedModels.Quantized, "--device", "opencl:99", "--out", _folder["x.png"]);

        Assert.That(result.ExitCode, Is.Not.Zero);
        Assert.That(result.ErrorLines[^1], Does.Contain("opencl:99: "));
    }

    [Test]
    public async Task A_device_is_checked_inspected_drawn_on_and_measured()
    {
        if (OpenClDevice.All(out string? reason) is not [{ Refusal: null }, ..]) Assert.Ignore($"no device: {reason}");
        Assert.That((await Lbd.SucceedAsync("doctor", "--device", "opencl:0")).Out, Does.Contain("passes the check of its integer kernels"));
        Assert.That((await Lbd.SucceedAsync("inspect", SharedModels.Quantized, "--device", "opencl:0")).Out, Does.Contain("steps of the plan; on the processor:").And.Contain("before the loop"));

        JsonElement drawn = (await Lbd.SucceedAsync("generate", "--model", SharedModels.Quantized, "--device", "opencl:0", "--steps", "2", "--label", "0", "--out", _folder["x.png"], "--json")).Json;
        Assert.That(drawn.GetProperty("device").GetProperty("device").GetString(), Does.StartWith("opencl:0 "));

        JsonElement measured = (await Lbd.SucceedAsync("bench", "--model", SharedModels.Quantized, "--device", "opencl:0", "--device-float", "f16", "--device-queue", "out-of-order", "--steps", "2", "--json")).Json;
        Assert.That(measured.GetProperty("per_step").GetProperty("launches").GetInt64(), Is.GreaterThan(10));
        Assert.That(measured.GetProperty("peak_operations_per_second").GetDouble(), Is.Positive);
        Assert.That(measured.GetProperty("kernels").EnumerateArray().Select(k => k.GetProperty("kernel").GetString()), Has.Some.EqualTo("integer_matrix"));
    }
}
