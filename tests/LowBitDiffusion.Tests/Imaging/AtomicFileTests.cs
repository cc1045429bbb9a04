using LowBitDiffusion.IO;

namespace LowBitDiffusion.Tests.Imaging;

/// <summary>Files are written whole or not at all.</summary>
public sealed class AtomicFileTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("lbd-atomic-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void AFileIsCreatedAndReplaced()
    {
        string path = Path.Combine(_folder, "file.txt");
        AtomicFile.WriteAllText(path, "first, longer");
        AtomicFile.WriteAllText(path, "größer");
        Assert.That(File.ReadAllBytes(path), Is.EqualTo("größer"u8.ToArray()), "UTF-8 without a byte order mark");
        Assert.That(Directory.GetFiles(_folder), Is.EqualTo(new[] { path }), "files left in the folder");
    }

    [Test]
    public void AFailureKeepsTheOldFileAndLeavesNothingBehind()
    {
        string path = Path.Combine(_folder, "file.txt");
        AtomicFile.WriteAllText(path, "old");
        Assert.That(
            () => AtomicFile.Write(path, Fail<OperationCanceledException>),
            Throws.InstanceOf<OperationCanceledException>(), "what the writer throws passes through");
        Assert.That(
            () => AtomicFile.Write(path, Fail<IOException>),
            Throws.InstanceOf<OutputException>().With.Message.Contains("file.txt"), "a full disk is an output error");
        Assert.That(File.ReadAllText(path), Is.EqualTo("old"));
        Assert.That(Directory.GetFiles(_folder), Is.EqualTo(new[] { path }), "files left in the folder");
    }

    [Test]
    public void PlacesThatCannotHoldAFileAreOutputErrors()
    {
        Assert.That(() => AtomicFile.WriteAllText(_folder, ""), Throws.InstanceOf<OutputException>(), "an existing folder");
        Assert.That(
            () => AtomicFile.WriteAllText(Path.Combine(_folder, "missing", "file"), ""),
            Throws.InstanceOf<OutputException>(), "a folder that does not exist");
        Assert.That(() => AtomicFile.WriteAllText("", ""), Throws.InstanceOf<OutputException>(), "no path");
        Assert.That(() => AtomicFile.WriteAllText("a\0b", ""), Throws.InstanceOf<OutputException>(), "not a path");
    }

    private static void Fail<T>(Stream stream)
        where T : Exception, new()
    {
        stream.WriteByte(1);
        throw new T();
    }
}
