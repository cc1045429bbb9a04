using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Programs;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>A device beside the processor, opened and checked: networks prepared for it run there. Thread-safe; any number of models share it, and are disposed before it.</summary>
public sealed class ComputeDevice : IDisposable
{
    /// <summary>The processor, as it is called where devices are chosen.</summary>
    public const string Processor = "cpu";

    /// <summary>A graphics processor if there is one that works, else the processor.</summary>
    public const string Automatic = "auto";

    /// <summary>The reason for a device that was named.</summary>
    public const string AsAsked = "as asked";

    private readonly Lazy<TileTuner> _tuner;
    private bool _outOfOrder;

    private ComputeDevice(OpenClContext context, DeviceCheck check) => (Context, Check, _tuner) = (context, check, new(() => new TileTuner(context, check.Choice)));

    /// <summary>How it is called: <c>opencl:0</c>.</summary>
    public string Name => Context.Device.Specification;

    /// <summary>What the driver says of it.</summary>
    public OpenClDevice Properties => Context.Device;

    /// <summary>Which kernels it uses, and which it does not for giving wrong results.</summary>
    public DeviceCheck Check { get; }

    /// <summary>Whether networks compiled from now on have the device note when kernels begin and end: <see cref="PlannedNetwork.TakeKernelTimes"/>.</summary>
    public bool ProfilesKernels { get; set; }

    /// <summary>Whether networks compiled from now on measure which tiles are fastest for their layers, where that is not known of an earlier time. Results do not depend on tiles.</summary>
    public bool MeasuresTiles { get; set; }

    /// <summary>
    /// Whether networks compiled from now on hand over their steps without an order but what they need of each other, so that a device may run some beside each other. Results do not depend on it.
    /// </summary>
    /// <exception cref="DeviceException">The device has no such queues.</exception>
    public bool OutOfOrder
    {
        get => _outOfOrder;
        set => _outOfOrder = !value || Context.Device.HasOutOfOrderQueues ? value : throw new DeviceException(ToString(), "its queues run everything in order");
    }

    /// <summary>Which tiles are fastest here.</summary>
    public TileTuner Tuner => _tuner.Value;

    internal OpenClContext Context { get; }

    internal KernelChoice Choice => Check.Choice;

    /// <summary>Opens the device of a specification.</summary>
    /// <param name="specification"><c>cpu</c>, <c>auto</c>, <c>opencl</c> for the first device, or <c>opencl:N</c>.</param>
    /// <param name="reason">Why it is this one, in words.</param>
    /// <returns>The device, or null for the processor.</returns>
    /// <exception cref="DeviceException">There is no such device, or it cannot be used. Not with <c>auto</c>.</exception>
    /// <exception cref="InvalidRequestException">The specification is none of these.</exception>
    public static ComputeDevice? Open(string specification, out string reason) => Open(specification, out reason, openCl: null);

    /// <summary>Whether it has float16 and keeps it as it should: what <see cref="DeviceFloat.Auto"/> asks for.</summary>
    public bool HasHalves => Context.Device.Extensions.Contains("cl_khr_fp16") && Check.HalfFault is null;

    /// <summary>Integer operations per second that the device's products reach on registers alone, two for each product that is added.</summary>
    /// <exception cref="DeviceException">The device fails.</exception>
    public double MeasurePeak()
    {
        try
        {
            using DeviceQueue queue = Context.CreateQueue();
            return PeakProducts.OperationsPerSecond(queue, Choice);
        }
        catch (OpenClException e)
        {
            throw Failure(Context.Device, e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Context.Dispose();

    /// <inheritdoc/>
    public override string ToString() => Context.Device.ToString();

    /// <summary>How values are kept when so much is asked for.</summary>
    /// <exception cref="DeviceException">They cannot be kept so.</exception>
    internal ValueStorage Storage(DeviceFloat asked)
    {
        if (asked == DeviceFloat.F32 || (asked == DeviceFloat.Auto && !HasHalves)) return ValueStorage.Single;
        return Check.HalfFault is { } fault ? throw new DeviceException(ToString(), $"values cannot be kept as float16: {fault}") : ValueStorage.Half;
    }

    /// <summary>As above, of a given OpenCL; null for the system's own.</summary>
    internal static ComputeDevice? Open(string specification, out string reason, IOpenCl? openCl)
    {
        string? missing = null;
        return Open(specification, DeviceCache.Default, openCl ?? NativeOpenCl.Load(out missing), missing, out reason);
    }

    internal static ComputeDevice? Open(string specification, DeviceCache? cache, IOpenCl? api, string? missing, out string reason)
    {
        if (specification == Processor)
        {
            reason = AsAsked;
            return null;
        }

        IReadOnlyList<OpenClDevice> devices = api is null ? [] : OpenClDevice.All(api, out missing);
        if (specification == Automatic) return OpenBest(devices, cache, missing, out reason);
        if (IndexOf(specification) is not { } index)
            throw new InvalidRequestException("device", $"expected {Processor}, {Automatic}, opencl or opencl:N, found '{specification}'");
        if (index >= devices.Count)
            throw new DeviceException(specification, devices.Count == 0 ? missing ?? "there is no device" : $"there is no such device; there are {string.Join(", ", devices)}");
        reason = AsAsked;
        return Open(devices[index], cache);
    }

    /// <summary>Opens a device and checks it, unless what it computes is known.</summary>
    internal static ComputeDevice Open(OpenClDevice device, DeviceCache? cache, DeviceCheck? known = null)
    {
        if (device.Refusal is { } refusal) throw new DeviceException(device.ToString(), refusal);
        try
        {
            OpenClContext context = new(device, cache);
            try
            {
                return new ComputeDevice(context, known ?? DeviceCheck.Of(context));
            }
            catch
            {
                context.Dispose();
                throw;
            }
        }
        catch (OpenClException e)
        {
            throw Failure(device, e);
        }
    }

    /// <summary>The library's error for an error of the driver.</summary>
    internal static DeviceException Failure(OpenClDevice device, OpenClException e) => new(
        device.ToString(), e.IsDeviceLost ? $"the device is gone ({e.Message})" : e.IsOutOfMemory ? $"not enough memory on the device ({e.Message})" : e.Message, e);

    private static ComputeDevice? OpenBest(IReadOnlyList<OpenClDevice> devices, DeviceCache? cache, string? missing, out string reason)
    {
        List<string> reasons = [.. devices.Count == 0 ? [missing ?? "there is no device"] : Array.Empty<string>()];
        foreach (OpenClDevice device in devices)
        {
            if (device.Kind != DeviceKind.Gpu)
            {
                reasons.Add($"{device} is no graphics processor");
                continue;
            }

            try
            {
                ComputeDevice opened = Open(device, cache);
                reason = "the first graphics processor that passes the checks";
                return opened;
            }
            catch (DeviceException e)
            {
                reasons.Add(e.Message);
            }
        }

        reason = string.Join("; ", reasons);
        return null;
    }

    private static int? IndexOf(string specification)
    {
        if (specification == "opencl") return 0;
        return specification.StartsWith("opencl:", StringComparison.Ordinal) && int.TryParse(specification["opencl:".Length..], System.Globalization.NumberStyles.None, null, out int index) ? index : null;
    }
}
