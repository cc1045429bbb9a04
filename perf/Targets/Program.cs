using System.Text.Json;
using LowBitDiffusion.Targets;

// All targets of speed and memory, and README's table, measured on this machine, as a Markdown table:  dotnet run -c Release --project perf/Targets [-- ROW…]
// Each network is a process of its own, so that resident memory is its own; only rows whose text contains one of the arguments are measured.
List<Row> rows =
[
    new("SD 1.5 UNet, 512×512, w8a8", "≥ 76 %, resident ≤ 1.1 GB", () => Network("sd15", "w8a8")),
    new("the same, layers on two threads and on one", "convolutions and linear layers ≥ 90 %", () => $"{Layers(Bench("sd15", "w8a8"))}; one thread {Layers(Bench("sd15", "w8a8", "--threads", "1"))}"),
    new("the same, one thread to two", "≥ 1.85 times as fast", () =>
    {
        Measured two = Bench("sd15", "w8a8", "--threads", "2"), one = Bench("sd15", "w8a8", "--threads", "1");
        return $"{one.Best / two.Best:0.00} (fastest passes {one.Fastest / two.Fastest:0.00})";
    }),
    new("SD 1.5 UNet, 512×512, w4a8", "no slower than w8a8 × 1.1, resident ≤ 0.7 GB", () =>
    {
        Measured eight = Bench("sd15", "w8a8"), four = Bench("sd15", "w4a8");
        return $"{four.Best / eight.Best:0.00} times w8a8 (fastest passes {four.Fastest / eight.Fastest:0.00}), resident {four.ResidentGigabytes:0.00} GB";
    }),
    new("SD 1.5 UNet, 256×256, w8a8", "≥ 78 %", () => Network("sd15", "w8a8", "--size", "256")),
    new("DDPM CIFAR-10 UNet, batch 1, w8a8", "≥ 75 %", () => Network("ddpm-cifar10", "w8a8")),
    new("DDPM CIFAR-10 UNet, batch 8, w8a8", "≥ 80 %", () => Network("ddpm-cifar10", "w8a8", "--batch", "8")),
    new("DiT-XL/2, 256×256, w8a8", "≥ 78 %", () => Network("dit-xl-2", "w8a8")),
    new("SD decoder, 512×512, w8a8", "≥ 80 %", () => Network("sd-vae", "w8a8")),
    new("SD decoder in two by two tiles", "resident ≤ 0.4 GB", () => $"resident {Bench("sd-vae", "w8a8", "--tile", "296", "--steps", "1").ResidentGigabytes:0.00} GB"),
    new("attention in integers, 4096 tokens × 8 heads × 40", "≥ 60 %", () => $"{AttentionShare.Measure(1):0.0 %} one thread, {AttentionShare.Measure(Environment.ProcessorCount):0.0 %} {Environment.ProcessorCount} threads"),
    new("step outside of operations, fashion model, batch 1", "< 3 %", () => $"{Lbd.Run("bench", "--model", "models/fashion-unet-w8a8", "--rounds", "2").GetProperty("models")[0].GetProperty("outside_operations").GetDouble():0.0 %}"),
    new("start of the process to the end of the first step, SD 1.5 w8a8 read from files in the system's memory", "< 3 s", FirstStep),
    new("SD 1.5 UNet, 512×512, f32", "", () => Network("sd15", "f32")),
    new("SD 2.1 UNet, 768×768, w8a8", "", () => Network("sd21", "w8a8")),
    new("SDXL UNet, 1024×1024, w8a8", "", () => Network("sdxl", "w8a8", "--steps", "2")),
    new("fashion model, a step of 8 images with guidance, float : w8a8 : w4a8", "", () => string.Join(
        " : ", Lbd.Run("bench", "--model", "models/fashion-unet", "--compare", "models/fashion-unet-w8a8", "models/fashion-unet-w4a8", "--batch", "8", "--rounds", "10")
            .GetProperty("models").EnumerateArray().Select(model => $"{model.GetProperty("result").GetProperty("step_p50_seconds").GetDouble() * 1e3:0.0}")) + " ms"),
];

Console.WriteLine("| what | target | reached |\n|---|---|---|");
foreach (Row row in rows.Where(row => args.Length == 0 || args.Any(row.What.Contains))) Console.WriteLine($"| {row.What} | {row.Target} | {row.Measure()} |");

static Measured Bench(string architecture, string weights, params string[] more) =>
    new(Lbd.Run(["bench", "--architecture", architecture, "--weights", weights, "--attention", "int8", .. more]));

// Percent of the register peak of the same run: of an undisturbed pass (each operation's fastest call), of the fastest pass and of the median.
static string Network(string architecture, string weights, params string[] more)
{
    Measured found = Bench(architecture, weights, more);
    return $"{found.Share(found.Best):0.0 %} sum of each operation's fastest, {found.Share(found.Fastest):0.0 %} fastest pass ({found.Fastest * 1e3:0.0} ms), {found.Share(found.Median):0.0 %} median; {Layers(found)}; resident {found.ResidentGigabytes:0.00} GB";
}

static string Layers(Measured found) => string.Join(", ", found.Kinds.Select(kind => $"{kind.Name} {kind.Share:0.0 %}"));

// The folder is read once before, so that the system has it in memory. The network alone, and the pipeline: text, and guidance, which makes two images of one.
static string FirstStep()
{
    string folder = Path.Combine(Path.GetTempPath(), $"lbd-{Guid.NewGuid():N}");
    try
    {
        Lbd.Run("random", "--architecture", "sd15", "--weights", "w8a8", "--attention", "int8", "--out", folder);
        return $"{Fastest(() => Lbd.Run("bench", "--architecture", folder, "--steps", "1")):0.00} s the UNet, "
            + $"{Fastest(() => Lbd.Run("bench", "--model", folder, "--steps", "1", "--rounds", "1").GetProperty("models")[0].GetProperty("result")):0.00} s the pipeline with text and guidance";
    }
    finally
    {
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
    }

    static double Fastest(Func<JsonElement> run) => Enumerable.Range(0, 4).Min(_ => run().GetProperty("start_to_first_step_seconds").GetDouble());
}
