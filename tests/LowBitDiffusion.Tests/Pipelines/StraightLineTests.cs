using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;
using LowBitDiffusion.Tokenizers;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>Every pipeline draws what its computation written down plainly gives, within float rounding.</summary>
public sealed class StraightLineTests
{
    // Ten times what was measured.
    private const double Tolerance = 1e-5;
    private const int Latent = 8, Pixels = 32, Steps = 3;
    private const float Scaling = 0.18215f;
    private const ulong Seed = 7;
    private static readonly TensorShape LatentShape = new(1, 4, Latent, Latent);

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Stable_Diffusion_draws_after_a_prompt([Values(1f, 4f)] float guidance)
    {
        StraightLine line = new(TinyFolder.StableDiffusion(_folder.Path));
        float[] positive = Encode("a Cat"), negative = Encode("dog");
        float[] latent = StraightLine.Ddim(StraightLine.Noise(Seed, 4 * Latent * Latent), Steps, (x, t) => Guide(guidance, UNet(x, t, positive), UNet(x, t, negative)));

        GeneratedImage image = await Draw(new() { Prompts = ["a Cat"], NegativePrompt = "dog", GuidanceScale = guidance });

        Assert.That(StraightLine.Error(Decode(line, latent), image.Sample), Is.LessThan(Tolerance));
        Assert.That(image.Prompt, Is.EqualTo("a Cat"));

        float[] Encode(string text) => line.Run("text_encoder", Ids("tokenizer", text))["last_hidden_state"];

        float[] UNet(float[] x, int t, float[] text) =>
            line.Run("unet", ("sample", LatentShape, x), ("timestep", new(1), [t]), ("encoder_hidden_states", new(1, 16, 32), text))["sample"];
    }

    [Test]
    public async Task Stable_Diffusion_XL_puts_two_encoders_side_by_side([Values("", "dog")] string negativePrompt)
    {
        StraightLine line = new(TinyFolder.StableDiffusionXL(_folder.Path));
        (float[] Text, float[] Pooled) positive = Encode("a cat"), negative = negativePrompt.Length == 0 ? (new float[16 * 36], new float[20]) : Encode(negativePrompt);
        float[] latent = StraightLine.Ddim(StraightLine.Noise(Seed, 4 * Latent * Latent), Steps, (x, t) => Guide(3, UNet(x, t, positive), UNet(x, t, negative)));

        GeneratedImage image = await Draw(new() { Prompts = ["a cat"], NegativePrompt = negativePrompt, GuidanceScale = 3, OriginalSize = (48, 64), Crop = (2, 3) });

        Assert.That(StraightLine.Error(Decode(line, latent), image.Sample), Is.LessThan(Tolerance));

        (float[], float[]) Encode(string text)
        {
            float[] first = line.Run("text_encoder", Ids("tokenizer", text))["penultimate_hidden_state"];
            IReadOnlyDictionary<string, float[]> second = line.Run("text_encoder_2", Ids("tokenizer_2", text));
            return ([.. Enumerable.Range(0, 16).SelectMany(i => first.Skip(16 * i).Take(16).Concat(second["penultimate_hidden_state"].Skip(20 * i).Take(20)))], second["text_embeds"]);
        }

        float[] UNet(float[] x, int t, (float[] Text, float[] Pooled) text) => line.Run(
            "unet", ("sample", LatentShape, x), ("timestep", new(1), [t]), ("encoder_hidden_states", new(1, 16, 36), text.Text), ("text_embeds", new(1, 20), text.Pooled),
            ("time_ids", new(1, 6), [48, 64, 2, 3, Pixels, Pixels]))["sample"];
    }

    [Test]
    public async Task PixArt_draws_after_embeddings_from_a_file()
    {
        StraightLine line = new(TinyFolder.PixArt(_folder.Path));
        float[] positive = RandomModel.Normal(new Random(1), 5 * 20), negative = RandomModel.Normal(new Random(2), 5 * 20), mask = [1, 1, 1, 0, 0], all = [1, 1, 1, 1, 1];
        string file = _folder["text.safetensors"];
        SafeTensorsWriter.Write(file, [Tensor("encoder_hidden_states", [1, 5, 20], positive), Tensor("encoder_attention_mask", [1, 5], mask), Tensor("negative_encoder_hidden_states", [5, 20], negative)]);
        float[] latent = StraightLine.Ddim(StraightLine.Noise(Seed, 4 * Latent * Latent), Steps, (x, t) => Guide(2, Transformer(x, t, positive, mask), Transformer(x, t, negative, all)));

        GeneratedImage image = await Draw(new() { PromptEmbeddings = PromptEmbeddings.Load(file), GuidanceScale = 2 });

        Assert.That(StraightLine.Error(Decode(line, latent), image.Sample), Is.LessThan(Tolerance));

        float[] Transformer(float[] x, int t, float[] text, float[] mask) => line.Run(
            "transformer", ("sample", LatentShape, x), ("timestep", new(1), [t]), ("encoder_hidden_states", new(1, 5, 20), text), ("encoder_attention_mask", new(1, 5), mask))["sample"][..x.Length];
    }

    [Test]
    public async Task DiT_draws_a_label_in_the_latent_space_and_ignores_the_variance()
    {
        StraightLine line = new(TinyFolder.DiT(_folder.Path));
        float[] latent = StraightLine.Ddim(StraightLine.Noise(Seed, 4 * Latent * Latent), Steps, (x, t) => Guide(4, Transformer(x, t, 3), Transformer(x, t, 10)));

        GeneratedImage image = await Draw(new() { Labels = [3] });

        Assert.That(StraightLine.Error(Decode(line, latent), image.Sample), Is.LessThan(Tolerance));
        Assert.That(image.Label, Is.EqualTo(3));

        float[] Transformer(float[] x, int t, int label) =>
            line.Run("transformer", ("sample", LatentShape, x), ("timestep", new(1), [t]), ("class_labels", new(1), [label]))["sample"][..x.Length];
    }

    [Test]
    public async Task Latent_diffusion_decodes_through_the_code_book()
    {
        StraightLine line = new(TinyFolder.LatentDiffusion(_folder.Path));
        TensorShape shape = new(1, 3, Latent, Latent);
        float[] latent = StraightLine.Ddim(
            StraightLine.Noise(Seed, 3 * Latent * Latent), Steps, (x, t) => line.Run("unet", ("sample", shape, x), ("timestep", new(1), [t]))["sample"]);
        float[] expected = line.Run("vqvae", ("latent", shape, [.. latent.Select(x => x / Scaling)]))["decoded"];

        GeneratedImage image = await Draw(new());

        Assert.That(StraightLine.Error(expected, image.Sample), Is.LessThan(Tolerance));
    }

    [Test]
    public async Task Pixels_are_drawn_without_a_decoder()
    {
        StraightLine line = new(TinyFolder.Unconditional(_folder.Path));
        float[] expected = StraightLine.Ddim(
            StraightLine.Noise(Seed, 3 * Pixels * Pixels), Steps, (x, t) => line.Run("unet", ("sample", new(1, 3, Pixels, Pixels), x), ("timestep", new(1), [t]))["sample"]);

        GeneratedImage image = await Draw(new());

        Assert.That(StraightLine.Error(expected, image.Sample), Is.LessThan(Tolerance));
    }

    [Test]
    public async Task An_image_is_begun_from_with_the_noise_of_its_strength()
    {
        StraightLine line = new(TinyFolder.StableDiffusion(_folder.Path));
        Image init = Picture();
        float[] text = line.Run("text_encoder", Ids("tokenizer", "cat"))["last_hidden_state"];
        IReadOnlyDictionary<string, float[]> encoded = line.Run("vae", ("image", new(1, 3, Pixels, Pixels), init.ToSample()));
        float[] both = new float[2 * LatentShape.Elements];
        INoiseGenerator generator = NoiseGenerators.Create(NoiseSource.TorchCpu, Seed);
        generator.FillNormal(both.AsSpan(0, both.Length / 2));
        generator.FillNormal(both.AsSpan(both.Length / 2));
        // Four steps at strength 0.6: two are done, the first of them at t = 251.
        double alpha = StraightLine.AlphaBar(251);
        float[] start = [.. Enumerable.Range(0, both.Length / 2).Select(i =>
            (float)(Math.Sqrt(alpha) * Scaling * (encoded["mean"][i] + encoded["std"][i] * both[i]) + Math.Sqrt(1 - alpha) * both[both.Length / 2 + i]))];
        float[] latent = StraightLine.Ddim(start, 4, (x, t) => line.Run("unet", ("sample", LatentShape, x), ("timestep", new(1), [t]), ("encoder_hidden_states", new(1, 16, 32), text))["sample"], first: 2);

        GeneratedImage image = await Draw(new() { Prompts = ["cat"], GuidanceScale = 1, InitImage = init, Strength = 0.6f, Steps = 4 });

        Assert.That(StraightLine.Error(Decode(line, latent), image.Sample), Is.LessThan(Tolerance));
    }

    internal static Image Picture()
    {
        Image picture = new(Pixels, Pixels, 3);
        for (int i = 0; i < picture.Pixels.Length; i++) picture.Pixels[i] = (byte)(128 + 100 * Math.Sin(i * 0.05));
        return picture;
    }

    private static (TensorInfo, byte[]) Tensor(string name, long[] shape, float[] values) => (new TensorInfo(name, DType.F32, shape), TensorConversion.FromSingles(DType.F32, values));

    private static float[] Guide(float scale, float[] with, float[] without) => [.. with.Zip(without, (c, u) => u + scale * (c - u))];

    private static float[] Decode(StraightLine line, float[] latent) => line.Run("vae", ("latent", LatentShape, [.. latent.Select(x => x / Scaling)]))["decoded"];

    private (string, TensorShape, float[]) Ids(string tokenizer, string text) =>
        ("input_ids", new(1, 16), [.. ClipTokenizer.Open(_folder[tokenizer]).Encode(text, 16, out _).Select(id => (float)id)]);

    private async Task<GeneratedImage> Draw(GenerationRequest request)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder.Path);
        return (await pipeline.GenerateAsync(request with { Steps = request.Steps ?? Steps, Seed = Seed, Height = Pixels, Width = Pixels }))[0];
    }
}
