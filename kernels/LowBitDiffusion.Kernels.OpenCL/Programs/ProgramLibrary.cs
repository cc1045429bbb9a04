using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Programs;

/// <summary>
/// Programs of one context, built when first asked for: a family's source with its options, from the cache's binary where the device, its driver, the source and the options are the same. Thread-safe.
/// </summary>
internal sealed unsafe partial class ProgramLibrary(OpenClContext context) : IDisposable
{
    private static readonly ConcurrentDictionary<string, string> s_sources = [];

    private readonly Dictionary<(string Family, string Options), nint> _programs = [];
    private readonly Lock _lock = new();

    /// <summary>The text of a family: what all have in common, then its own with the files that it includes.</summary>
    public static string Source(string family) => s_sources.GetOrAdd(family, f => Resource("common") + Included(Resource(f)));

    /// <summary>A kernel of a program.</summary>
    /// <exception cref="OpenClException">The program does not build, or has no such kernel.</exception>
    public Kernel CreateKernel(string family, string options, string name)
    {
        nint program;
        lock (_lock)
        {
            if (!_programs.TryGetValue((family, options), out program))
            {
                program = Build(family, options);
                _programs.Add((family, options), program);
            }
        }

        int error;
        nint kernel;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0')) kernel = context.Api.CreateKernel(program, text, &error);
        OpenClException.Check(error, "clCreateKernel", name);
        return new Kernel(context.Api, kernel, name);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (nint program in _programs.Values) context.Api.ReleaseProgram(program);
            _programs.Clear();
        }
    }

    private static string Included(string text) => IncludeLine().Replace(text, line => Resource(line.Groups[1].Value));

    [GeneratedRegex("^#include \"(\\w+)\\.cl\"$", RegexOptions.Multiline)]
    private static partial Regex IncludeLine();

    private static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"opencl/{name}.cl") ?? throw new ArgumentException($"no kernel source '{name}'");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }

    private nint Build(string family, string macros)
    {
        OpenClDevice device = context.Device;
        string options = $"-cl-std=CL1.2 {macros}";
        if (device.DividesCorrectly) options += " -cl-fp32-correctly-rounded-divide-sqrt";
        if (device.HasDoubles) options += " -DHAS_DOUBLES";
        string source = Source(family), key = $"program\n{device.Platform}\n{device.Name}\n{device.Version}\n{device.Driver}\n{options}\n{source}";
        if (context.Cache?.Find(key) is { } binary && FromBinary(binary, options) is { } known) return known;
        nint program = FromSource(source, options, $"{family} {macros}");
        if (context.Cache is { } cache && Binary(program) is { } built) cache.Keep(key, built);
        return program;
    }

    // A binary that the driver does not take is built anew.
    private nint? FromBinary(byte[] binary, string options)
    {
        int status, error;
        nint program;
        fixed (byte* first = binary) program = context.Api.CreateProgramWithBinary(context.Handle, context.Device.Id, first, (nuint)binary.Length, &status, &error);
        if (error != ClCode.Success) return null;
        fixed (byte* text = Encoding.UTF8.GetBytes(options + '\0'))
        {
            if (status == ClCode.Success && context.Api.BuildProgram(program, context.Device.Id, text) == ClCode.Success) return program;
        }

        context.Api.ReleaseProgram(program);
        return null;
    }

    private nint FromSource(string source, string options, string what)
    {
        int error;
        nint program;
        byte[] text = Encoding.UTF8.GetBytes(source);
        fixed (byte* first = text) program = context.Api.CreateProgramWithSource(context.Handle, first, (nuint)text.Length, &error);
        OpenClException.Check(error, "clCreateProgramWithSource", what);
        fixed (byte* given = Encoding.UTF8.GetBytes(options + '\0')) error = context.Api.BuildProgram(program, context.Device.Id, given);
        if (error == ClCode.Success) return program;
        string log = Log(program);
        context.Api.ReleaseProgram(program);
        throw new OpenClException("clBuildProgram", error, $"{what} on {context.Device}:\n{log}");
    }

    private string Log(nint program)
    {
        nuint size;
        if (context.Api.GetProgramBuildInfo(program, context.Device.Id, ClCode.ProgramBuildLog, 0, null, &size) != ClCode.Success) return "no log";
        byte[] log = new byte[size + 1];
        fixed (byte* first = log)
        {
            if (context.Api.GetProgramBuildInfo(program, context.Device.Id, ClCode.ProgramBuildLog, size, first, null) != ClCode.Success) return "no log";
            return Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(first)).Trim();
        }
    }

    private byte[]? Binary(nint program)
    {
        nuint size;
        if (context.Api.GetProgramInfo(program, ClCode.ProgramBinarySizes, (nuint)sizeof(nuint), &size, null) != ClCode.Success || size == 0) return null;
        byte[] binary = new byte[size];
        fixed (byte* first = binary)
        {
            byte* place = first;
            return context.Api.GetProgramInfo(program, ClCode.ProgramBinaries, (nuint)sizeof(byte*), &place, null) == ClCode.Success ? binary : null;
        }
    }
}
