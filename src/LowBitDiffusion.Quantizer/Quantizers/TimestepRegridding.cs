using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Tables of one grid of timesteps for another, by timestep value: between two entries steps and zero points lie on a line, beyond the ends they stay (EfficientDM learns 100 entries and runs 20 steps; where
/// the grids meet, entries are taken as they are).
/// </summary>
public static class TimestepRegridding
{
    /// <summary>A table for other timesteps; itself where one entry serves all.</summary>
    /// <param name="table">The table.</param>
    /// <param name="timesteps">The other timesteps, strictly ascending.</param>
    public static TimestepTable To(TimestepTable table, IReadOnlyList<float> timesteps)
    {
        if (table.IsStatic) return table;
        int segments = table.Segments;
        float[] scales = new float[timesteps.Count * segments];
        int[] zeroPoints = new int[scales.Length];
        for (int i = 0; i < scales.Length; i++)
        {
            (int below, int above, double share) = Between(table.Timesteps, timesteps[i / segments]);
            (int a, int b) = (below * segments + i % segments, above * segments + i % segments);
            scales[i] = (float)(table.Scales[a] + share * (table.Scales[b] - table.Scales[a]));
            zeroPoints[i] = (int)Math.Round(table.ZeroPoints[a] + share * (table.ZeroPoints[b] - table.ZeroPoints[a]));
        }

        return new TimestepTable([.. timesteps], scales, zeroPoints, segments, table.Bits);
    }

    /// <summary>Layers with their tables for other timesteps; layers that shared a table share the new one.</summary>
    public static IReadOnlyDictionary<string, QuantizedModule> To(IReadOnlyDictionary<string, QuantizedModule> modules, IReadOnlyList<float> timesteps)
    {
        Dictionary<TimestepTable, TimestepTable> tables = [];
        return modules.ToDictionary(module => module.Key, module =>
        {
            if (!tables.TryGetValue(module.Value.Input, out TimestepTable? table)) tables.Add(module.Value.Input, table = To(module.Value.Input, timesteps));
            return module.Value.With(table);
        });
    }

    private static (int Below, int Above, double Share) Between(ReadOnlySpan<float> known, float timestep)
    {
        int index = known.BinarySearch(timestep);
        if (index >= 0) return (index, index, 0);
        int above = Math.Min(~index, known.Length - 1), below = Math.Max(~index - 1, 0);
        return (below, above, above == below ? 0 : ((double)timestep - known[below]) / ((double)known[above] - known[below]));
    }
}
