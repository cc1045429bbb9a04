using System.CommandLine;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Checkpoints;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd convert</c>: writes a model as a folder in diffusers' layout.</summary>
internal sealed class ConvertCommand : CliCommand
{
    private readonly Option<string> _model = new("--model", "-m")
    {
        Description = "Stable Diffusion 1.x, 2.x or XL in one file (.safetensors, .ckpt), or a float model's folder.",
        HelpName = "FILE|DIR",
        Required = true,
    };
    private readonly Option<string> _out = new("--out", "-o") { Description = "The folder to write; it appears whole or not at all.", HelpName = "DIR", Required = true };
    private readonly Option<string?> _floatType = new("--float-type") { Description = "How floats are stored. Default: as they are.", HelpName = "f32|f16|bf16" };
    private readonly Option<bool> _ema = new("--ema") { Description = "Take the UNet's running average, if the file has one." };
    private readonly Option<string?> _prediction = new("--prediction-type")
    {
        Description = "What the UNet of a single file predicts. Default: v for Stable Diffusion 2 unless the file says it is a base model, else the noise.",
        HelpName = "epsilon|v_prediction",
    };
    private readonly Option<string?> _config = new("--config")
    {
        Description = "A folder in diffusers' layout whose configurations count more than what the shapes of a single file suggest.",
        HelpName = "DIR",
    };
    private readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace --out if it exists." };
    private readonly Option<bool> _json = CommonOptions.Json();

    public ConvertCommand(Terminal terminal) : base("convert", "Write a single-file checkpoint as a model folder, or a model folder's floats in another type.", terminal)
    {
        foreach (Option option in new Option[] { _model, _out, _floatType, _ema, _prediction, _config, _overwrite, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd convert --model v1-5-pruned-emaonly.safetensors --out models/sd15 --float-type f16",
        "lbd convert --model models/fashion-unet --out fashion-unet-f16 --float-type f16",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string model = parsed.GetValue(_model)!, output = parsed.GetValue(_out)!;
        bool json = parsed.GetValue(_json);
        ConversionOptions options = new()
        {
            FloatType = parsed.GetValue(_floatType) is { } type ? CommonOptions.CheckedFloatType(type) : null,
            Overwrite = parsed.GetValue(_overwrite),
            Checkpoint = new CheckpointOptions { Ema = parsed.GetValue(_ema), PredictionType = parsed.GetValue(_prediction), ConfigFolder = parsed.GetValue(_config) },
        };
        await Terminal.WithProgressAsync("converting", json, async progress =>
        {
            await FolderConverter.ConvertAsync(
                model, output, options, new DelegateProgress<ConversionProgress>(stage => progress.Report(new ProgressUpdate(stage.Fraction, stage.Component))), cancellationToken);
            return true;
        });
        long bytes = OutputPath.BytesOf(output);
        Terminal.Out.WriteLine(json ? JsonSerializer.Serialize(new { Model = model, Output = output, Bytes = bytes }, JsonText.Compact) : $"{output}: {Size.Format(bytes)}");
        return ExitCode.Success;
    }
}
