using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Measuring;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Cli.Pictures;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd generate</c>: draws pictures.</summary>
internal sealed class GenerateCommand : CliCommand
{
    private const int SmallPicture = 128;
    private const int MaximumScale = 64;
    private const int MaximumCount = 1 << 20;

    private static readonly Dictionary<string, NoiseSource> s_noiseSources = new() { ["torch-cpu"] = NoiseSource.TorchCpu, ["torch-cuda"] = NoiseSource.TorchCuda };

    // Written as PNG these would have the wrong name, taken for folders they would surprise.
    private static readonly string[] s_otherFormats = [".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"];

    private readonly Option<string> _model = CommonOptions.Model("Model folder in diffusers' layout, float or quantized, or a single checkpoint file. May be left out with --like.");
    private readonly Option<string[]> _labels = new("--label", "--labels", "-l")
    {
        Description = "What to draw: a label's name or number, several with commas, or 'all'. May be repeated. Default: one of each.",
        HelpName = "NAME|NUMBER",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly SubjectOptions _subject = new();
    private readonly Option<int?> _count = new("--count", "-n") { Description = "Images of each label or prompt, or of a model without either. Default: 1.", HelpName = "N" };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the sampler. Default: the model's.", HelpName = "N" };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Classifier-free guidance; 1 for none. Default: the model's.", HelpName = "G" };
    private readonly Option<ulong?> _seed = new("--seed") { Description = "Seed of the first image; image i has seed S + i. Default: 0.", HelpName = "S" };
    private readonly Option<string[]> _seeds = new("--seeds")
    {
        Description = "One seed per image, with commas. With a single label they also say how many images.",
        HelpName = "S,S,…",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string?> _noise = new("--noise") { Description = "Whose random numbers a seed stands for. Default: torch-cpu.", HelpName = "torch-cpu|torch-cuda" };
    private readonly Option<float?> _eta = new("--eta") { Description = "DDIM's eta: 0 deterministic, 1 as much noise as DDPM. Default: 0.", HelpName = "E" };
    private readonly Option<string> _out = new("--out", "-o")
    {
        Description = "A .png file for one picture of all images, or a folder for a file each.",
        HelpName = "FILE|DIR",
        DefaultValueFactory = _ => "picture.png",
    };
    private readonly Option<bool> _grid = new("--grid") { Description = "One picture of all images, whatever --out looks like." };
    private readonly Option<bool> _single = new("--single") { Description = "A file for each image, in the folder --out." };
    private readonly Option<int?> _columns = new("--columns") { Description = "Images in a row. Default: about as many as rows.", HelpName = "N" };
    private readonly Option<int?> _scale = new("--scale") { Description = "Save every pixel as a square of this side. Default: small images are enlarged to about 128 pixels.", HelpName = "N" };
    private readonly Option<bool> _captions = new("--captions") { Description = "Write the label under each image of a picture." };
    private readonly Option<string?> _like = new("--like") { Description = "Draw what this picture shows: every setting not given is taken from it.", HelpName = "FILE" };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<int?> _batch = new("--batch") { Description = "Most images that go through the network at once. Default: 8.", HelpName = "N" };
    private readonly Option<string?> _memory = new("--memory-budget") { Description = "Refuse a model that needs more than this, before loading it.", HelpName = "512MB" };
    private readonly Option<string> _device = CommonOptions.Device();
    private readonly Option<string> _deviceFloat = CommonOptions.DeviceFloat();
    private readonly Option<string> _deviceQueue = CommonOptions.DeviceQueue();
    private readonly Option<bool> _json = CommonOptions.Json();

    public GenerateCommand(Terminal terminal) : base("generate", "Draw pictures.", terminal)
    {
        foreach (Option option in (Option[])
        [
            _model, _labels, .. _subject.Options, _count, _steps, _guidance, _seed, _seeds, _noise, _eta, _out, _grid, _single, _columns, _scale, _captions, _like, _threads, _batch, _memory, _device, _deviceFloat, _deviceQueue, _json,
        ])
        {
            Options.Add(option);
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd generate --model models/fashion-unet-w4a8 --out garments.png",
        "lbd generate --model models/fashion-unet-w4a8 --label dress --label 3 --seed 7 --steps 50 --captions --out two.png",
        "lbd generate --model models/fashion-unet-w4a8 --label bag --seeds 1,2,3 --out bags/",
        "lbd generate --model models/stable-diffusion --prompt \"a red dress\" --negative-prompt blurry --seed 7 --out dress.png",
        "lbd generate --model models/stable-diffusion --prompt \"a blue dress\" --init-image dress.png --strength 0.6 --scheduler UniPCMultistepScheduler --out blue.png",
        "lbd generate --model models/fashion-unet-w4a8 --device opencl:0 --out garments.png",
        "lbd generate --like garments.png --out again.png",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool quiet = parsed.GetValue(_json);
        string output = parsed.GetValue(_out)!;
        bool single = IsSingle(parsed, output);
        PictureRecord? like = parsed.GetValue(_like) is { } picture ? PictureRecord.Load(picture) : null;
        string folder = ModelFolder(parsed, like);
        PipelineOptions options = new()
        {
            Threads = CommonOptions.CheckedThreads(parsed.GetValue(_threads)),
            MaxBatch = CommonOptions.Checked("batch", parsed.GetValue(_batch) ?? new PipelineOptions().MaxBatch, 1, 4096),
            MemoryBudget = parsed.GetValue(_memory) is { } text ? Size.Parse("memory-budget", text) : null,
            Device = parsed.GetValue(_device)!,
            DeviceFloat = CommonOptions.CheckedDeviceFloat(parsed.GetValue(_deviceFloat)!),
            DeviceOutOfOrder = CommonOptions.CheckedOutOfOrder(parsed.GetValue(_deviceQueue)!),
        };
        if (single) OutputPath.CheckFolder(output);
        else OutputPath.CheckFile(output);

        long start = Stopwatch.GetTimestamp();
        await using DiffusionPipeline pipeline = await Terminal.WithProgressAsync("loading", quiet, progress => DiffusionPipeline.LoadAsync(
            folder, options, new DelegateProgress<double>(fraction => progress.Report(new(fraction))), cancellationToken));
        TimeSpan loading = Stopwatch.GetElapsedTime(start);

        ModelDescription model = pipeline.Description;
        GenerationRequest request = CreateRequest(parsed, model, like);
        PictureLayout layout = CreateLayout(parsed, model, request, like?.Layout);
        StepClock clock = new();
        IReadOnlyList<GeneratedImage> images = await Terminal.WithProgressAsync("drawing", quiet, progress => pipeline.GenerateAsync(
            request,
            new DelegateProgress<GenerationProgress>(step =>
            {
                if (step.Stage == GenerationStage.Sampling) clock.Add(step.Elapsed);
                else clock.Pass(step.Elapsed);
                string doing = step.Stage switch
                {
                    GenerationStage.Encoding => "encoding",
                    GenerationStage.Decoding => "decoding",
                    _ => string.Create(CultureInfo.InvariantCulture, $"step {step.Step}/{step.Steps}, {clock.Last.TotalMilliseconds:0.0} ms"),
                };
                progress.Report(new(step.Fraction, $"{doing}, {step.Finished}/{step.Images} images"));
            }),
            cancellationToken));

        PictureRecord record = _subject.Describe(parsed, like, images, request) with
        {
            Model = like is not null && FolderName(like.Model) == FolderName(folder) ? like.Model : PictureRecord.Portable(folder),
            Labels = [.. images.Select(i => i.Label).OfType<int>()],
            Seeds = [.. images.Select(i => i.Seed)],
            Steps = request.Steps!.Value,
            Guidance = request.GuidanceScale!.Value,
            Eta = request.Eta,
            Noise = request.NoiseSource,
            Layout = layout,
        };
        IReadOnlyList<string> files = single ? PictureWriter.WriteSingles(output, images, record, model) : [PictureWriter.WriteGrid(output, images, record, model)];
        Report(quiet, pipeline.Placement, files, record, [.. images.SelectMany(i => i.Truncated).Distinct()], clock, loading);
        return ExitCode.Success;
    }

    private bool IsSingle(ParseResult parsed, string output)
    {
        bool single = parsed.GetValue(_single), grid = parsed.GetValue(_grid), named = Path.GetExtension(output).Equals(".png", StringComparison.OrdinalIgnoreCase);
        if (s_otherFormats.Contains(Path.GetExtension(output).ToLowerInvariant())) throw new InvalidRequestException("out", $"expected a .png file or a folder, found '{output}'");
        if (single && grid) throw new InvalidRequestException("single", "expected one of --grid and --single, found both");
        if (single && named) throw new InvalidRequestException("out", $"expected a folder for --single, found '{output}'");
        return single || (!grid && !named);
    }

    private string ModelFolder(ParseResult parsed, PictureRecord? like)
    {
        if (parsed.GetValue(_model) is { } given) return given;
        if (like is null) throw new InvalidRequestException("model", "expected a model folder, found none");
        return Path.Exists(like.Model) ? like.Model : throw new InvalidRequestException("model", $"the picture was drawn by '{like.Model}', which is no folder here; expected --model");
    }

    private GenerationRequest CreateRequest(ParseResult parsed, ModelDescription model, PictureRecord? like)
    {
        string[] texts = parsed.GetValue(_labels) ?? [];
        int? count = parsed.GetValue(_count) is { } given ? CommonOptions.Checked("count", given, 1, MaximumCount) : null;
        ulong[]? seeds = ParseSeeds(parsed);
        bool asPictured = like is not null && texts.Length == 0 && count is null && !_subject.IsGiven(parsed);
        IReadOnlyList<int> distinct = asPictured ? like!.Labels : LabelParser.Parse(texts, model);
        IReadOnlyList<string> prompts = asPictured ? like!.Prompts : _subject.Prompts(parsed, like);
        int repeat = count ?? (seeds is not null && Math.Max(distinct.Count, prompts.Count) <= 1 ? seeds.Length : 1);
        IReadOnlyList<int> labels = [.. distinct.SelectMany(label => Enumerable.Repeat(label, repeat))];
        bool sameSeeds = asPictured && seeds is null && parsed.GetValue(_seed) is null;
        return _subject.Request(parsed, like) with
        {
            Labels = labels,
            Prompts = asPictured ? prompts : [.. prompts.SelectMany(prompt => Enumerable.Repeat(prompt, repeat))],
            Count = asPictured ? like!.Seeds.Count : repeat,
            Steps = parsed.GetValue(_steps) ?? like?.Steps ?? model.DefaultSteps,
            GuidanceScale = parsed.GetValue(_guidance) ?? like?.Guidance ?? model.DefaultGuidanceScale,
            Seed = parsed.GetValue(_seed) ?? like?.Seeds[0] ?? 0,
            Seeds = sameSeeds ? like!.Seeds : seeds,
            NoiseSource = parsed.GetValue(_noise) is { } noise ? CommonOptions.OneOf("noise", noise, s_noiseSources) : like?.Noise ?? NoiseSource.TorchCpu,
            Eta = parsed.GetValue(_eta) ?? like?.Eta ?? 0,
            KeepsSamples = false,
        };
    }

    private ulong[]? ParseSeeds(ParseResult parsed)
    {
        if (parsed.GetValue(_seeds) is not { Length: > 0 } texts) return null;
        if (parsed.GetValue(_seed) is not null) throw new InvalidRequestException("seeds", "expected one of --seed and --seeds, found both");
        return [.. texts.SelectMany(text => text.Split(',', StringSplitOptions.TrimEntries)).Select(text =>
            ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed
                : throw new InvalidRequestException("seeds", $"expected whole numbers below 2^64 with commas, found '{text}'"))];
    }

    private PictureLayout CreateLayout(ParseResult parsed, ModelDescription model, GenerationRequest request, PictureLayout? like)
    {
        int images = request.Images, width = request.Width ?? request.InitImage?.Width ?? model.Width, height = request.Height ?? request.InitImage?.Height ?? model.Height;
        int columns = parsed.GetValue(_columns) ?? like?.Columns ?? (parsed.GetValue(_count) is > 1 and int count && count < images ? count : NearSquare(images));
        int scale = parsed.GetValue(_scale) ?? like?.Scale ?? Math.Max(1, SmallPicture / Math.Max(Math.Max(width, height), 1));
        PictureLayout layout = new(
            CommonOptions.Checked("columns", columns, 1, MaximumCount), like?.Gap ?? PictureWriter.Gap, CommonOptions.Checked("scale", scale, 1, MaximumScale),
            parsed.GetValue(_captions) || (like?.Captions ?? false));
        long bytes = PictureWriter.Bytes(layout, width, height, model.Channels, images);
        return bytes <= Array.MaxLength ? layout : throw new InvalidRequestException("scale", $"expected a picture of less than {Size.Format(Array.MaxLength)}, found one of {Size.Format(bytes)}");
    }

    // A rectangle without holes if there is one that is at most twice as wide as a square.
    private static int NearSquare(int images)
    {
        int side = (int)Math.Ceiling(Math.Sqrt(images));
        for (int columns = side; columns <= 2 * side; columns++)
        {
            if (images % columns == 0) return columns;
        }

        return side;
    }

    private void Report(bool json, PipelinePlacement placement, IReadOnlyList<string> files, PictureRecord record, IReadOnlyList<TruncatedPrompt> truncated, StepClock clock, TimeSpan loading)
    {
        if (json)
        {
            Terminal.Out.WriteLine(JsonSerializer.Serialize(
                new
                {
                    record.Model,
                    Files = files,
                    record.Labels,
                    record.Prompts,
                    record.NegativePrompt,
                    Truncated = truncated,
                    record.Height,
                    record.Width,
                    record.Scheduler,
                    record.Seeds,
                    record.Steps,
                    record.Guidance,
                    record.Eta,
                    record.Noise,
                    Device = placement,
                    LoadSeconds = loading.TotalSeconds,
                    SecondsPerStep = clock.Median.TotalSeconds,
                    Seconds = clock.Total.TotalSeconds,
                },
                JsonText.Compact));
            return;
        }

        foreach (TruncatedPrompt prompt in truncated) Terminal.Error.WriteLine($"warning: the text encoder takes {prompt.Tokens} tokens; without effect: {prompt.Dropped}");
        if (placement.Device != ComputeDevice.Processor || placement.Reason != ComputeDevice.AsAsked) Terminal.Error.WriteLine($"on {placement.Device}: {placement.Reason}");
        string what = files.Count == 1 ? files[0] : $"{files.Count} files in {Path.GetDirectoryName(files[0])}";
        Terminal.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{what}: {record.Seeds.Count} image{(record.Seeds.Count == 1 ? "" : "s")}, {record.Steps} steps of {clock.Median.TotalMilliseconds:0.0} ms, {clock.Total.TotalSeconds:0.00} s after {loading.TotalSeconds:0.00} s of loading"));
    }

    private static string FolderName(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
}
