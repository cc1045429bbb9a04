using System.Globalization;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Pictures;

/// <summary>Labels as people write them: numbers, names in any case, several with commas, <c>all</c>.</summary>
internal static class LabelParser
{
    private const int NamesInMessage = 20;

    /// <summary>Reads labels; none given means one of each.</summary>
    /// <exception cref="InvalidRequestException">A label that the model does not have.</exception>
    public static IReadOnlyList<int> Parse(IReadOnlyList<string> texts, ModelDescription model)
    {
        if (model.LabelCount == 0)
            return texts.Count == 0 ? [] : throw new InvalidRequestException("label", $"expected none, because the model has no labels, found '{texts[0]}'");
        if (texts.Count == 0) return All(model);
        List<int> labels = [];
        foreach (string text in texts)
        {
            // A name may itself contain commas.
            if (Find(text, model) is { } label) labels.Add(label);
            else foreach (string part in text.Split(',', StringSplitOptions.TrimEntries)) labels.AddRange(ParseOne(part, model));
        }

        return labels;
    }

    /// <summary>A label's name, or its number where it has none.</summary>
    public static string Name(int label, ModelDescription model) => model.LabelNames.GetValueOrDefault(label) ?? label.ToString(CultureInfo.InvariantCulture);

    private static IReadOnlyList<int> All(ModelDescription model) => [.. Enumerable.Range(0, model.LabelCount)];

    private static IReadOnlyList<int> ParseOne(string text, ModelDescription model)
    {
        if (text.Equals("all", StringComparison.OrdinalIgnoreCase)) return All(model);
        if (Find(text, model) is { } label) return [label];
        string names = model.LabelNames.Count == 0 ? "" : $" or one of {string.Join(", ", model.LabelNames.Values.Take(NamesInMessage))}{(model.LabelNames.Count > NamesInMessage ? ", …" : "")}";
        throw new InvalidRequestException("label", $"expected a number from 0 to {model.LabelCount - 1}{names}, found '{text}'");
    }

    private static int? Find(string text, ModelDescription model)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number)) return number < model.LabelCount ? number : null;
        foreach ((int label, string name) in model.LabelNames)
        {
            bool same = name.Equals(text, StringComparison.OrdinalIgnoreCase) || name.Split(',', StringSplitOptions.TrimEntries).Contains(text, StringComparer.OrdinalIgnoreCase);
            if (same && label < model.LabelCount) return label;
        }

        return null;
    }
}
