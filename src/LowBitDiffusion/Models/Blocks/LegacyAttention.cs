namespace LowBitDiffusion.Models.Blocks;

/// <summary>Names that old diffusers files use for the same parameters.</summary>
internal static class LegacyAttention
{
    private static readonly (string Name, string Legacy)[] Renamed =
        [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

    /// <summary>Attention projections before they were called <c>to_q</c>, <c>to_k</c>, <c>to_v</c> and <c>to_out.0</c>.</summary>
    public static IEnumerable<string> NamesOf(string parameter) =>
        from pair in Renamed
        where parameter.Contains(pair.Name, StringComparison.Ordinal)
        select parameter.Replace(pair.Name, pair.Legacy, StringComparison.Ordinal);
}
