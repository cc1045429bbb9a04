using LowBitDiffusion.Cli.Output;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>How numbers are read and drawn.</summary>
public sealed class OutputTests
{
    [TestCase("512MB", 512L << 20)]
    [TestCase("1.5 GiB", 3L << 29)]
    [TestCase("800k", 800L << 10)]
    [TestCase("4096", 4096)]
    [TestCase("7b", 7)]
    [TestCase("2tb", 2L << 40)]
    public void Sizes_are_read_in_powers_of_1024(string text, long bytes) => Assert.That(Size.Parse("memory-budget", text), Is.EqualTo(bytes));

    [TestCase("")]
    [TestCase("MB")]
    [TestCase("-1MB")]
    [TestCase("0")]
    [TestCase("1e9")]
    [TestCase("12 parsecs")]
    [TestCase("99999999999TB")]
    public void What_is_no_size_is_refused(string text) =>
        Assert.That(() => Size.Parse("memory-budget", text), Throws.TypeOf<InvalidRequestException>().With.Message.StartsWith("memory-budget: expected "));

    [TestCase(0, "0 B")]
    [TestCase(1023, "1023 B")]
    [TestCase(1536, "1.5 KiB")]
    [TestCase(3L << 29, "1.5 GiB")]
    public void Sizes_are_written_in_units(long bytes, string text) => Assert.That(Size.Format(bytes), Is.EqualTo(text));

    [TestCase(new[] { 1f, 2f, 4f }, "▁▅█")]
    [TestCase(new[] { 4f, 1f }, "█▁")]
    [TestCase(new[] { 3f, 3f, 3f }, "▅▅▅")]
    [TestCase(new float[0], "")]
    public void Scales_are_drawn_logarithmically(float[] values, string expected) => Assert.That(Sparkline.Draw(values), Is.EqualTo(expected));

    [Test]
    public void Long_rows_are_thinned_out_and_keep_their_ends()
    {
        float[] values = [.. Enumerable.Range(1, 1000).Select(i => (float)i)];

        string drawn = Sparkline.Draw(values, width: 10);

        Assert.That(drawn, Has.Length.EqualTo(10));
        Assert.That((drawn[0], drawn[^1]), Is.EqualTo(('▁', '█')));
    }

    [Test]
    public void Tables_without_a_terminal_are_Markdown()
    {
        StringWriter output = new();

        new Terminal(output, new StringWriter()).WriteTable(["name", " number"], [["a|b", "1"], ["c", "12"]]);

        Assert.That(output.ToString().ReplaceLineEndings("\n"), Is.EqualTo("| name | number |\n| ---- | -----: |\n| a\\|b |      1 |\n| c    |     12 |\n"));
    }
}
