using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Interop;
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
    private const int DeviceNotAvailable = -2, AllocationFailure = -4, OutOfResources = -5, BuildFailure = -11, InvalidBinary = -42;

    private readonly Dictionary<bool, IReadOnlyDictionary<string, int>> _calls = [];
    private ScriptedOpenCl _api = null!;
    private WorkerPool _pool = null!;
    private NetworkFolder _folder = null!;
    private string _cache = null!;
    private float[] _expected = null!;

    /// <summary>What a call that fails does.</summary>
    public enum Outcome
    {
        /// <summary>The library's error, with the device, the call and the code.</summary>
        TypedError,
        /// <summary>There is no device, and a reason.</summary>
        NoDevice,
        /// <summary>Results are as ever.</summary>
        Nothing,
    }

    [OneTimeSetUp]
    public void Open()
    {
        _cache = Directory.CreateTempSubdirectory("lbd-faults").FullName;
        _api = ScriptedOpenCl.Create();
        _pool = new WorkerPool(1);
        _folder = NetworkFolder.Open(Repository.Model("fashion-dit-w4a8"));
        _expected = Use(fresh: false);
        foreach (bool fresh in (bool[])[true, false])
        {
            _api.Forget();
            Assert.That(Use(fresh), Is.EqualTo(_expected), "without faults it works");
            Assert.That(_api.Live, Is.Empty, "and leaves nothing behind");
            _calls[fresh] = _api.Calls.ToDictionary();
        }
    }

    [OneTimeTearDown]
    public void Close()
    {
        _folder?.Dispose();
        _pool?.Dispose();
        if (_cache is not null) Directory.Delete(_cache, recursive: true);
    }

    // Every entry point, in the order of IOpenCl, and what becomes of whoever uses a device when it fails. Fresh: programs are compiled, else they come from the cache.
    private static readonly (string Method, string Call, Outcome Outcome, bool Fresh, int[] Codes)[] s_calls =
    [
        (nameof(IOpenCl.GetPlatformIds), "clGetPlatformIDs", Outcome.NoDevice, false, [OutOfResources]),
        (nameof(IOpenCl.GetPlatformInfo), "clGetPlatformInfo", Outcome.NoDevice, false, [OutOfResources]),
        (nameof(IOpenCl.GetDeviceIds), "clGetDeviceIDs", Outcome.NoDevice, false, [OutOfResources]),
        (nameof(IOpenCl.GetDeviceInfo), "clGetDeviceInfo", Outcome.NoDevice, false, [OutOfResources]),
        (nameof(IOpenCl.CreateContext), "clCreateContext", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.ReleaseContext), "clReleaseContext", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.CreateCommandQueue), "clCreateCommandQueue", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.ReleaseCommandQueue), "clReleaseCommandQueue", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.CreateBuffer), "clCreateBuffer", Outcome.TypedError, false, [AllocationFailure]),
        (nameof(IOpenCl.ReleaseMemObject), "clReleaseMemObject", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.CreateProgramWithSource), "clCreateProgramWithSource", Outcome.TypedError, true, [OutOfResources]),
        (nameof(IOpenCl.CreateProgramWithBinary), "clCreateProgramWithBinary", Outcome.Nothing, false, [InvalidBinary, OutOfResources]),
        (nameof(IOpenCl.BuildProgram), "clBuildProgram", Outcome.TypedError, true, [BuildFailure]),
        (nameof(IOpenCl.GetProgramBuildInfo), "clGetProgramBuildInfo", Outcome.TypedError, true, [OutOfResources]),
        (nameof(IOpenCl.GetProgramInfo), "clGetProgramInfo", Outcome.Nothing, true, [OutOfResources]),
        (nameof(IOpenCl.ReleaseProgram), "clReleaseProgram", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.CreateKernel), "clCreateKernel", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.ReleaseKernel), "clReleaseKernel", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.SetKernelArg), "clSetKernelArg", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.EnqueueNDRangeKernel), "clEnqueueNDRangeKernel", Outcome.TypedError, false, [OutOfResources, DeviceNotAvailable]),
        (nameof(IOpenCl.EnqueueWriteBuffer), "clEnqueueWriteBuffer", Outcome.TypedError, false, [DeviceNotAvailable]),
        (nameof(IOpenCl.EnqueueReadBuffer), "clEnqueueReadBuffer", Outcome.TypedError, false, [DeviceNotAvailable]),
        (nameof(IOpenCl.EnqueueMapBuffer), "clEnqueueMapBuffer", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.EnqueueUnmapMemObject), "clEnqueueUnmapMemObject", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.Flush), "clFlush", Outcome.TypedError, false, [DeviceNotAvailable]),
        (nameof(IOpenCl.Finish), "clFinish", Outcome.Nothing, false, [OutOfResources]),
        (nameof(IOpenCl.EnqueueMarker), "clEnqueueMarkerWithWaitList", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.SetEventCallback), "clSetEventCallback", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.GetEventProfilingInfo), "clGetEventProfilingInfo", Outcome.TypedError, false, [OutOfResources]),
        (nameof(IOpenCl.ReleaseEvent), "clReleaseEvent", Outcome.Nothing, false, [OutOfResources]),
    ];

    [Test]
    public void Every_entry_point_has_its_case() => Assert.That(s_calls.Select(c => c.Method), Is.EquivalentTo(typeof(IOpenCl).GetMethods().Select(m => m.Name)));

    private static IEnumerable<TestCaseData> Failures() =>
        from one in s_calls
        from code in one.Codes
        from share in one.Outcome == Outcome.Nothing ? [0, 1] : (double[])[0, 0.4, 1]
        from inOrder in share == 0.4 && one.Call.StartsWith("clEnqueue", StringComparison.Ordinal) ? [true, false] : (bool[])[true]
        select new TestCaseData(one.Call, one.Outcome, one.Fresh, code, share, inOrder).SetArgDisplayNames(one.Call, code.ToString(), share.ToString(), inOrder ? "in order" : "out of order");

    [TestCaseSource(nameof(Failures))]
    public void A_call_that_fails_does_what_is_said_of_it_and_leaves_nothing_behind(string call, Outcome outcome, bool fresh, int code, double share, bool inOrder)
    {
        // A log is asked for where a build has failed.
        const string Log = "clGetProgramBuildInfo";
        (int calls, int programs) = (_calls[fresh].GetValueOrDefault(call), _calls[fresh].GetValueOrDefault("clBuildProgram"));
        Assert.That(calls, call == Log ? Is.Zero : Is.Positive, "calls without faults");
        _api.Forget();
        _api.Failures = call == Log ? [("clBuildProgram", Number(programs), BuildFailure), (Log, share < 1 ? 1 : 2, code)] : [(call, Number(calls), code)];
        try
        {
            switch (outcome)
            {
                case Outcome.NoDevice:
                    Assert.That(OpenClDevice.All(_api, out string? reason), Is.Empty);
                    Assert.That(reason, Does.Contain(call).And.Contain("CL_OUT_OF_RESOURCES"));
                    break;
                case Outcome.Nothing:
                    Assert.That(Use(fresh, inOrder), Is.EqualTo(_expected));
                    break;
                default:
                    DeviceException error = Assert.Throws<DeviceException>(() => Use(fresh, inOrder))!;
                    Assert.That(error.Message, Does.StartWith("opencl:0").And.Contain(call == Log ? "no log" : call));
                    if (call == Log || code == BuildFailure) Assert.That(error.Message, Does.Contain("CL_BUILD_PROGRAM_FAILURE"));
                    else if (code == DeviceNotAvailable) Assert.That(error.Message, Does.Contain("the device is gone").And.Contain("CL_DEVICE_NOT_AVAILABLE"));
                    else Assert.That(error.Message, Does.Contain("not enough memory on the device"));
                    break;
            }
        }
        finally
        {
            _api.Failures = [];
        }

        Assert.That(_api.Live, Is.Empty, "objects left on the device");

        int Number(int all) => 1 + (int)(share * (all - 1));
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
    public void A_hundred_networks_leave_nothing_behind([Values] bool inOrder)
    {
        using ComputeDevice device = ComputeDevice.Open(OpenClDevice.All(_api, out _)[0], new DeviceCache(_cache));
        device.OutOfOrder = !inOrder && device.Properties.HasOutOfOrderQueues;
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

    // Everything a pipeline and a benchmark do with a device, once; what a device can do is known, but for the check itself.
    private float[] Use(bool fresh, bool inOrder = true)
    {
        OpenClDevice opencl = OpenClDevice.All(_api, out _)[0];
        string cache = fresh ? Path.Combine(_cache, Guid.NewGuid().ToString("N")) : _cache;
        using ComputeDevice device = ComputeDevice.Open(opencl, new DeviceCache(cache), fresh ? new DeviceCheck(KernelChoice.Portable(opencl), [], FromCache: false) : null);
        device.ProfilesKernels = true;
        device.OutOfOrder = !inOrder && device.Properties.HasOutOfOrderQueues;
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
        network.TakeKernelTimes();
        return prediction;
    }
}
