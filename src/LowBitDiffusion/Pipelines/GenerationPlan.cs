using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Pipelines;

/// <summary>A request checked against a model, with every default filled in.</summary>
internal sealed class GenerationPlan
{
    private readonly int? _nullLabel;

    private GenerationPlan(GenerationRequest request, DiffusionModel model)
    {
        ModelDescription description = model.Description;
        Labels = CheckedLabels(request, description);
        Images = Labels.Count > 0 ? Labels.Count : request.Count;
        if (Images < 1) throw new InvalidRequestException("count", $"expected at least 1 image, found {Images}");
        Steps = request.Steps ?? description.DefaultSteps;
        if (Steps < 1 || Steps > model.Scheduler.TrainSteps) throw new InvalidRequestException("steps", $"expected 1 to {model.Scheduler.TrainSteps}, found {Steps}");
        Guidance = request.GuidanceScale ?? description.DefaultGuidanceScale;
        if (!float.IsFinite(Guidance)) throw new InvalidRequestException("guidance", $"expected a finite number, found {Guidance}");
        Guided = Labels.Count > 0 && Guidance != 1;
        _nullLabel = description.NullLabel;
        if (Guided && _nullLabel is null) throw new InvalidRequestException("guidance", $"expected 1, because the model has no null label, found {Guidance}");
        if (!(request.Eta is >= 0 and <= 1)) throw new InvalidRequestException("eta", $"expected 0 to 1, found {request.Eta}");
        Eta = request.Eta;
        NoiseSource = request.NoiseSource;
        if (request.Seeds is { } seeds && seeds.Count != Images) throw new InvalidRequestException("seeds", $"expected one per image, {Images}, found {seeds.Count}");
        Seeds = request.Seeds is { } given ? [.. given] : [.. Enumerable.Range(0, Images).Select(i => unchecked(request.Seed + (ulong)i))];
        Batch = Math.Min(model.MaxBatch, Images);
    }

    /// <summary>Labels, one per image, or none.</summary>
    public IReadOnlyList<int> Labels { get; }

    /// <summary>Images to draw.</summary>
    public int Images { get; }

    /// <summary>Images that go through the network at once.</summary>
    public int Batch { get; }

    /// <summary>Sampler steps.</summary>
    public int Steps { get; }

    /// <summary>Guidance scale.</summary>
    public float Guidance { get; }

    /// <summary>Whether the network sees every image twice.</summary>
    public bool Guided { get; }

    /// <summary>DDIM's η.</summary>
    public float Eta { get; }

    /// <summary>Whose random numbers.</summary>
    public NoiseSource NoiseSource { get; }

    /// <summary>One per image.</summary>
    public ulong[] Seeds { get; }

    /// <summary>Checks a request.</summary>
    /// <exception cref="InvalidRequestException">It does not fit the model.</exception>
    public static GenerationPlan Create(GenerationRequest request, DiffusionModel model) => new(request, model);

    /// <summary>The network's inputs beside sample and timestep for a batch.</summary>
    public IReadOnlyDictionary<string, float[]> Conditions(int first, int count)
    {
        if (Labels.Count == 0) return new Dictionary<string, float[]>();
        IEnumerable<float> labels = Labels.Skip(first).Take(count).Select(l => (float)l);
        if (Guided) labels = labels.Concat(Enumerable.Repeat((float)_nullLabel!.Value, count));
        return new Dictionary<string, float[]> { ["class_labels"] = [.. labels] };
    }

    private static IReadOnlyList<int> CheckedLabels(GenerationRequest request, ModelDescription description)
    {
        if (description.LabelCount == 0)
        {
            if (request.Labels.Count > 0) throw new InvalidRequestException("labels", $"expected none, because the model is unconditional, found {request.Labels.Count}");
            return [];
        }

        if (request.Labels.Count == 0) throw new InvalidRequestException("labels", $"expected at least one label from 0 to {description.LabelCount - 1}, found none");
        foreach (int label in request.Labels)
        {
            if (label < 0 || label >= description.LabelCount) throw new InvalidRequestException("labels", $"expected labels from 0 to {description.LabelCount - 1}, found {label}");
        }

        return request.Labels;
    }
}
