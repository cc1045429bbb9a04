using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Methods;

/// <summary>Every method quantizes every family of networks: the folder is whole, loads, draws, and its integers compute what was learned. Widths take turns, so that every family and every method has each of them.</summary>
internal sealed class EveryFamilyTests
{
    private const int Side = 32;

    private static readonly (string Name, Func<string, string> Write)[] s_families =
    [
        ("SD1", TinyFolder.StableDiffusion), ("SD2", TinyFolder.StableDiffusion2), ("SDXL", TinyFolder.StableDiffusionXL), ("PixArt", TinyFolder.PixArt),
        ("DiT", TinyFolder.DiT), ("LDM", TinyFolder.LatentDiffusion), ("DDPM", TinyFolder.Unconditional),
    ];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Create() => _folder = new TemporaryFolder();

    [TearDown]
    public void Remove() => _folder.Dispose();

    private static IEnumerable<TestCaseData> Cases() => MethodCases.Of(s_families.Select(family => (family.Name, new object[] { family.Name, family.Write })));

    [TestCaseSource(nameof(Cases))]
    public async Task A_file_is_written_that_runs_and_equals_its_simulation(IQuantizationMethod method, string family, Func<string, string> write, int weightBits, int activationBits)
    {
        write(_folder["float"]);
        PromptEmbeddings? embeddings = family == "PixArt" ? TinyEmbeddings.Create(channels: 20) : null;
        ModelQuantizer.Run(new QuantizationRequest
        {
            Model = _folder["float"],
            Output = _folder["low"],
            Method = method.Name,
            WeightBits = weightBits,
            ActivationBits = activationBits,
            Images = 1,
            Batch = 1,
            Steps = 2,
            GuidanceScale = Guidance(),
            Height = Side,
            Width = Side,
            PromptEmbeddings = embeddings,
            Iterations = 2,
            Samples = 8,
            ReportImages = 0,
        });

        using (SourceModel low = SourceModel.Open(_folder["low"]))
        {
            QuantizedModule[] modules = [.. low.Weights.QuantizedModules.Values];
            Assert.That(modules, Has.Some.Matches<QuantizedModule>(module => (module!.WeightBits, module.Input.Bits) == (weightBits, activationBits)), "layers of the width that was asked for");
            int timesteps = method.Start(_ => true).PerTimestep ? 2 : 1;
            Assert.That(modules.Select(module => module.Input.Timesteps.Length).Distinct(), Is.EqualTo(new[] { timesteps }), "timesteps with scales of their own");
        }

        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder["low"]);
        GenerationRequest request = new() { Steps = 2, GuidanceScale = Guidance(), Height = Side, Width = Side, Prompts = pipeline.Description.HasTextEncoder ? ["a cat"] : [], PromptEmbeddings = embeddings, Labels = family == "DiT" ? [3] : [] };
        Assert.That((await pipeline.GenerateAsync(request))[0].Sample, Is.All.Matches<float>(float.IsFinite), "a picture");
        Simulation.LayersEqualIntegers(_folder["float"], _folder["low"]);

        float Guidance() => family is "LDM" or "DDPM" ? 1 : 1.5f;
    }
}
