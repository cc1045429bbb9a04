using System.Text;
using System.Text.Json.Nodes;

namespace LowBitDiffusion.Formats.Presets;

/// <summary>
/// The files of CLIP's tokenizer, which single-file checkpoints do not hold. All Stable Diffusion models share one merge list, and the vocabulary follows from it: a token for each
/// byte, for each byte at a word's end, for each merge in the list's order, and two special ones.
/// </summary>
internal static class ClipVocabulary
{
    private const string EndOfWord = "</w>";

    /// <summary><c>merges.txt</c>.</summary>
    public static byte[] Merges() => ModelPreset.Resource("clip-merges.txt");

    /// <summary><c>vocab.json</c>: the id of every token.</summary>
    public static byte[] Vocabulary()
    {
        string[] bytes = [.. ByteCharacters()];
        // The first line is the file format's version.
        IEnumerable<string> merged = Encoding.UTF8.GetString(Merges()).Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(line => line.Replace(" ", "", StringComparison.Ordinal));
        JsonObject vocabulary = [];
        foreach (string token in (string[])[.. bytes, .. bytes.Select(b => b + EndOfWord), .. merged, "<|startoftext|>", "<|endoftext|>"]) vocabulary.Add(token, vocabulary.Count);
        return Encoding.UTF8.GetBytes(vocabulary.ToJsonString());
    }

    // Bytes that print stand for themselves and come first; the others follow, as the characters from U+0100 on.
    private static IEnumerable<string> ByteCharacters()
    {
        static bool Prints(int b) => b is (>= '!' and <= '~') or (>= 0xa1 and <= 0xac) or (>= 0xae and <= 0xff);
        int[] all = [.. Enumerable.Range(0, 256)];
        return all.Where(Prints).Select(b => ((char)b).ToString()).Concat(all.Where(b => !Prints(b)).Select((_, i) => ((char)(256 + i)).ToString()));
    }
}
