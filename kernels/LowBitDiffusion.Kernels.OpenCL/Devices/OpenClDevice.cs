using System.Runtime.InteropServices;
using System.Text;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>Kind of a device.</summary>
public enum DeviceKind
{
    /// <summary>A graphics processor.</summary>
    Gpu,

    /// <summary>The processor, through OpenCL.</summary>
    Cpu,

    /// <summary>Anything else.</summary>
    Accelerator,
}

/// <summary>A device that OpenCL offers, and what it can do.</summary>
public sealed unsafe class OpenClDevice
{
    private OpenClDevice(IOpenCl api, int index, nint platform, nint id)
    {
        (Api, Index, Id) = (api, index, id);
        Platform = Text(size => (api.GetPlatformInfo(platform, ClCode.PlatformName, 0, null, &size), size), (size, p) => api.GetPlatformInfo(platform, ClCode.PlatformName, size, p, null), "clGetPlatformInfo");
        Name = Text(ClCode.DeviceName);
        Vendor = Text(ClCode.DeviceVendor);
        Driver = Text(ClCode.DriverVersion);
        Version = Text(ClCode.DeviceVersion);
        Extensions = new HashSet<string>(Text(ClCode.DeviceExtensions).Split(' ', StringSplitOptions.RemoveEmptyEntries));
        ulong type = Number(ClCode.DeviceType);
        Kind = (type & ClCode.TypeGpu) != 0 ? DeviceKind.Gpu : (type & ClCode.TypeCpu) != 0 ? DeviceKind.Cpu : DeviceKind.Accelerator;
        ComputeUnits = (int)Number(ClCode.DeviceMaxComputeUnits);
        ClockMegahertz = (int)Number(ClCode.DeviceMaxClockFrequency);
        MaxWorkGroup = (int)Number(ClCode.DeviceMaxWorkGroupSize);
        MaxBufferBytes = (long)Number(ClCode.DeviceMaxMemAllocSize);
        MemoryBytes = (long)Number(ClCode.DeviceGlobalMemSize);
        LocalBytes = (long)Number(ClCode.DeviceLocalMemSize);
        SharesHostMemory = Number(ClCode.DeviceHostUnifiedMemory) != 0;
        HasOutOfOrderQueues = (Number(ClCode.DeviceQueueProperties) & ClCode.QueueOutOfOrder) != 0;
        IsLittleEndian = Number(ClCode.DeviceEndianLittle) != 0;
        IsAvailable = Number(ClCode.DeviceAvailable) != 0;
        ulong config = Number(ClCode.DeviceSingleFpConfig);
        FusesMultiplyAdd = (config & ClCode.FpFusedMultiplyAdd) != 0;
        DividesCorrectly = (config & ClCode.FpCorrectlyRoundedDivide) != 0;
        HasDenormals = (config & ClCode.FpDenorm) != 0;
    }

    /// <summary>How the device is named on the command line: <c>opencl:0</c>.</summary>
    public string Specification => $"opencl:{Index}";

    /// <summary>Its number among all devices of all platforms.</summary>
    public int Index { get; }

    /// <summary>The platform's name.</summary>
    public string Platform { get; }

    /// <summary>The device's name.</summary>
    public string Name { get; }

    /// <summary>Who made it.</summary>
    public string Vendor { get; }

    /// <summary>Version of its driver.</summary>
    public string Driver { get; }

    /// <summary>Version of OpenCL, as the device says it.</summary>
    public string Version { get; }

    /// <summary>Extensions it has.</summary>
    public IReadOnlySet<string> Extensions { get; }

    /// <summary>Kind.</summary>
    public DeviceKind Kind { get; }

    /// <summary>Compute units.</summary>
    public int ComputeUnits { get; }

    /// <summary>Highest clock, as the driver says it; 0 where it does not.</summary>
    public int ClockMegahertz { get; }

    /// <summary>Work items of a group.</summary>
    public int MaxWorkGroup { get; }

    /// <summary>Longest buffer.</summary>
    public long MaxBufferBytes { get; }

    /// <summary>Memory.</summary>
    public long MemoryBytes { get; }

    /// <summary>Local memory of a work group.</summary>
    public long LocalBytes { get; }

    /// <summary>Whether it works in the host's memory.</summary>
    public bool SharesHostMemory { get; }

    /// <summary>Whether what is handed to a queue may run in any order that it waits for.</summary>
    public bool HasOutOfOrderQueues { get; }

    /// <summary>Whether fused multiply-add is done by hardware.</summary>
    public bool FusesMultiplyAdd { get; }

    /// <summary>Whether division and square roots can be asked to round correctly.</summary>
    public bool DividesCorrectly { get; }

    /// <summary>Whether numbers below the smallest normal one are kept.</summary>
    public bool HasDenormals { get; }

    /// <summary>Whether it has double precision.</summary>
    public bool HasDoubles => Extensions.Contains("cl_khr_fp64");

    /// <summary>Why it cannot be used; null if it can.</summary>
    public string? Refusal =>
        !IsAvailable ? "the driver says that the device is not available"
        : !IsLittleEndian ? "the device is big-endian, the kernels read four codes as one little-endian word"
        : MaxWorkGroup < 256 ? $"work groups have at most {MaxWorkGroup} items, 256 are needed"
        : LocalBytes < 16 << 10 ? $"work groups have {LocalBytes} bytes of local memory, 16 KiB are needed"
        : null;

    internal IOpenCl Api { get; }

    internal nint Id { get; }

    private bool IsLittleEndian { get; }

    private bool IsAvailable { get; }

    /// <summary>All devices of the system's OpenCL; none, and the reason, where there is no OpenCL.</summary>
    public static IReadOnlyList<OpenClDevice> All(out string? reason)
    {
        if (NativeOpenCl.Load(out reason) is not { } api) return [];
        return All(api, out reason);
    }

    /// <summary>All devices that an OpenCL offers; none, and the reason, where there are none.</summary>
    public static IReadOnlyList<OpenClDevice> All(IOpenCl api, out string? reason)
    {
        List<OpenClDevice> devices = [];
        reason = null;
        try
        {
            uint count = 0;
            int code = api.GetPlatformIds(0, null, &count);
            if (code != ClCode.PlatformNotFound) OpenClException.Check(code, "clGetPlatformIDs");
            nint[] platforms = new nint[count];
            fixed (nint* first = platforms)
            {
                if (count > 0) OpenClException.Check(api.GetPlatformIds(count, first, null), "clGetPlatformIDs");
            }

            foreach (nint platform in platforms)
            {
                foreach (nint device in OfPlatform(api, platform)) devices.Add(new OpenClDevice(api, devices.Count, platform, device));
            }

            if (devices.Count == 0) reason = count == 0 ? "OpenCL is installed, but no driver" : "the OpenCL drivers have no device";
        }
        catch (OpenClException e)
        {
            reason = e.Message;
        }

        return devices;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Specification} {Name}";

    private static nint[] OfPlatform(IOpenCl api, nint platform)
    {
        uint count = 0;
        int code = api.GetDeviceIds(platform, ClCode.AllDevices, 0, null, &count);
        if (code == ClCode.DeviceNotFound) return [];
        OpenClException.Check(code, "clGetDeviceIDs");
        if (count == 0) return [];
        nint[] devices = new nint[count];
        fixed (nint* first = devices) OpenClException.Check(api.GetDeviceIds(platform, ClCode.AllDevices, count, first, null), "clGetDeviceIDs");
        return devices;
    }

    private ulong Number(uint name)
    {
        // Some answers have 4 bytes; the rest stays zero, and the device is of the host's byte order.
        ulong value = 0;
        OpenClException.Check(Api.GetDeviceInfo(Id, name, sizeof(ulong), &value, null), "clGetDeviceInfo", $"0x{name:X}");
        return value;
    }

    private string Text(uint name) =>
        Text(size => (Api.GetDeviceInfo(Id, name, 0, null, &size), size), (size, p) => Api.GetDeviceInfo(Id, name, size, p, null), "clGetDeviceInfo");

    private static string Text(Func<nuint, (int Code, nuint Size)> length, TextReader read, string call)
    {
        (int code, nuint size) = length(0);
        OpenClException.Check(code, call);
        byte* bytes = (byte*)NativeMemory.AllocZeroed(size + 1);
        try
        {
            OpenClException.Check(read(size, bytes), call);
            return Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(bytes)).Trim();
        }
        finally
        {
            NativeMemory.Free(bytes);
        }
    }

    private delegate int TextReader(nuint size, void* value);
}
