using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Quantization;

/// <summary>
/// Which layer gets which precision: globs over module names in order, the first match decides; layers that none matches get the standard precision.
/// In a glob <c>*</c> stands for any characters, dots included, and <c>?</c> for one.
/// </summary>
public sealed class PrecisionRules
{
    private readonly (string Glob, Precision Precision)[] _rules;
    private readonly int _overrides;

    /// <summary>Creates the table: the given rules, then <see cref="Defaults"/>, for activations of less than 8 bits <see cref="ResidualReaders"/>, then the standard precision for all else.</summary>
    /// <param name="standard">Precision of layers that no rule matches.</param>
    /// <param name="overrides">Rules that come before the defaults.</param>
    /// <exception cref="InvalidRequestException">A rule's precision cannot be read.</exception>
    public PrecisionRules(Precision standard, IEnumerable<PrecisionRule>? overrides = null)
    {
        PrecisionRule[] first = [.. overrides ?? []];
        _overrides = first.Length;
        bool fewBits = standard is { IsFloat: false, ActivationBits: < 8 };
        _rules = [.. first.Concat(Defaults).Concat(fewBits ? ResidualReaders : []).Select(rule => (rule.Modules, Precision.Parse(rule.Precision))), ("*", standard)];
    }

    /// <summary>
    /// What holds unless overridden. The embeddings of timestep and label stay float and their projections have 8 bits: they are computed before the loop, so that fewer bits
    /// buy no time, and their errors shift whole pictures (TFMQ-DM). The first and the last layer have 8 bits, as in all of the papers: they are small and touch the picture itself; so have those of
    /// an autoencoder's halves (encoder, decoder, and the convolutions between them) and a text encoder's projection.
    /// </summary>
    public static IReadOnlyList<PrecisionRule> Defaults { get; } =
    [
        new("time_embedding.*", "float"),
        new("class_embedding*", "float"),
        new("*timestep_embedder.*", "float"),
        new("add_embedding.*", "float"),
        new("*.time_emb_proj", "w8a8"),
        new("*.norm1.linear", "w8a8"),
        new("adaln_single.linear", "w8a8"),
        new("caption_projection.*", "w8a8"),
        new("conv_in", "w8a8"),
        new("pos_embed.proj", "w8a8"),
        new("conv_out", "w8a8"),
        new("*coder.conv_in", "w8a8"),
        new("*coder.conv_out", "w8a8"),
        new("*quant_conv", "w8a8"),
        new("text_projection", "w8a8"),
        new("proj_out*", "w8a8"),
    ];

    /// <summary>
    /// What else holds where activations have less than 8 bits. Most layers read what a normalization has made small and even; these read the residual stream of a UNet or an autoencoder itself, and what they
    /// lose goes straight into it. They are 9 % of the weights of the garments' UNet. (The published codes of EfficientDM, TFMQ-DM and PTQD leave shortcuts and downsamplers in float.)
    /// </summary>
    public static IReadOnlyList<PrecisionRule> ResidualReaders { get; } =
    [
        new("*.conv_shortcut", "w8a8"),
        new("*.downsamplers.*", "w8a8"),
        new("*.upsamplers.*", "w8a8"),
    ];

    /// <summary>All rules, first match first, the standard precision last.</summary>
    public IReadOnlyList<PrecisionRule> Rules => [.. _rules.Select(rule => new PrecisionRule(rule.Glob, rule.Precision.ToString()))];

    /// <summary>Reads <c>glob=precision</c>, e.g. <c>mid_block.*=w8a8</c>.</summary>
    /// <exception cref="InvalidRequestException">Not of that form.</exception>
    public static PrecisionRule Parse(string text)
    {
        int equals = text.LastIndexOf('=');
        if (equals < 1) throw new InvalidRequestException("rule", $"expected <modules>=<precision>, such as mid_block.*=w8a8, found '{text}'");
        return new PrecisionRule(text[..equals], Precision.Parse(text[(equals + 1)..]).ToString());
    }

    /// <summary>The precision of a layer.</summary>
    public Precision Of(string module) => _rules.First(rule => Matches(rule.Glob, module)).Precision;

    /// <summary>Whether no rule names a layer.</summary>
    public bool IsStandard(string module) => !_rules.SkipLast(1).Any(rule => Matches(rule.Glob, module));

    /// <summary>Refuses overrides that match no layer: most likely a name that is spelt wrongly.</summary>
    /// <exception cref="InvalidRequestException">There is such a rule.</exception>
    public void CheckUsed(IReadOnlyCollection<string> modules)
    {
        foreach ((string glob, _) in _rules.Take(_overrides))
        {
            if (!modules.Any(module => Matches(glob, module))) throw new InvalidRequestException("rule", $"'{glob}' matches none of the {modules.Count} layers, such as {modules.FirstOrDefault()}");
        }
    }

    /// <summary>One rule a line.</summary>
    public override string ToString() => string.Join('\n', _rules.Select(rule => $"{rule.Glob,-24} {rule.Precision}"));

    // Greedy with one place to come back to, the last star: enough, because a star that matched more can only help the ones behind it.
    internal static bool Matches(string glob, string name)
    {
        int g = 0, n = 0, star = -1, resume = 0;
        while (n < name.Length)
        {
            if (g < glob.Length && glob[g] == '*') (star, resume, g) = (g, n, g + 1);
            else if (g < glob.Length && (glob[g] == '?' || glob[g] == name[n])) (g, n) = (g + 1, n + 1);
            else if (star >= 0) (g, n) = (star + 1, ++resume);
            else return false;
        }

        return glob.AsSpan(g).Trim('*').IsEmpty;
    }
}
