using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>A folder whose parts are missing, unknown or do not fit each other is refused before its weights are read, with a message that says what is supported.</summary>
public sealed class DamagedFolderTests
{
    public static IEnumerable<TestCaseData> Damages()
    {
        yield return Case("unknown pipeline", folder => Replace(folder, "model_index.json", "StableDiffusionPipeline", "FluxPipeline"), "_class_name", "StableDiffusionXLPipeline", "FluxPipeline");
        yield return Case("unknown scheduler", folder => Replace(folder, "scheduler/scheduler_config.json", "DDIMScheduler", "MagicScheduler"), "scheduler_config.json", "UniPCMultistepScheduler", "MagicScheduler");
        yield return Case("unknown network", folder => Replace(folder, "unet/config.json", "UNet2DConditionModel", "UNet9DModel"), "config.json", "UNet2DConditionModel", "UNet9DModel");
        yield return Case("network of another pipeline", folder => Replace(folder, "model_index.json", "StableDiffusionPipeline", "DDPMPipeline"), "UNet2DModel", "UNet2DConditionModel");
        yield return Case("unknown text encoder", folder => Replace(folder, "text_encoder/config.json", "\"CLIPTextModel\"", "\"T5EncoderModel\""), "text_encoder", "CLIPTextModel", "T5EncoderModel");
        yield return Case("autoencoder missing", folder => Replace(folder, "model_index.json", "\"vae\"", "\"other\""), "'vae' or 'vqvae'", "other");
        yield return Case("vocabulary missing", folder => File.Delete(Path.Combine(folder, "tokenizer/vocab.json")), "tokenizer", "vocab.json");
        yield return Case("merges missing", folder => File.Delete(Path.Combine(folder, "tokenizer/merges.txt")), "tokenizer", "merges.txt");
        yield return Case("tokenizer missing", folder => Replace(folder, "model_index.json", "\"tokenizer\"", "\"other\""), "tokenizer");
        yield return Case("vocabulary too large", folder => Replace(folder, "tokenizer/vocab.json", "517", "999"), "at most the 518 tokens", "found 1000");
        yield return Case("text of another width", folder => Replace(folder, "unet/config.json", "\"in_channels\": 4", "\"in_channels\": 9"), "in_channels|conv_in");
    }

    [TestCaseSource(nameof(Damages))]
    public async Task What_is_wrong_is_named(Action<string> damage, string[] says)
    {
        using TemporaryFolder folder = new();
        damage(TinyFolder.StableDiffusion(folder.Path));

        ModelFormatException error = (await Assert.ThrowsAsync<ModelFormatException>(async () =>
        {
            await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(folder.Path);
            await pipeline.GenerateAsync(new() { Prompts = ["a"], Steps = 1, Height = 16, Width = 16 });
        }))!;

        foreach (string text in says) Assert.That(error.Message, Does.Match(text.Contains('|') ? text : System.Text.RegularExpressions.Regex.Escape(text)));
    }

    [Test]
    public async Task Without_a_text_encoder_a_prompt_is_refused_and_embeddings_are_asked_for()
    {
        using TemporaryFolder folder = new();
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(TinyFolder.PixArt(folder.Path));

        Assert.That(pipeline.Description.HasTextEncoder, Is.False);
        Assert.That(() => pipeline.GenerateAsync(new() { Prompts = ["a cat"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("expected embeddings"));
    }

    private static void Replace(string folder, string file, string old, string text)
    {
        string path = Path.Combine(folder, file), content = File.ReadAllText(path);
        Assert.That(content, Does.Contain(old), "what is to be replaced");
        File.WriteAllText(path, content.Replace(old, text));
    }

    private static TestCaseData Case(string name, Action<string> damage, params string[] says) => new TestCaseData(damage, says).SetArgDisplayNames(name);
}
