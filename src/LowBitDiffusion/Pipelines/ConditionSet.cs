namespace LowBitDiffusion.Pipelines;

/// <summary>Which images a batch of conditions is for.</summary>
internal enum ConditionHalf
{
    /// <summary>The images with their labels or prompts.</summary>
    Conditional,
    /// <summary>The same without: guidance leads away from these.</summary>
    Unconditional,
    /// <summary>The first, then the second.</summary>
    Both,
}

/// <summary>The network's inputs beside sample and timestep: rows of one image by name, for every image of a request, and those of no condition.</summary>
internal sealed class ConditionSet(IReadOnlyList<IReadOnlyDictionary<string, float[]>> images, IReadOnlyDictionary<string, float[]>? none)
{
    /// <summary>The rows of a batch, image after image; after the last image comes the first again.</summary>
    public IReadOnlyDictionary<string, float[]> Batch(int first, int count, ConditionHalf half)
    {
        List<IReadOnlyDictionary<string, float[]>> rows = [];
        if (half != ConditionHalf.Unconditional) rows.AddRange(Enumerable.Range(first, count).Select(i => images[i % images.Count]));
        if (half != ConditionHalf.Conditional) rows.AddRange(Enumerable.Repeat(none ?? throw new InvalidOperationException("there are no conditions to lead away from"), count));
        return rows[0].Keys.ToDictionary(name => name, name => rows.SelectMany(row => row[name]).ToArray());
    }
}
