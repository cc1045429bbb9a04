using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;
using LowBitDiffusion.Tokenizers;

namespace LowBitDiffusion.Tests.Tokenizers;

/// <summary>The same tokens as the reference tokenizer, for every text.</summary>
public sealed class ClipTokenizerTests
{
    private static readonly string Folder = Repository.Golden("clip_tokenizer");
    private static readonly Lazy<ClipTokenizer> Tokenizer = new(() => ClipTokenizer.Open(Folder));

    public static IEnumerable<TestCaseData> Cases()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "cases.json")));
        int number = 0;
        foreach (JsonElement entry in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] Ids(string key) => [.. entry.GetProperty(key).EnumerateArray().Select(id => id.GetInt32())];
            yield return new TestCaseData(entry.GetProperty("text").GetString(), Ids("ids"), Ids("ids77")).SetArgDisplayNames($"{number++}");
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void Ids_equal_the_reference(string text, int[] ids, int[] ids77)
    {
        Assert.That(Tokenizer.Value.Encode(text), Is.EqualTo(ids), $"without limit: {text}");
        Assert.That(Tokenizer.Value.Encode(text, 77, out int truncated), Is.EqualTo(ids77), $"in 77 places: {text}");
        Assert.That(truncated, Is.EqualTo(Math.Max(0, ids.Length - 77)));
    }

    [Test]
    public void Any_text_has_start_and_end_and_known_ids()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<string>(), text =>
        {
            int[] ids = Tokenizer.Value.Encode(text ?? "");
            return ids[0] == 49406 && ids[^1] == 49407 && ids.All(id => id is >= 0 and <= 49407);
        }).QuickCheckThrowOnFailure();
    }

    [Test]
    public void A_text_of_ten_thousand_characters_is_cut_before_the_end_token([Values("a", "ab12 ", "🙂", "\u0301")] string unit)
    {
        int[] ids = Tokenizer.Value.Encode(string.Concat(Enumerable.Repeat(unit, 10_000 / unit.Length)), 77, out int truncated);

        Assert.Multiple(() =>
        {
            Assert.That(ids, Has.Length.EqualTo(77));
            Assert.That(ids[^1], Is.EqualTo(Tokenizer.Value.EndToken));
            Assert.That(truncated, Is.Positive);
        });
    }

    [Test]
    public void Half_a_surrogate_pair_reads_as_the_replacement_character() =>
        Assert.That(Tokenizer.Value.Encode("a\uD800b"), Is.EqualTo(Tokenizer.Value.Encode("a\uFFFDb")));

    [TestCase("{\"pad_token\": \"!\"}", 0, 77)]
    [TestCase("{\"pad_token\": {\"content\": \"!\"}, \"model_max_length\": 64}", 0, 64)]
    [TestCase("{\"model_max_length\": 1000000000000000019884624838656}", 49407, 77)]
    public void The_pad_token_and_the_length_come_from_the_configuration(string configuration, int padToken, int maxLength)
    {
        using TemporaryFolder folder = Copy();
        File.WriteAllText(folder["tokenizer_config.json"], configuration);

        ClipTokenizer tokenizer = ClipTokenizer.Open(folder.Path);

        Assert.That((tokenizer.PadToken, tokenizer.MaxLength), Is.EqualTo((padToken, maxLength)));
        Assert.That(tokenizer.Encode("a", 4, out _), Is.EqualTo(new[] { 49406, 320, 49407, padToken }));
    }

    [TestCase("merges.txt", "#version: 0.2\na b c\n", "line 2")]
    [TestCase("merges.txt", "zzzz qqqq\n", "zzzzqqqq")]
    [TestCase("vocab.json", "{\"a\": 0}", "a token for every byte")]
    [TestCase("vocab.json", "[]", "object")]
    [TestCase("tokenizer_config.json", "{\"eos_token\": \"<none>\"}", "<none>")]
    public void A_damaged_file_is_an_error_that_says_what_is_wrong(string file, string content, string named)
    {
        using TemporaryFolder folder = Copy();
        File.WriteAllText(folder[file], content);

        Assert.That(() => ClipTokenizer.Open(folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(named));
    }

    [Test]
    public void A_missing_file_is_an_error_that_names_it([Values("vocab.json", "merges.txt")] string file)
    {
        using TemporaryFolder folder = Copy();
        File.Delete(folder[file]);

        Assert.That(() => ClipTokenizer.Open(folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(file));
    }

    private static TemporaryFolder Copy()
    {
        TemporaryFolder folder = new();
        foreach (string file in (string[])["vocab.json", "merges.txt"]) File.Copy(Path.Combine(Folder, file), folder[file]);
        return folder;
    }
}
