using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// What text encoders made of prompts, for models whose encoder is not part of this library (PixArt's T5) or prompts that were encoded elsewhere. In a safetensors file:
/// <code>
/// encoder_hidden_states           [N, L, D] or [L, D]     one per image, or one for all
/// encoder_attention_mask          [N, L] or [L]           1 for tokens that count; may be left out
/// text_embeds                     [N, E] or [E]           SDXL's pooled projection
/// negative_encoder_hidden_states  [1, L, D] or [L, D]     needed for guidance; the other names with negative_ likewise
/// </code>
/// </summary>
public sealed class PromptEmbeddings
{
    private const string Negative = "negative_";

    // Dimensions of one image's part.
    private static readonly Dictionary<string, int> s_ranks = new() { ["encoder_hidden_states"] = 2, ["encoder_attention_mask"] = 1, ["text_embeds"] = 1 };

    private PromptEmbeddings(string origin, Dictionary<string, (TensorShape Shape, float[] Values)> tensors)
    {
        (Origin, Tensors) = (origin, tensors);
        if (!tensors.TryGetValue("encoder_hidden_states", out (TensorShape Shape, float[] Values) text)) throw new ModelFormatException(origin, "encoder_hidden_states", "no such tensor");
        Count = text.Shape[0];
        foreach ((string name, (TensorShape shape, _)) in tensors)
        {
            int expected = name.StartsWith(Negative, StringComparison.Ordinal) ? 1 : Count;
            if (shape[0] != expected) throw new ModelFormatException(origin, name, $"expected {expected} in front, found {shape}");
            if (!name.EndsWith("text_embeds", StringComparison.Ordinal) && shape[1] != text.Shape[1])
                throw new ModelFormatException(origin, name, $"expected the {text.Shape[1]} tokens of encoder_hidden_states, found {shape}");
        }
    }

    /// <summary>Where they come from, for messages.</summary>
    public string Origin { get; }

    /// <summary>Prompts.</summary>
    public int Count { get; }

    /// <summary>Tokens of each.</summary>
    public int Tokens => Tensors["encoder_hidden_states"].Shape[1];

    /// <summary>Tensors by name, each with the number of prompts in front.</summary>
    internal IReadOnlyDictionary<string, (TensorShape Shape, float[] Values)> Tensors { get; }

    /// <summary>Whether there is something to guide away from.</summary>
    internal bool HasNegative => Tensors.ContainsKey(Negative + "encoder_hidden_states");

    /// <summary>Reads a safetensors file.</summary>
    /// <exception cref="ModelFormatException">It is missing or damaged, or its tensors have other names or shapes.</exception>
    public static PromptEmbeddings Load(string file)
    {
        using SafeTensorsFile tensors = SafeTensorsFile.Open(file);
        return Read(tensors);
    }

    /// <summary>Takes tensors from anywhere.</summary>
    /// <exception cref="ModelFormatException">They have other names or shapes.</exception>
    public static PromptEmbeddings Read(ITensorSource source)
    {
        Dictionary<string, (TensorShape, float[])> tensors = [];
        foreach (TensorInfo info in source.Tensors.Values)
        {
            string plain = info.Name.StartsWith(Negative, StringComparison.Ordinal) ? info.Name[Negative.Length..] : info.Name;
            if (!s_ranks.TryGetValue(plain, out int rank))
                throw new ModelFormatException(source.Origin, info.Name, $"expected {string.Join(", ", s_ranks.Keys)}, each also with {Negative} in front, found another name");
            if ((info.Shape.Count != rank && info.Shape.Count != rank + 1) || info.Shape.Any(extent => extent is < 1 or > int.MaxValue))
                throw new ModelFormatException(source.Origin, info.Name, $"expected {rank} dimensions, or {rank + 1} with the number of prompts in front, found {info.ShapeText}");
            int[] shape = [.. info.Shape.Select(extent => (int)extent)];
            tensors.Add(info.Name, (new TensorShape(info.Shape.Count == rank ? [1, .. shape] : shape), source.ReadSingles(info.Name)));
        }

        return new PromptEmbeddings(source.Origin, tensors);
    }

    /// <summary>Some of the prompts.</summary>
    /// <param name="prompts">Their numbers, from 0; a number may come several times.</param>
    public PromptEmbeddings Select(IReadOnlyList<int> prompts) => new(Origin, Tensors.ToDictionary(tensor => tensor.Key, tensor =>
    {
        (TensorShape shape, float[] values) = tensor.Value;
        if (tensor.Key.StartsWith(Negative, StringComparison.Ordinal)) return tensor.Value;
        int length = values.Length / shape[0];
        return (shape.With(0, prompts.Count), prompts.SelectMany(prompt => values[(prompt * length)..((prompt + 1) * length)]).ToArray());
    }));

    /// <summary>One prompt's rows by the name of the network's input.</summary>
    internal Dictionary<string, float[]> Prompt(int index) => Rows("", index);

    /// <summary>The negative prompt's rows.</summary>
    internal Dictionary<string, float[]> NegativePrompt() => Rows(Negative, 0);

    private Dictionary<string, float[]> Rows(string prefix, int index)
    {
        Dictionary<string, float[]> rows = [];
        foreach (string name in s_ranks.Keys)
        {
            if (!Tensors.TryGetValue(prefix + name, out (TensorShape Shape, float[] Values) tensor)) continue;
            int length = tensor.Values.Length / tensor.Shape[0], row = Math.Min(index, tensor.Shape[0] - 1);
            rows.Add(name, tensor.Values.AsSpan(row * length, length).ToArray());
        }

        return rows;
    }
}
