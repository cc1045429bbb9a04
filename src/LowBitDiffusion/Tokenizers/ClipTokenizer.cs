using System.Text;
using System.Text.Json;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tokenizers;

/// <summary>
/// CLIP's tokenizer (Radford et al. 2021): byte-level byte-pair encoding (Sennrich et al. 2016) with <c>vocab.json</c> and <c>merges.txt</c>. The same tokens as Hugging Face's for every text:
/// normal form C, lower case, words split by <see cref="WordSplitter"/>, each word's UTF-8 bytes as characters, the last marked <c>&lt;/w&gt;</c>, then merged in the list's order.
/// Safe for concurrent use.
/// </summary>
public sealed class ClipTokenizer
{
    private const string EndOfWord = "</w>";

    // CLIP's context.
    private const int DefaultMaxLength = 77;

    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<(string First, string Second), int> _ranks;
    private readonly (string Text, int Id)[] _specialTokens;
    private readonly Dictionary<int, string> _texts;

    private ClipTokenizer(Dictionary<string, int> vocabulary, Dictionary<(string First, string Second), int> ranks, Func<string, string, int> special, int maxLength)
    {
        (_vocabulary, _ranks, MaxLength) = (vocabulary, ranks, maxLength);
        StartToken = special("bos_token", "<|startoftext|>");
        EndToken = special("eos_token", "<|endoftext|>");
        PadToken = special("pad_token", "<|endoftext|>");
        _texts = vocabulary.ToDictionary(pair => pair.Value, pair => pair.Key);
        _specialTokens = [.. vocabulary.Where(pair => pair.Value == StartToken || pair.Value == EndToken).Select(pair => (pair.Key, pair.Value))];
    }

    /// <summary>Id in front of every text.</summary>
    public int StartToken { get; }

    /// <summary>Id after every text.</summary>
    public int EndToken { get; }

    /// <summary>Id that fills a text up to a length: the end token's, or what <c>tokenizer_config.json</c> says (<c>!</c> in Stable Diffusion 2).</summary>
    public int PadToken { get; }

    /// <summary>Most tokens of a text, start and end included.</summary>
    public int MaxLength { get; }

    /// <summary>One more than the largest id.</summary>
    public int VocabularySize => _texts.Keys.Max() + 1;

    /// <summary>Opens a tokenizer's folder: <c>vocab.json</c>, <c>merges.txt</c> and, if there are any, <c>tokenizer_config.json</c> and <c>special_tokens_map.json</c>.</summary>
    /// <exception cref="ModelFormatException">A file is missing or damaged, or the files do not fit each other.</exception>
    public static ClipTokenizer Open(string folder) => Open(new FolderFiles(folder), "");

    /// <summary>Opens a model's tokenizer, whether the model is a folder or a single file.</summary>
    /// <param name="model">The model.</param>
    /// <param name="component">The tokenizer's name in it: <c>tokenizer</c>, <c>tokenizer_2</c>.</param>
    /// <exception cref="ModelFormatException">There is no such component, a file is missing or damaged, or the files do not fit each other.</exception>
    public static ClipTokenizer Open(ModelFolder model, string component)
    {
        if (!model.Components.ContainsKey(component)) throw new ModelFormatException(model.Path, component, $"no such component; it has {string.Join(", ", model.Components.Keys)}");
        return Open(model.Parts, component);
    }

    private static ClipTokenizer Open(IModelFiles files, string component)
    {
        JsonConfig vocabularyJson = files.Config(component, "vocab.json");
        string vocabularyFile = vocabularyJson.File;
        Dictionary<string, int> vocabulary = vocabularyJson.Keys.ToDictionary(token => token, token => vocabularyJson.GetInt(token));
        if (vocabulary.FirstOrDefault(pair => pair.Value < 0) is { Key: { } negative }) throw new ModelFormatException(vocabularyFile, negative, $"expected an id of 0 or more, found {vocabulary[negative]}");
        if (vocabulary.Values.Distinct().Count() != vocabulary.Count) throw new ModelFormatException(vocabularyFile, null, "expected a different id for every token");
        foreach (string character in ByteCharacters.All)
        {
            foreach (string token in (string[])[character, character + EndOfWord])
            {
                if (!vocabulary.ContainsKey(token)) throw new ModelFormatException(vocabularyFile, token, "expected a token for every byte, found none");
            }
        }

        JsonConfig[] settings = [.. ((string[])["tokenizer_config.json", "special_tokens_map.json"]).Where(files.Files(component).Contains).Select(name => files.Config(component, name))];
        int maxLength = settings.Select(file => MaxLengthOf(file)).FirstOrDefault(length => length is not null) ?? DefaultMaxLength;
        return new ClipTokenizer(vocabulary, ReadMerges(files, component, vocabulary), Special, maxLength);

        int Special(string key, string usual)
        {
            string token = settings.Select(file => SpecialTokenOf(file, key)).FirstOrDefault(text => text is not null) ?? usual;
            return vocabulary.TryGetValue(token, out int id) ? id : throw new ModelFormatException(vocabularyFile, token, $"expected the {key} among the tokens, found none");
        }
    }

    /// <summary>A text's tokens between start and end token, however many.</summary>
    public int[] Encode(string text)
    {
        List<int> ids = [StartToken];
        for (int position = 0; position < text.Length;)
        {
            // Special tokens are found in the text as it was typed; what lies between is normalized.
            (int at, string special, int id) = NextSpecialToken(text, position);
            string plain = Lower(CanonicalComposition.Normalize(text[position..at]));
            foreach (string word in WordSplitter.Split(plain)) EncodeWord(word, ids);
            if (special.Length > 0) ids.Add(id);
            position = at + special.Length;
        }

        ids.Add(EndToken);
        return [.. ids];
    }

    /// <summary>A text's tokens in exactly <paramref name="length"/> places: cut before the end token where there are more, filled with <see cref="PadToken"/> where there are fewer.</summary>
    /// <param name="text">Text.</param>
    /// <param name="length">Places, at least 2; <see cref="MaxLength"/> for a text encoder.</param>
    /// <param name="truncated">How many of the text's tokens did not fit.</param>
    public int[] Encode(string text, int length, out int truncated)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 2);
        int[] ids = Encode(text);
        truncated = Math.Max(0, ids.Length - length);
        int[] fitted = new int[length];
        Array.Fill(fitted, PadToken);
        ids.AsSpan(0, Math.Min(ids.Length, length)).CopyTo(fitted);
        if (truncated > 0) fitted[^1] = EndToken;
        return fitted;
    }

    /// <summary>The text of tokens, in lower case and with a space after each word, as the tokenizer sees it; start and end tokens have none.</summary>
    public string Decode(ReadOnlySpan<int> ids)
    {
        StringBuilder text = new();
        List<byte> word = [];
        foreach (int id in ids)
        {
            if (id == StartToken || id == EndToken || !_texts.TryGetValue(id, out string? token)) continue;
            bool ends = token.EndsWith(EndOfWord, StringComparison.Ordinal);
            foreach (char character in ends ? token.AsSpan(0, token.Length - EndOfWord.Length) : token) word.Add(ByteCharacters.ByteOf(character));
            if (!ends) continue;
            text.Append(Encoding.UTF8.GetString([.. word])).Append(' ');
            word.Clear();
        }

        return text.Append(Encoding.UTF8.GetString([.. word])).ToString().TrimEnd();
    }

    private (int At, string Token, int Id) NextSpecialToken(string text, int from)
    {
        (int At, string Token, int Id) next = (text.Length, "", 0);
        foreach ((string token, int id) in _specialTokens)
        {
            int at = text.IndexOf(token, from, StringComparison.Ordinal);
            if (at >= 0 && at < next.At) next = (at, token, id);
        }

        return next;
    }

    /// <summary>Lower case of every character by itself; İ is the only one that becomes two.</summary>
    private static string Lower(string text)
    {
        StringBuilder lower = new(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value == 'İ') lower.Append("i\u0307");
            else lower.Append(Rune.ToLowerInvariant(rune).ToString());
        }

        return lower.ToString();
    }

    private void EncodeWord(string word, List<int> ids)
    {
        List<string> parts = [.. Encoding.UTF8.GetBytes(word).Select(value => ByteCharacters.All[value])];
        parts[^1] += EndOfWord;
        while (parts.Count > 1)
        {
            int best = int.MaxValue;
            for (int i = 0; i + 1 < parts.Count; i++) best = Math.Min(best, _ranks.GetValueOrDefault((parts[i], parts[i + 1]), int.MaxValue));
            if (best == int.MaxValue) break;
            int written = 0;
            for (int i = 0; i < parts.Count; i++, written++)
            {
                bool merge = i + 1 < parts.Count && _ranks.GetValueOrDefault((parts[i], parts[i + 1]), int.MaxValue) == best;
                parts[written] = merge ? parts[i] + parts[++i] : parts[i];
            }

            parts.RemoveRange(written, parts.Count - written);
        }

        foreach (string part in parts) ids.Add(_vocabulary[part]);
    }

    private static Dictionary<(string First, string Second), int> ReadMerges(IModelFiles files, string component, Dictionary<string, int> vocabulary)
    {
        const string name = "merges.txt";
        string file = Path.Combine(files.FolderOf(component) ?? $"{files.Path}:{component}", name);
        string[] lines = [.. Encoding.UTF8.GetString(files.Read(component, name)).Split('\n').Select(line => line.TrimEnd('\r'))];
        Dictionary<(string First, string Second), int> ranks = [];
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].Length == 0 || lines[i].StartsWith("#version", StringComparison.Ordinal)) continue;
            string[] parts = lines[i].Split(' ');
            if (parts.Length != 2) throw new ModelFormatException(file, null, $"line {i + 1}: expected two parts with a space between them, found '{lines[i]}'");
            if (!vocabulary.ContainsKey(parts[0] + parts[1])) throw new ModelFormatException(file, null, $"line {i + 1}: '{parts[0]}{parts[1]}' is not in the vocabulary");
            ranks.TryAdd((parts[0], parts[1]), ranks.Count);
        }

        return ranks;
    }

    /// <summary>A special token is a text, or an object that holds it.</summary>
    private static string? SpecialTokenOf(JsonConfig file, string key)
    {
        if (!file.TryGet(key, out JsonElement value)) return null;
        return value.ValueKind == JsonValueKind.Object ? file.GetObject(key)!.GetString("content") : file.GetNullableString(key);
    }

    /// <summary>Newer files have 10³⁰ for "no limit".</summary>
    private static int? MaxLengthOf(JsonConfig file) =>
        file.GetNullableDouble("model_max_length") is { } length and >= 2 and <= 1 << 20 ? (int)length : null;
}
