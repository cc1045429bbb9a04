using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Inspection;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd inspect</c>: what a model is made of.</summary>
internal sealed class InspectCommand : CliCommand
{
    private readonly Argument<string> _folder = new("DIR") { Description = "Model folder, or the folder of a network alone." };
    private readonly Option<string?> _component = CommonOptions.Component("The network to show. Default: the denoiser.");
    private readonly Option<bool> _steps = new("--steps") { Description = "Also list the activation scale and zero point of every module at every calibrated timestep." };
    private readonly Option<string> _device = CommonOptions.Device();
    private readonly Option<bool> _json = CommonOptions.Json();

    public InspectCommand(Terminal terminal)
        : base("inspect", "Show a model's layers, shapes, bits, activation scales over timesteps, arithmetic and bytes; warn of scales that look wrong.", terminal)
    {
        Arguments.Add(_folder);
        Options.Add(_component);
        Options.Add(_steps);
        Options.Add(_device);
        Options.Add(_json);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd inspect models/fashion-unet-w4a8", "lbd inspect models/fashion-unet-w4a8 --device opencl:0", "lbd inspect sd15 --component vae", "lbd inspect models/fashion-unet-w4a8 --json > model.json"];

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string path = parsed.GetValue(_folder)!;
        using NetworkFolder folder = NetworkFolder.Open(path, parsed.GetValue(_component));
        ModelInspection model = ModelInspection.Of(path, folder);
        string specification = parsed.GetValue(_device)!;
        string? undrawable = folder.Model is { } whole && !DiffusionPipeline.SupportedClasses.Contains(whole.ClassName) ? whole.ClassName : null;
        MemoryEstimate? memory = folder.Model is null || undrawable is not null ? null : DiffusionPipeline.EstimateMemory(path, new() { Device = specification });
        DevicePlacement? placement = DevicePlacement.Of(folder, specification);
        if (parsed.GetValue(_json)) PrintJson(model, memory, placement);
        else Print(model, memory, undrawable, placement, parsed.GetValue(_steps));
        return Task.FromResult(ExitCode.Success);
    }

    private void Print(ModelInspection model, MemoryEstimate? memory, string? undrawable, DevicePlacement? placement, bool steps)
    {
        Terminal.WriteTable(
            ["module", "weight", " bits w", " bits a", " MACs", " bit operations", " float", " stored", "scales over timesteps", ""],
            model.Modules.Select(Row));
        Terminal.Out.WriteLine("In parentheses: computed once for all images and steps, before the loop.");
        Terminal.Out.WriteLine();
        if (steps) Terminal.WriteTable(["module", "half", " timestep", " scale", " zero point"], model.Modules.SelectMany(ScaleRows));

        Terminal.WriteTable(
            ["", model.Network],
            [
                ["quantized by", model.Method ?? "not quantized"],
                .. model.Correction is { } correction ? [["prediction correction", correction.ToString()]] : Array.Empty<string[]>(),
                ["attentions in", model.Attention.ToString().ToLowerInvariant()],
                ["sample", string.Join('x', model.Sample)],
                ["parameters", Count(model.Parameters)],
                ["MACs per image and step", Count(model.Cost.MacsPerStep)],
                ["bit operations per image and step", Count(model.Cost.BitOperationsPerStep)],
                ["of those in float", Percent(model.Cost.FloatBitOperationsPerStep, model.Cost.BitOperationsPerStep)],
                ["bytes in single precision", Size.Format(model.FloatBytes)],
                ["bytes in the file", $"{Size.Format(model.StoredBytes)} ({Percent(model.StoredBytes, model.FloatBytes)})"],
                .. memory?.Parts.Select(part => new[] { $"memory: {part.Part}", Size.Format(part.Bytes) }) ?? [],
                .. memory is null ? Array.Empty<string[]>() : [["memory: total", Size.Format(memory.Total)], ["memory: with the runtime", Size.Format(memory.Process)]],
                .. undrawable is null ? Array.Empty<string[]>() : [["pipeline", $"{undrawable}: cannot be drawn with, there are {string.Join(", ", DiffusionPipeline.SupportedClasses)}"]],
            ]);
        if (placement is not null)
        {
            Terminal.Out.WriteLine($"{placement.Device} ({placement.Reason}): {placement.Steps - placement.OnHost.Count} of {placement.Steps} steps of the plan; on the processor:");
            Terminal.WriteTable(["step", "kind", "when", "why"], placement.OnHost.Select(step => new[] { step.Name, step.Kind, step.InLoop ? "at every step" : "before the loop", step.Reason }));
        }

        foreach (ModuleInspection module in model.Modules)
        {
            foreach (string warning in module.Warnings) Terminal.Out.WriteLine($"warning: {module.Module}: {warning}");
        }
    }

    private static string[] Row(ModuleInspection module)
    {
        bool quantized = module.Scales.Count > 0;
        return
        [
            module.Module,
            string.Join('x', module.WeightShape),
            quantized ? module.WeightBits.ToString(CultureInfo.InvariantCulture) : "float",
            quantized ? module.ActivationBits.ToString(CultureInfo.InvariantCulture) : "float",
            module.InLoop ? Count(module.Macs) : $"({Count(module.Macs)})",
            module.InLoop ? Count(module.BitOperations) : $"({Count(module.BitOperations)})",
            Size.Format(module.FloatBytes),
            Size.Format(module.StoredBytes),
            string.Join(" / ", module.Scales.Select(Range)),
            string.Join(" / ", module.Scales.Select(scales => scales.Scales.Length > 1 ? Sparkline.Draw(scales.Scales) : "")),
        ];
    }

    private static string Range(ActivationScales scales) => scales.Scales.Length == 1
        ? string.Create(CultureInfo.InvariantCulture, $"{scales.Scales[0]:G3}")
        : string.Create(CultureInfo.InvariantCulture, $"{scales.Minimum:G3}…{scales.Maximum:G3}");

    private static IEnumerable<string[]> ScaleRows(ModuleInspection module)
    {
        for (int half = 0; half < module.Scales.Count; half++)
        {
            ActivationScales scales = module.Scales[half];
            for (int i = 0; i < scales.Scales.Length; i++)
            {
                yield return
                [
                    module.Module, module.Scales.Count == 1 ? "" : half == 0 ? "first" : "second", scales.Timesteps[i].ToString(CultureInfo.InvariantCulture),
                    scales.Scales[i].ToString("G6", CultureInfo.InvariantCulture), scales.ZeroPoints[i].ToString(CultureInfo.InvariantCulture),
                ];
            }
        }
    }

    private void PrintJson(ModelInspection model, MemoryEstimate? memory, DevicePlacement? placement) => Terminal.Out.WriteLine(JsonSerializer.Serialize(
        new
        {
            model.Folder,
            model.Network,
            model.Method,
            model.Correction,
            model.Attention,
            model.Sample,
            model.Parameters,
            model.Cost.MacsPerStep,
            model.Cost.BitOperationsPerStep,
            AttentionMacs = model.Cost.Attentions.Sum(attention => attention.Macs),
            model.FloatBytes,
            model.StoredBytes,
            Memory = memory?.Parts.ToDictionary(part => part.Part, part => part.Bytes),
            Device = placement,
            model.Modules,
        },
        JsonText.Compact));

    private static string Count(long number) => number switch
    {
        >= 1_000_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e12:0.00} T"),
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e9:0.00} G"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e6:0.00} M"),
        >= 10_000 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e3:0.0} k"),
        _ => number.ToString(CultureInfo.InvariantCulture),
    };

    private static string Percent(long part, long whole) => whole == 0 ? "-" : string.Create(CultureInfo.InvariantCulture, $"{100.0 * part / whole:0.0} %");
}
