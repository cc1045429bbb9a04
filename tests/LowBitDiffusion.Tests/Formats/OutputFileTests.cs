using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Files are written whole or not at all.</summary>
public sealed class OutputFileTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = new TemporaryFolder();

    [TearDown]
    public void DeleteFolder() => _folder.Dispose();

    [Test]
    public void A_file_is_created_and_replaced()
    {
        OutputFile.WriteAllText(_folder["file.txt"], "first, longer");
        OutputFile.WriteAllText(_folder["file.txt"], "größer");

        Assert.That(File.ReadAllBytes(_folder["file.txt"]), Is.EqualTo("größer"u8.ToArray()), "UTF-8 without a byte order mark");
        Assert.That(Directory.GetFiles(_folder.Path), Is.EqualTo(new[] { _folder["file.txt"] }), "files left in the folder");
    }

    [Test]
    public void A_file_that_was_not_finished_leaves_the_old_one_and_nothing_else()
    {
        OutputFile.WriteAllText(_folder["file.txt"], "old");

        using (OutputFile file = OutputFile.Create(_folder["file.txt"])) file.Write(0, "new"u8);

        Assert.That(File.ReadAllText(_folder["file.txt"]), Is.EqualTo("old"));
        Assert.That(Directory.GetFiles(_folder.Path), Is.EqualTo(new[] { _folder["file.txt"] }), "files left in the folder");
    }

    [Test]
    public void Places_that_cannot_hold_a_file_are_output_errors()
    {
        Assert.That(() => OutputFile.WriteAllText(_folder.Path, ""), Throws.InstanceOf<OutputException>(), "an existing folder");
        Assert.That(() => OutputFile.WriteAllText(Path.Combine(_folder["missing"], "file"), ""), Throws.InstanceOf<OutputException>(), "a folder that does not exist");
        Assert.That(() => OutputFile.WriteAllText("", ""), Throws.InstanceOf<OutputException>(), "no path");
        Assert.That(() => OutputFile.WriteAllText("a\0b", ""), Throws.InstanceOf<OutputException>(), "not a path");
    }
}
