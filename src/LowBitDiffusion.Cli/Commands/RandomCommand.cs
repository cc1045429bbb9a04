using System.CommandLine;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Models.RandomWeights;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd random</c>: writes a published model's folder with random weights, so that everything about files and pipelines can be tried and measured without the model.</summary>
internal sealed class RandomCommand : CliCommand
{
    private readonly Option<string> _architecture = new("--architecture") { Description = $"One of {string.Join(", ", RandomModelFolder.Names)}.", HelpName = "NAME", Required = true };
    private readonly Option<string> _weights = new("--weights")
    {
        Description = "Bits of weights and activations of the denoising network, whose decoder then has 8, or f32.",
        HelpName = "wNaM|f32",
        DefaultValueFactory = _ => "f32",
    };
    private readonly Option<string> _attention = CommonOptions.Attention();
    private readonly Option<string> _floatType = new("--float-type") { Description = "How floats are stored.", HelpName = "f32|f16|bf16", DefaultValueFactory = _ => "f16" };
    private readonly Option<int> _seed = new("--seed") { Description = "Seed of the weights.", HelpName = "N", DefaultValueFactory = _ => 0 };
    private readonly Option<string> _out = new("--out", "-o") { Description = "The folder to write; it appears whole or not at all.", HelpName = "DIR", Required = true };
    private readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace --out if it exists." };
    private readonly Option<bool> _json = CommonOptions.Json();

    public RandomCommand(Terminal terminal) : base("random", "Write a published model's folder with random weights: to try and to measure, not to draw with.", terminal)
    {
        foreach (Option option in new Option[] { _architecture, _weights, _attention, _floatType, _seed, _out, _overwrite, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd random --architecture sd15 --weights w8a8 --attention int8 --out sd15-random"];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string output = parsed.GetValue(_out)!, architecture = parsed.GetValue(_architecture)!;
        bool json = parsed.GetValue(_json);
        RandomModelOptions options = new()
        {
            Precision = parsed.GetValue(_weights)!,
            Attention = CommonOptions.CheckedAttention(parsed.GetValue(_attention)!),
            FloatType = CommonOptions.CheckedFloatType(parsed.GetValue(_floatType)!),
            Seed = parsed.GetValue(_seed),
            Overwrite = parsed.GetValue(_overwrite),
        };
        await Terminal.WithProgressAsync("writing", json, progress => Task.Run(
            () =>
            {
                RandomModelFolder.Write(architecture, output, options, new DelegateProgress<ConversionProgress>(stage => progress.Report(new(stage.Fraction, stage.Component))), cancellationToken);
                return true;
            },
            cancellationToken));
        long bytes = OutputPath.BytesOf(output);
        Terminal.Out.WriteLine(json ? JsonSerializer.Serialize(new { Architecture = architecture, Output = output, Bytes = bytes }, JsonText.Compact) : $"{output}: {Size.Format(bytes)}");
        return ExitCode.Success;
    }
}
