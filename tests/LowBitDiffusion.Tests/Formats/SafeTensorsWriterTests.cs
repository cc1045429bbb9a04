using System.Text;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>What is written can be read, is always the same bytes, and is there completely or not at all.</summary>
[TestFixture]
public sealed class SafeTensorsWriterTests
{
    private static readonly (TensorInfo Info, byte[] Bytes)[] s_tensors =
    [
        (new TensorInfo("byte", DType.U8, [3]), [1, 2, 3]),
        (new TensorInfo("z", DType.F32, [2, 1]), [.. Enumerable.Range(10, 8).Select(i => (byte)i)]),
        (new TensorInfo("nichts", DType.F64, [4, 0]), []),
        (new TensorInfo("größe \"quoted\"", DType.F16, []), [8, 9]),
        (new TensorInfo("a", DType.F32, [1]), [4, 5, 6, 7]),
    ];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void What_is_written_is_read_again()
    {
        SafeTensorsWriter.Write(_folder["x"], s_tensors, new Dictionary<string, string> { ["format"] = "pt" });
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder["x"]);
        Assert.That(file.Tensors, Has.Count.EqualTo(s_tensors.Length));
        Assert.That(file.Metadata["format"], Is.EqualTo("pt"));
        foreach ((TensorInfo info, byte[] bytes) in s_tensors)
        {
            Assert.That(file.Tensors[info.Name].DType, Is.EqualTo(info.DType), info.Name);
            Assert.That(file.Tensors[info.Name].Shape, Is.EqualTo(info.Shape), info.Name);
            Assert.That(file.ReadBytes(info.Name), Is.EqualTo(bytes), info.Name);
        }
    }

    private static IEnumerable<DType> Types() => Enum.GetValues<DType>().Where(type => type != DType.Unknown);

    [TestCaseSource(nameof(Types))]
    public void Every_type_of_the_format_survives(DType type)
    {
        byte[] bytes = [.. Enumerable.Range(0, 3 * DTypes.Size(type)).Select(i => (byte)(i * 37))];
        SafeTensorsWriter.Write(_folder["x"], [(new TensorInfo("t", type, [3]), bytes)]);
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder["x"]);
        Assert.That(file.Tensors["t"].DType, Is.EqualTo(type));
        Assert.That(file.ReadBytes("t"), Is.EqualTo(bytes));
    }

    [Test]
    public void The_same_tensors_in_any_order_and_pieces_are_the_same_bytes()
    {
        SafeTensorsWriter.Write(_folder["x"], s_tensors);
        using (SafeTensorsWriter writer = SafeTensorsWriter.Create(_folder["y"], s_tensors.Reverse().Select(tensor => tensor.Info)))
        {
            foreach (int offset in new[] { 0, 1 })
            {
                foreach ((TensorInfo info, byte[] bytes) in s_tensors) writer.Write(info.Name, offset == 0 ? bytes.AsSpan(0, bytes.Length / 2) : bytes.AsSpan(bytes.Length / 2));
            }

            writer.Complete();
        }

        Assert.That(File.ReadAllBytes(_folder["y"]), Is.EqualTo(File.ReadAllBytes(_folder["x"])));
    }

    [Test]
    public void The_header_is_padded_with_spaces_and_tensors_are_aligned()
    {
        SafeTensorsWriter.Write(_folder["x"], s_tensors);
        byte[] content = File.ReadAllBytes(_folder["x"]);
        int length = BitConverter.ToInt32(content);
        string header = Encoding.UTF8.GetString(content, 8, length);
        Assert.That(length % 8, Is.Zero, "data start at a multiple of 8");
        Assert.That(header.TrimEnd(' '), Does.StartWith("{").And.EndWith("}"));
        Assert.That(header, Does.Contain("""
            "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]}
            """.Trim()), "larger elements come first, then names in order");
    }

    [Test]
    public void A_writer_that_is_disposed_early_leaves_nothing_and_keeps_what_was_there()
    {
        string path = _folder.Write("x", "before");
        using (SafeTensorsWriter writer = SafeTensorsWriter.Create(path, s_tensors.Select(tensor => tensor.Info))) writer.Write("byte", [1, 2]);
        Assert.That(Directory.GetFiles(_folder.Path), Is.EqualTo(new[] { path }));
        Assert.That(File.ReadAllText(path), Is.EqualTo("before"));
    }

    [Test]
    public void A_cancelled_write_leaves_nothing()
    {
        using CancellationTokenSource cancellation = new();
        cancellation.Cancel();
        Assert.That(() => SafeTensorsWriter.Write(_folder["x"], s_tensors, cancellationToken: cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public void An_incomplete_file_is_not_given_its_name()
    {
        using (SafeTensorsWriter writer = SafeTensorsWriter.Create(_folder["x"], [s_tensors[0].Info]))
        {
            writer.Write("byte", [1, 2]);
            Assert.That(writer.Complete, Throws.InvalidOperationException.With.Message.Contains("'byte' has 3 bytes, 2"));
        }

        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public void Bytes_that_do_not_fit_are_refused()
    {
        using SafeTensorsWriter writer = SafeTensorsWriter.Create(_folder["x"], [s_tensors[0].Info]);
        Assert.That(() => writer.Write("byte", new byte[4]), Throws.ArgumentException);
        Assert.That(() => writer.Write("other", new byte[1]), Throws.ArgumentException);
    }

    private static IEnumerable<TestCaseData> Declarations()
    {
        yield return new TestCaseData([new[] { new TensorInfo("x", DType.U8, []), new TensorInfo("x", DType.I8, []) }]).SetArgDisplayNames("a name twice");
        yield return new TestCaseData([new[] { new TensorInfo("__metadata__", DType.U8, []) }]).SetArgDisplayNames("a reserved name");
        yield return new TestCaseData([new[] { new TensorInfo("x", DType.Unknown, [2]) { TypeName = "F4", ByteLength = 1 } }]).SetArgDisplayNames("an unknown type");
    }

    [TestCaseSource(nameof(Declarations))]
    public void Declarations_that_make_no_file_are_refused(TensorInfo[] tensors)
    {
        Assert.That(() => SafeTensorsWriter.Create(_folder["x"], tensors), Throws.ArgumentException);
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [TestCase("none/x", TestName = "no such folder")]
    [TestCase("", TestName = "a folder")]
    public void An_output_that_cannot_be_written_is_an_error_of_its_own(string name)
        => Assert.That(() => SafeTensorsWriter.Write(_folder[name], s_tensors), Throws.TypeOf<OutputException>());

    [TestCase(0)]
    [TestCase(0.5)]
    [TestCase(0.99)]
    public void A_full_disk_is_an_error_of_its_own_and_leaves_nothing(double fraction)
    {
        SafeTensorsWriter.Write(_folder["x"], s_tensors);
        int capacity = (int)(fraction * new FileInfo(_folder["x"]).Length);
        File.Delete(_folder["x"]);
        TensorInfo[] infos = [.. s_tensors.Select(tensor => tensor.Info)];
        Assert.That(() =>
        {
            OutputFile file = OutputFile.Create(_folder["x"], path => new FullDisk(path, capacity));
            using SafeTensorsWriter writer = SafeTensorsWriter.Create(file, infos, null);
            foreach ((TensorInfo info, byte[] bytes) in s_tensors) writer.Write(info.Name, bytes);
            writer.Complete();
        }, Throws.TypeOf<OutputException>().With.Message.Contains("No space"));
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public void A_folder_appears_complete_or_not_at_all()
    {
        string target = _folder["model"];
        using (OutputFolder folder = OutputFolder.Create(target)) File.WriteAllText(Path.Combine(folder.Path, "a"), "half");
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty, "disposed early");
        foreach (string text in new[] { "first", "second" })
        {
            using OutputFolder folder = OutputFolder.Create(target, overwrite: true);
            File.WriteAllText(Path.Combine(folder.Path, text), text);
            folder.Commit();
            Assert.That(Directory.EnumerateFileSystemEntries(target).Select(Path.GetFileName), Is.EqualTo(new[] { text }));
        }

        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.EqualTo(new[] { target }), "nothing else is left");
        Assert.That(() => OutputFolder.Create(target), Throws.TypeOf<OutputException>().With.Message.Contains("not empty"));
        Assert.That(() => OutputFolder.Create(_folder.Write("file", "")), Throws.TypeOf<OutputException>().With.Message.Contains("is a file"));
    }

    /// <summary>A file on a disk that takes so many bytes and no more.</summary>
    private sealed class FullDisk(string path, int capacity) : FileStream(path, FileMode.CreateNew)
    {
        private int _left = capacity;

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if ((_left -= buffer.Length) < 0) throw new IOException("No space left on device");
            base.Write(buffer);
        }
    }
}
