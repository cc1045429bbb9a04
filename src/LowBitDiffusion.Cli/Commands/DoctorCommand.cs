using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd doctor</c>: what this machine offers and what the library makes of it.</summary>
internal sealed class DoctorCommand : CliCommand
{
    private readonly Option<string> _device = CommonOptions.Device();
    private readonly Option<bool> _json = CommonOptions.Json();

    public DoctorCommand(Terminal terminal) : base("doctor", "Show what this machine offers, which kernels were chosen, and why others were not; with --device, check a device.", terminal)
    {
        Options.Add(_device);
        Options.Add(_json);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd doctor", "lbd doctor --device opencl:0", "DOTNET_EnableAVX512=0 lbd doctor"];

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        CpuFeatures features = CpuFeatures.Detect();
        Dictionary<string, bool> offered = Enum.GetValues<InstructionSet>().Where(set => set != InstructionSet.Scalar).ToDictionary(set => set.ToString(), features.Supports);
        long memory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        IReadOnlyList<OpenClDevice> devices = OpenClDevice.All(out string? noDevices);
        using ComputeDevice? device = ComputeDevice.Open(parsed.GetValue(_device)!, out string placement);
        if (parsed.GetValue(_json))
        {
            Terminal.Out.WriteLine(JsonSerializer.Serialize(
                new
                {
                    Processor = ProcessorName(),
                    Environment.ProcessorCount,
                    Architecture = RuntimeInformation.ProcessArchitecture,
                    System = RuntimeInformation.OSDescription,
                    Runtime = RuntimeInformation.FrameworkDescription,
                    MemoryBytes = memory,
                    InstructionSets = offered,
                    IntegerKernels = new { Chosen = KernelTable.Best.InstructionSet, KernelTable.Available, KernelTable.Unavailable },
                    AttentionInBfloat16 = Bf16Attention.IsSupported,
                    AttentionInIntegers = AttentionAdvice(KernelTable.Best.InstructionSet),
                    FloatKernels = new { Chosen = SimdLevels.Best, Available = SimdLevels.Supported },
                    Devices = devices.Select(d => new { d.Specification, d.Name, d.Vendor, d.Platform, d.Driver, d.Version, d.Kind, d.ComputeUnits, d.MemoryBytes, d.MaxBufferBytes, d.LocalBytes, d.Refusal }),
                    NoDevices = noDevices,
                    Device = device is null ? null : new { device.Name, Reason = placement, Dot = device.Check.Choice.Dot.ToString(), Tile = device.Check.Choice.IntegerTile.ToString(), device.Check.Refused, device.Check.FromCache, device.HasHalves, device.Check.HalfFault },
                },
                JsonText.Compact));
            return Task.FromResult(ExitCode.Success);
        }

        Terminal.WriteTable(
            ["", "here"],
            [
                ["processor", ProcessorName()],
                ["processors to use", Environment.ProcessorCount.ToString()],
                ["system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}"],
                ["runtime", RuntimeInformation.FrameworkDescription],
                ["memory", Size.Format(memory)],
                ["instruction sets", string.Join(", ", offered.Where(o => o.Value).Select(o => o.Key))],
                ["integer kernels", $"{KernelTable.Best.InstructionSet}: {KernelTable.Best.QuantizedConv.Name}"],
                ["float kernels", SimdLevels.Best.ToString()],
                ["attention in integers", AttentionAdvice(KernelTable.Best.InstructionSet)],
                ["attention in bfloat16", Bf16Attention.IsSupported ? "faster than float" : "computed in float: there is no vdpbf16ps for the chosen kernels"],
            ]);
        foreach ((InstructionSet set, string reason) in KernelTable.Unavailable) Terminal.Out.WriteLine($"integer kernels for {set} are not used: {reason}");
        foreach (InstructionSet set in KernelTable.Available.Skip(1)) Terminal.Out.WriteLine($"integer kernels for {set} are not used: {KernelTable.Best.InstructionSet} is faster");
        if (noDevices is not null) Terminal.Out.WriteLine($"no device beside the processor: {noDevices}");
        Terminal.WriteTable(
            ["device", "name", "driver", "kind", " units", " memory", ""],
            devices.Select(d => new[] { d.Specification, d.Name, $"{d.Platform} {d.Driver}, {d.Version}", d.Kind.ToString(), d.ComputeUnits.ToString(), Size.Format(d.MemoryBytes), d.Refusal ?? "" }));
        if (parsed.GetValue(_device) != ComputeDevice.Processor) PrintDevice(device, placement);
        return Task.FromResult(ExitCode.Success);
    }

    // What a file says of its attentions is part of its results, so it is honoured everywhere; only time differs. docs/performance.md has the figures.
    private static string AttentionAdvice(InstructionSet set) => set switch
    {
        InstructionSet.Avx512Vnni or InstructionSet.AvxVnni => "faster than float",
        InstructionSet.Avx512BW or InstructionSet.Avx2 => "about as fast as float",
        _ => "slower than float here: quantize with --attention float for this machine",
    };
    private void PrintDevice(ComputeDevice? device, string reason)
    {
        if (device is null)
        {
            Terminal.Out.WriteLine($"networks would run on the processor: {reason}");
            return;
        }

        DeviceCheck check = device.Check;
        Terminal.Out.WriteLine($"{device} passes the check of its integer kernels{(check.FromCache ? ", made earlier for this driver" : "")}: products by {check.Choice.Dot}, tile {check.Choice.IntegerTile}");
        foreach (RefusedVariant refused in check.Refused) Terminal.Out.WriteLine($"not used: {refused.Variant}: {refused.Reason}");
        if (device.Check.HalfFault is { } fault) Terminal.Out.WriteLine($"not used: values as float16: {fault}");
        else Terminal.Out.WriteLine($"values as float16: {(device.HasHalves ? "by default" : "with --device-float f16; it has no arithmetic on them")}");
        if (!device.Properties.DividesCorrectly) Terminal.Out.WriteLine("its divisions are not rounded correctly: activations may differ from the processor's in the last digit");
        if (!device.Properties.HasDoubles) Terminal.Out.WriteLine("it has no double precision: norms are summed in pairs of floats");
    }

    private static string ProcessorName()
    {
        const string CpuInfo = "/proc/cpuinfo";
        string? line = File.Exists(CpuInfo) ? File.ReadLines(CpuInfo).FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal)) : null;
        return line?[(line.IndexOf(':') + 1)..].Trim() ?? Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? "unknown";
    }
}
