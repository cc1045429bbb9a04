using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Programs;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Faults;

/// <summary>Every call of the driver may fail, at any time: the error is the library's own and names the device, the call and the code, and nothing stays behind on the device.</summary>
[Category("Execution")]
public sealed class FaultInjectionTests
{
    private const int DeviceNotAvailable = -2, AllocationFailure = -4, OutOfResources = -5, BuildFailure = -11;

    private readonly Dictionary<bool, IReadOnlyDictionary<string, int>> _calls = [];
    private ScriptedOpenCl _api = null!;
    private WorkerPool _pool = null!;
    private NetworkFolder _folder = null!;
    private string _cache = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _cache = Directory.CreateTempSubdirectory("lbd-faults").FullName;
        _api = ScriptedOpenCl.Create();
        _pool = new WorkerPool(1);
        _folder = NetworkFolder.Open(Repository.Model("fashion-dit-w4a8"));
        Use(compiles: false);
        foreach (bool compiles in (bool[])[true, false])
        {
            _api.Forget();
            Assert.That(Use(compiles), Is.Not.Empty, "without faults it works");
            Assert.That(_api.Live, Is.Empty, "and leaves nothing behind");
            _calls[compiles] = _api.Calls.ToDictionary();
        }
    }

    [OneTimeTearDown]
    public void Close()
    {
        _folder?.Dispose();
        _pool?.Dispose();
        if (_cache is not null) Directory.Delete(_cache, recursive: true);
    }

    public static IEnumerable<TestCaseData> Failures()
    {
        foreach ((string call, bool compiles, int code) in ((string, bool, int)[])
        [
            ("clCreateProgramWithSource", true, OutOfResources), ("clBuildProgram", true, BuildFailure), ("clCreateContext", false, OutOfResources), ("clCreateCommandQueue", false, OutOfResources),
            ("clCreateBuffer", false, AllocationFailure), ("clCreateKernel", false, OutOfResources), ("clSetKernelArg", false, OutOfResources), ("clEnqueueNDRangeKernel", false, OutOfResources),
            ("clEnqueueNDRangeKernel", false, DeviceNotAvailable), ("clEnqueueWriteBuffer", false, DeviceNotAvailable), ("clEnqueueReadBuffer", false, DeviceNotAvailable), ("clFlush", false, DeviceNotAvailable),
            ("clEnqueueMarkerWithWaitList", false, OutOfResources), ("clSetEventCallback", false, OutOfResources), ("clEnqueueMapBuffer", false, OutOfResources),
        ])
        {
            foreach (double when in (double[])[0, 0.4, 1]) yield return new TestCaseData(call, when, compiles, code);
        }
    }

    [TestCaseSource(nameof(Failures))]
    public void A_call_that_fails_is_a_typed_error_and_leaves_nothing_behind(string call, double when, bool compiles, int code)
    {
        _api.Forget();
        _api.Failure = (call, 1 + (int)(when * (_calls[compiles][call] - 1)), code);
        try
        {
            DeviceException error = Assert.Throws<DeviceException>(() => Use(compiles))!;
            Assert.That(error.Message, Does.StartWith("opencl:0").And.Contain(call));
            if (code == DeviceNotAvailable) Assert.That(error.Message, Does.Contain("the device is gone").And.Contain("CL_DEVICE_NOT_AVAILABLE"));
            if (code is AllocationFailure or OutOfResources) Assert.That(error.Message, Does.Contain("not enough memory on the device"));
            if (code == BuildFailure) Assert.That(error.Message, Does.Contain("CL_BUILD_PROGRAM_FAILURE"));
        }
        finally
        {
            _api.Failure = null;
        }

        Assert.That(_api.Live, Is.Empty, "objects left on the device");
    }

    [TestCase("clGetPlatformIDs", 1)]
    [TestCase("clGetPlatformIDs", 2)]
    [TestCase("clGetDeviceIDs", 1)]
    [TestCase("clGetDeviceInfo", 5)]
    public void A_driver_that_cannot_be_asked_is_a_reason_not_an_error(string call, int number)
    {
        _api.Forget();
        _api.Failure = (call, number, OutOfResources);
        IReadOnlyList<OpenClDevice> devices = OpenClDevice.All(_api, out string? reason);
        _api.Failure = null;

        Assert.That(devices, Is.Empty);
        Assert.That(reason, Does.Contain(call).And.Contain("CL_OUT_OF_RESOURCES"));
    }

    [Test]
    public void Without_OpenCL_the_processor_is_the_automatic_choice()
    {
        Assert.That(ComputeDevice.Open(ComputeDevice.Automatic, null, null, "no OpenCL is installed", out string reason), Is.Null);
        Assert.That(reason, Is.EqualTo("no OpenCL is installed"));
        Assert.That(() => ComputeDevice.Open("opencl:0", null, null, "no OpenCL is installed", out _), Throws.TypeOf<DeviceException>().With.Message.EqualTo("opencl:0: no OpenCL is installed"));
        Assert.That(() => ComputeDevice.Open("gpu", null, null, null, out _), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("'gpu'"));
    }

    [Test]
    public void A_hundred_networks_leave_nothing_behind()
    {
        using ComputeDevice device = ComputeDevice.Open(OpenClDevice.All(_api, out _)[0], new DeviceCache(_cache));
        using PreparedModel model = new(_folder.Network, _folder.Weights, device: device);
        IReadOnlyDictionary<string, int>? after = null;
        for (int i = 0; i < 100; i++)
        {
            Run(model);
            after ??= _api.Live;
            Assert.That(_api.Live, Is.EquivalentTo(after), $"objects alive after network {i + 1}");
        }
    }

    [Test]
    public async Task A_hundred_pipelines_leave_nothing_behind()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        string folder = TinyFolder.Unconditional(Path.Combine(_cache, "tiny"));
        float[]? first = null;
        for (int i = 0; i < 100; i++)
        {
            await using (DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(folder, new() { Device = "opencl:0", OpenCl = api, MeasureDevice = false, Threads = 1 }))
            {
                float[] sample = (await pipeline.GenerateAsync(new() { Steps = 1, Seed = 3 }))[0].Sample;
                Assert.That(sample, Is.EqualTo(first ??= sample), $"picture {i + 1}");
                Assert.That(api.Live, Is.Not.Empty, "the pipeline is on the device");
            }

            Assert.That(api.Live, Is.Empty, $"objects alive after pipeline {i + 1}");
        }
    }

    // Everything a pipeline does with a device, once; what a device can do is known, but for the check itself.
    private float[] Use(bool compiles)
    {
        OpenClDevice opencl = OpenClDevice.All(_api, out _)[0];
        using ComputeDevice device = ComputeDevice.Open(opencl, compiles ? null : new DeviceCache(_cache), compiles ? new DeviceCheck(KernelChoice.Portable(opencl), [], FromCache: false) : null);
        using PreparedModel model = new(_folder.Network, _folder.Weights, device: device);
        return Run(model);
    }

    private float[] Run(PreparedModel model)
    {
        IReadOnlyDictionary<string, TensorShape> inputs = _folder.Network.NativeInputs(1);
        using PlannedNetwork network = model.Compile(inputs, _pool);
        float[] prediction = new float[network.PredictionLength];
        network.Prepare([500], inputs.Where(i => i.Key is not ("sample" or "timestep")).ToDictionary(i => i.Key, i => new float[i.Value.Elements]));
        network.Predict(0, new float[network.SampleLength], prediction);
        return prediction;
    }
}
