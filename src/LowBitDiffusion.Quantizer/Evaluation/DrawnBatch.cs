using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>The noise and the subjects of a comparison: seeds follow each other, labels and prompts take turns. Every model of a comparison draws the same.</summary>
/// <param name="Reference">The reference.</param>
/// <param name="Options">What to draw.</param>
internal sealed record DrawingSettings(ModelDescription Reference, EvaluationOptions Options)
{
    /// <summary>The reference, with the size that is drawn.</summary>
    public ModelDescription Description { get; } = Reference with { Height = Options.Height ?? Reference.Height, Width = Options.Width ?? Reference.Width };

    public int Count => Options.Count ?? PictureCounts.For(Reference).Evaluation;

    private int Batch => Options.Batch ?? PictureCounts.For(Reference).EvaluationBatch;

    public int Steps => Options.Steps ?? Description.DefaultSteps;

    public float GuidanceScale => Options.GuidanceScale ?? Description.DefaultGuidanceScale;

    /// <summary>Values of a picture.</summary>
    public int PictureLength => Description.Channels * Description.Height * Description.Width;

    /// <summary>First picture and number of each batch.</summary>
    public IEnumerable<(int First, int Count)> Batches
    {
        get
        {
            for (int first = 0; first < Count; first += Batch) yield return (first, Math.Min(Batch, Count - first));
        }
    }

    public ulong Seed(int picture) => unchecked(Options.Seed + (ulong)picture);

    /// <summary>The prompt of a picture; null without.</summary>
    public string? Prompt(int picture) => Prompts.Count == 0 ? null : Prompts[picture % Prompts.Count];

    public IReadOnlyList<string> Prompts { get; } = PromptList.For(Reference, Options.Prompts, Options.PromptEmbeddings);

    public int[] Labels(int first, int count) => Description.LabelCount == 0 ? [] : [.. Enumerable.Range(first, count).Select(i => i % Description.LabelCount)];

    /// <summary>Draws one batch.</summary>
    public async Task<DrawnBatch> DrawAsync(DiffusionPipeline model, int first, int count, CancellationToken cancellationToken)
    {
        int[] pictures = [.. Enumerable.Range(first, count)];
        GenerationRequest request = new()
        {
            Labels = Labels(first, count),
            Prompts = [.. pictures.Select(Prompt).OfType<string>()],
            PromptEmbeddings = Options.PromptEmbeddings?.Select([.. pictures.Select(i => i % Options.PromptEmbeddings.Count)]),
            Height = Options.Height,
            Width = Options.Width,
            Count = count,
            Steps = Steps,
            GuidanceScale = GuidanceScale,
            Seed = Seed(first),
        };
        int watched = Math.Clamp(Options.Trajectories - first, 0, count);
        List<float> timesteps = [];
        List<float[]> samples = [];
        IReadOnlyList<GeneratedImage> images = await model.GenerateAsync(request, watched == 0 ? null : Watch, progress: null, cancellationToken).ConfigureAwait(false);
        return new DrawnBatch([.. images.Select(image => Array.ConvertAll(image.Sample, x => Math.Clamp(x, -1, 1)))], [.. images.Select(image => image.Image)], timesteps, samples, watched);

        void Watch(int at, int batch, int call, float timestep, ReadOnlySpan<float> values)
        {
            int length = values.Length / batch;
            if (call == samples.Count)
            {
                timesteps.Add(timestep);
                samples.Add(new float[watched * length]);
            }

            if (at < watched) values[..(Math.Min(batch, watched - at) * length)].CopyTo(samples[call].AsSpan(at * length));
        }
    }
}

/// <summary>Some pictures of one model.</summary>
/// <param name="Pictures">Values in [−1, 1] as a file can hold them: samplers may leave some a little outside.</param>
/// <param name="Images">The same as bytes.</param>
/// <param name="Timesteps">Timestep of every call; empty without trajectories.</param>
/// <param name="Samples">For every call, the samples of the pictures whose trajectories are watched, one after the other.</param>
/// <param name="Watched">How many those are: the first of the batch.</param>
internal sealed record DrawnBatch(IReadOnlyList<float[]> Pictures, IReadOnlyList<Image> Images, IReadOnlyList<float> Timesteps, IReadOnlyList<float[]> Samples, int Watched);
