using System.CommandLine;
using System.Globalization;
using System.Text;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Correction;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd quantize</c>: makes a low-bit model of a float one.</summary>
internal sealed class QuantizeCommand : CliCommand
{
    private static readonly Dictionary<string, RangeMethod> s_ranges = new() { ["mse"] = RangeMethod.Mse, ["grid"] = RangeMethod.Grid, ["minmax"] = RangeMethod.MinMax, ["ema"] = RangeMethod.EmaMinMax };
    private static readonly Dictionary<string, SplitInputs> s_splits =
        new() { ["none"] = SplitInputs.None, ["concatenations"] = SplitInputs.Concatenations, ["normalized"] = SplitInputs.Normalized };
    private static readonly Dictionary<string, AttentionPrecision?> s_attentions = new() { ["float"] = AttentionPrecision.Float, ["int8"] = AttentionPrecision.Int8, ["bf16"] = AttentionPrecision.Bf16, ["auto"] = null };

    // The library's defaults are the command's; the two paths are given with every request.
    private static readonly QuantizationRequest s_defaults = new() { Model = "", Output = "" };

    private readonly Option<string?> _model = new("--model", "-m") { Description = "The float model's folder, or that of an autoencoder or a text encoder alone.", HelpName = "DIR" };
    private readonly Option<string?> _component = CommonOptions.Component("The network to quantize: unet, transformer, vae, vqvae, text_encoder, text_encoder_2; all others stay as they are, quantized or not. Default: the denoiser.");
    private readonly Option<string?> _out = new("--out", "-o") { Description = "The folder to write; it appears whole or not at all.", HelpName = "DIR" };
    private readonly Option<string> _method = new("--method")
    {
        Description = $"How the integers are found. {string.Join(" ", QuantizationMethods.All.Select(method => $"{method.Name}: {method.Description}."))}",
        HelpName = string.Join('|', QuantizationMethods.All.Select(method => method.Name)),
        DefaultValueFactory = _ => s_defaults.Method,
    };
    private readonly Option<string?> _without = new("--without")
    {
        Description = "Ingredients of the method to leave out, separated by commas. "
            + string.Join(" ", QuantizationMethods.All.Where(method => method.Ingredients.Count > 0).Select(method => $"{method.Name}: {string.Join("; ", method.Ingredients.Select(part => $"{part.Name}, {part.Description}"))}.")),
        HelpName = "NAME,…",
    };
    private readonly Option<string?> _budget = new("--budget")
    {
        Description = $"Time that the method may learn for, such as 90s, 20m, 2h, or 'paper' for all of the paper's iterations, whatever they take. Default: {s_defaults.Budget?.TotalMinutes:0}m.",
        HelpName = "TIME",
    };
    private readonly Option<int?> _iterations = new("--iterations") { Description = "Iterations, in place of those that budget and paper give.", HelpName = "N" };
    private readonly Option<int?> _samples = new("--samples") { Description = "Points of trajectories that the method learns from, in place of what budget and paper give.", HelpName = "N" };
    private readonly Option<bool> _resume = new("--resume") { Description = "Go on with a run that was stopped; its state is in the folder OUT.partial." };
    private readonly Option<int> _weightBits = new("--weight-bits", "-w") { Description = "Bits of weights, 2 to 8.", HelpName = "N", DefaultValueFactory = _ => s_defaults.WeightBits };
    private readonly Option<int> _activationBits = new("--activation-bits", "-a") { Description = "Bits of activations, 2 to 8. With less than 8, layers that read the residual stream itself keep 8 (--list-rules).", HelpName = "N", DefaultValueFactory = _ => s_defaults.ActivationBits };
    private readonly Option<string[]> _rules = new("--rule")
    {
        Description = "Precision of the layers that a glob matches: float or w<bits>a<bits>. May be repeated; the first match decides, before the rules of --list-rules.",
        HelpName = "GLOB=PRECISION",
    };
    private readonly Option<bool> _listRules = new("--list-rules") { Description = "Print the rules that hold, with --model also every layer's precision, and stop." };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the calibration trajectories: so many timesteps get scales of their own; latents for an autoencoder are drawn in as many. Default: the model's; 10 at most for an autoencoder.", HelpName = "N" };
    private readonly Option<int?> _trainingSteps = new("--training-steps")
    {
        Description = "Steps of the trajectories that efficientdm learns along; scales are then interpolated for the timesteps of --steps. Default: --steps.",
        HelpName = "N",
    };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Guidance of the calibration trajectories. Default: the model's.", HelpName = "G" };
    private readonly Option<int?> _images = new("--images") { Description = "Calibration trajectories, or latents for an autoencoder. Default: 64; 8 of a model that draws latents; all texts for a text encoder.", HelpName = "N" };
    private readonly Option<int?> _batch = new("--batch") { Description = "Images drawn at once. Default: 8; 1 of a model that draws latents.", HelpName = "N" };
    private readonly Option<int?> _size = new("--size") { Description = "Pixels along each side of the calibration's images. Default: the model's.", HelpName = "N" };
    private readonly Option<string?> _prompts = CommonOptions.Prompts("What calibration draws with a model that takes text, and what a text encoder reads");
    private readonly Option<string?> _embeddings = CommonOptions.PromptEmbeddings();
    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the first trajectory.", HelpName = "S" };
    private readonly Option<string?> _range = new("--range") { Description = "How activation ranges are chosen: by the error with both ends shrunk alike, by the error of steps and zero points tried independently, from the smallest to the largest value, by its moving average. Default: the method's.", HelpName = "mse|grid|minmax|ema" };
    private readonly Option<string> _weightRange = new("--weight-range") { Description = "How weight ranges are chosen.", HelpName = "mse|grid|minmax", DefaultValueFactory = _ => "mse" };
    private readonly Option<string?> _split = new("--split") { Description = "Which concatenated inputs get a quantizer for each half. Default: the method's.", HelpName = "none|concatenations|normalized" };
    private readonly Option<int> _group = new("--group-size") { Description = "Input channels that share a weight scale; 0 for one scale per output channel.", HelpName = "N" };
    private readonly Option<bool> _symmetric = new("--symmetric") { Description = "Weights of fewer than 8 bits without zero points." };
    private readonly Option<string> _attention = new("--attention")
    {
        Description = "How attentions are computed; auto measures trajectories and takes int8, else bf16, if it costs no more than half a decibel. Those that are causal or masked always in float.",
        HelpName = "float|int8|bf16|auto",
        DefaultValueFactory = _ => "float",
    };
    private readonly Option<string> _floatType = new("--float-type") { Description = "How tensors that are not quantized are stored.", HelpName = "f32|f16|bf16", DefaultValueFactory = _ => "f32" };
    private readonly Option<int?> _reportImages = new("--report-images")
    {
        Description = "Images behind the quality report's activations and trajectory; 0 for weights alone. Default: 8; 2 of a model that draws latents.",
        HelpName = "N",
    };
    private readonly Option<bool> _ptqd = new("--ptqd") { Description = "Then correct the predictions after PTQD, as 'lbd correct' does, on as many trajectories; stopped in between, the model is there without." };
    private readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace --out if it exists." };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<bool> _json = CommonOptions.Json();

    public QuantizeCommand(Terminal terminal)
        : base("quantize", "Make a low-bit model of a float one, without data: activation ranges come from trajectories of its own.", terminal)
    {
        foreach (Option option in new Option[]
        {
            _model, _component, _out, _method, _weightBits, _activationBits, _budget, _iterations, _samples, _without, _resume, _rules, _listRules, _steps, _trainingSteps, _guidance, _images, _batch, _size, _prompts, _embeddings, _seed,
            _range, _weightRange, _split, _group, _symmetric, _attention, _floatType,
            _reportImages, _ptqd, _overwrite, _threads, _json,
        })
        {
            Options.Add(option);
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd quantize --model models/fashion-unet --out models/fashion-unet-w4a8 --weight-bits 4 --activation-bits 8 --steps 20",
        "lbd quantize --model models/fashion-unet --out models/fashion-unet-w4a8-tfmq --method tfmq --budget 20m",
        "lbd quantize --model models/fashion-unet --out mixed --rule 'mid_block.*=w8a8' --rule '*.to_out.0=float'",
        "lbd quantize --model models/fashion-unet --out fast --attention auto",
        "lbd quantize --model sd15 --out sd15-w8a8 --weight-bits 8 --attention int8 --prompts prompts.txt --float-type f16",
        "lbd quantize --model sd15-w8a8 --component vae --out sd15-w8a8-vae --weight-bits 8 --size 256",
        "lbd quantize --model sd15-w8a8-vae --component text_encoder --out sd15-low --weight-bits 8 --prompts prompts.txt",
        "lbd quantize --model models/fashion-unet --list-rules",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        QuantizationRequest request = CreateRequest(parsed);
        if (parsed.GetValue(_listRules)) return ListRules(request);
        if (request.Model.Length == 0) throw new InvalidRequestException("model", "expected the folder of a float model, found none");
        if (request.Output.Length == 0) throw new InvalidRequestException("out", "expected the folder to write, found none");

        bool denoiser = NetworkFolder.IsDenoiser(request.Component) && !NetworkFolder.IsAlone(request.Model);
        if (parsed.GetValue(_ptqd) && !denoiser) throw new InvalidRequestException("ptqd", $"expected the denoiser of a whole model, whose predictions are corrected, found {request.Component ?? request.Model}");
        bool json = parsed.GetValue(_json), learns = request.Method != s_defaults.Method;
        double reached = 0;
        QualityReport report = await Terminal.WithProgressAsync("quantizing", json, progress => Task.Run(
            () => ModelQuantizer.Run(
                request,
                new DelegateProgress<QuantizationProgress>(stage =>
                {
                    reached = Overall(stage, learns, measures: request.ReportImages != 0) ?? reached;
                    progress.Report(new ProgressUpdate(reached, stage.Detail ?? string.Create(CultureInfo.InvariantCulture, $"{stage.Stage} {stage.Fraction * 100:0} %")));
                }),
                cancellationToken),
            cancellationToken));
        CorrectionReport? correction = parsed.GetValue(_ptqd) ? await CorrectCommand.RunAsync(Terminal, Correction(request), json, cancellationToken) : null;
        if (json)
        {
            Terminal.Out.WriteLine(Encoding.UTF8.GetString(report.ToJson()));
            return ExitCode.Success;
        }

        Terminal.Out.Write(report.ToText());
        Terminal.Out.WriteLine();
        if (correction is not null)
        {
            CorrectCommand.Print(Terminal, correction);
            Terminal.Out.WriteLine();
        }

        Terminal.Out.WriteLine($"{request.Output}: {Size.Format(report.Bytes)} of {Size.Format(report.FloatBytes)}; {(denoiser || request.Component is null ? "" : $"in {request.Component}, ")}quality.json and quality.txt say what it cost{(learns ? ", training.json and training-*.png how it was learned" : "")}");
        return ExitCode.Success;
    }

    private static CorrectionRequest Correction(QuantizationRequest request) => new()
    {
        Model = request.Output,
        Reference = request.Model,
        Steps = request.Steps,
        GuidanceScale = request.GuidanceScale,
        Images = request.Images,
        Batch = request.Batch,
        Seed = request.Seed,
        Threads = request.Threads,
    };

    private QuantizationRequest CreateRequest(ParseResult parsed) => new()
    {
        Model = parsed.GetValue(_model) ?? "",
        Component = parsed.GetValue(_component),
        Output = parsed.GetValue(_out) ?? "",
        Method = QuantizationMethods.Of(parsed.GetValue(_method)!).Name,
        Without = parsed.GetValue(_without)?.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [],
        Budget = parsed.GetValue(_budget) is { } budget ? Duration.Parse("budget", budget) : s_defaults.Budget,
        Iterations = parsed.GetValue(_iterations),
        Samples = parsed.GetValue(_samples),
        Resume = parsed.GetValue(_resume),
        WeightBits = CommonOptions.Checked("weight-bits", parsed.GetValue(_weightBits), 2, 8),
        ActivationBits = CommonOptions.Checked("activation-bits", parsed.GetValue(_activationBits), 2, 8),
        Rules = [.. (parsed.GetValue(_rules) ?? []).Select(PrecisionRules.Parse)],
        Steps = parsed.GetValue(_steps),
        TrainingSteps = parsed.GetValue(_trainingSteps),
        GuidanceScale = parsed.GetValue(_guidance),
        Prompts = parsed.GetValue(_prompts) is { } prompts ? PromptList.Read(prompts) : null,
        PromptEmbeddings = parsed.GetValue(_embeddings) is { } embeddings ? Pipelines.PromptEmbeddings.Load(embeddings) : null,
        Height = parsed.GetValue(_size),
        Width = parsed.GetValue(_size),
        Images = CommonOptions.Checked("images", parsed.GetValue(_images), 1, 1 << 20),
        Batch = CommonOptions.Checked("batch", parsed.GetValue(_batch), 1, 4096),
        Seed = parsed.GetValue(_seed),
        ActivationRange = parsed.GetValue(_range) is { } range ? CommonOptions.OneOf("range", range, s_ranges) : null,
        WeightRange = CommonOptions.OneOf("weight-range", parsed.GetValue(_weightRange)!, s_ranges),
        Split = parsed.GetValue(_split) is { } split ? CommonOptions.OneOf("split", split, s_splits) : null,
        SymmetricWeights = parsed.GetValue(_symmetric),
        GroupChannels = CommonOptions.Checked("group-size", parsed.GetValue(_group), 0, 1 << 20),
        Attention = CommonOptions.OneOf("attention", parsed.GetValue(_attention)!, s_attentions),
        FloatType = CommonOptions.CheckedFloatType(parsed.GetValue(_floatType)!),
        ReportImages = CommonOptions.Checked("report-images", parsed.GetValue(_reportImages), 0, 1 << 20),
        Overwrite = parsed.GetValue(_overwrite),
        Threads = CommonOptions.CheckedThreads(parsed.GetValue(_threads)),
    };

    // The library tells stage by stage; the bar shows the whole, by the time that each stage takes on average. It stands still while prompts are encoded, an autoencoder's latents are drawn and weights are packed, which happens in between.
    private static double? Overall(QuantizationProgress stage, bool learns, bool measures)
    {
        if (stage.Stage is "encoding" or "drawing" or "packing") return null;
        (double start, double length) = (stage.Stage, learns) switch
        {
            ("calibrating", true) => (0, 0.04),
            ("quantizing", true) => (0.04, 0.01),
            ("sampling", true) => (0.05, 0.02),
            ("learning", true) => (0.07, 0.88),
            ("measuring", true) => (0.95, 0.045),
            ("calibrating", false) => (0, measures ? 0.6 : 0.85),
            ("quantizing", false) => (measures ? 0.6 : 0.85, measures ? 0.1 : 0.13),
            ("measuring", false) => (0.7, 0.28),
            (_, true) => (0.995, 0.005),
            (_, false) => (0.98, 0.02),
        };
        return start + length * stage.Fraction;
    }

    private int ListRules(QuantizationRequest request)
    {
        PrecisionRules rules = new(new Precision(request.WeightBits, request.ActivationBits), request.Rules);
        Terminal.WriteTable(["layers", "precision"], rules.Rules.Select(rule => new[] { rule.Modules, rule.Precision }));
        if (request.Model.Length == 0) return ExitCode.Success;
        using NetworkFolder folder = NetworkFolder.Open(request.Model, request.Component);
        string[] layers = [.. folder.Network.Build(folder.Network.WholeInputs(batch: 1)).MatrixNodes.Select(node => ((MatrixOp)node.Op).Module).Distinct()];
        rules.CheckUsed(layers);
        Terminal.Out.WriteLine();
        Terminal.WriteTable(["layer", "precision"], layers.Select(layer => new[] { layer, rules.Of(layer).ToString() }));
        return ExitCode.Success;
    }
}
