using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>A valid file gives its tensors, read in place or streamed.</summary>
[TestFixture]
public sealed class SafeTensorsReadingTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void A_file_lists_types_shapes_and_metadata()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        Assert.That(file.Tensors.Keys, Is.EqualTo(new[] { "a", "empty", "b", "c" }), "the order is that of the data");
        Assert.That(file.Tensors["b"].DType, Is.EqualTo(DType.F32));
        Assert.That(file.Tensors["b"].Shape, Is.EqualTo(new long[] { 2, 3 }));
        Assert.That(file.Tensors["c"].Shape, Is.Empty, "a scalar");
        Assert.That(file.Metadata, Is.EqualTo(new Dictionary<string, string> { ["format"] = "pt" }));
    }

    [Test]
    public void Bytes_come_whole_into_a_buffer_and_in_ranges()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        byte[] expected = [.. Enumerable.Range(4, 24).Select(i => (byte)i)];
        byte[] buffer = new byte[24];
        byte[] range = new byte[5];
        file.ReadBytes("b", buffer);
        file.ReadRange("b", 19, range);
        Assert.That(file.ReadBytes("b"), Is.EqualTo(expected));
        Assert.That(buffer, Is.EqualTo(expected));
        Assert.That(range, Is.EqualTo(expected[19..]));
        Assert.That(file.ReadBytes("empty"), Is.Empty);
        Assert.That(file.ReadSingles("empty"), Is.Empty);
    }

    [TestCase(-1, 1)]
    [TestCase(20, 5)]
    [TestCase(25, 0)]
    [TestCase(0, 25)]
    [TestCase(long.MaxValue, 1)]
    public void A_range_outside_the_tensor_is_refused(long offset, int length)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        Assert.That(() => file.ReadRange("b", offset, new byte[length]), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void A_buffer_of_another_length_is_refused()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        Assert.That(() => file.ReadBytes("b", new byte[23]), Throws.ArgumentException);
    }

    [Test]
    public void A_tensor_that_is_not_there_is_named_with_its_file()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        Assert.That(() => file.ReadSingles("z"), Throws.TypeOf<ModelFormatException>().With.Message.Contains("x.safetensors").And.Message.Contains("'z'"));
    }

    [Test]
    public void A_tensor_longer_than_a_piece_of_the_conversion_is_read_to_its_end()
    {
        float[] values = [.. Enumerable.Range(0, (1 << 18) + 3).Select(i => (float)(i % 2048))];
        SafeTensorsWriter.Write(_folder["x.safetensors"], [(new TensorInfo("x", DType.F16, [values.Length]), TensorConversion.FromSingles(DType.F16, values))]);
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder["x.safetensors"]);
        Assert.That(file.ReadSingles("x").AsSpan().SequenceEqual(values), Is.True);
    }

    [Test]
    public void A_file_that_is_shortened_while_it_is_open_is_an_error_that_names_the_tensor()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.Valid));
        using (FileStream other = new(_folder["x.safetensors"], FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) other.SetLength(other.Length - 5);

        Assert.Multiple(() =>
        {
            Assert.That(file.ReadBytes("a"), Is.EqualTo(new byte[] { 0, 1, 2, 3 }), "what is still there");
            Names("'b'", "ends 3 bytes early", () => file.ReadBytes("b"));
            Names("'b'", "ends 3 bytes early", () => file.ReadBytes("b", new byte[24]));
            Names("'b'", "ends 3 bytes early", () => file.ReadRange("b", 20, new byte[4]));
            Names("'b'", "ends 3 bytes early", () => file.ReadSingles("b"));
            Names("'c'", "ends 2 bytes early", () => file.ReadSingles("c"));
        });

        static void Names(string tensor, string problem, Action read) =>
            Assert.That(read, Throws.TypeOf<ModelFormatException>().With.Message.Contains("x.safetensors").And.Message.Contains(tensor).And.Message.Contains(problem));
    }

    [TestCase("F4", 1)]
    [TestCase("F6_E2M3", 3)]
    [TestCase("F6_E3M2", 3)]
    [TestCase("F8_E8M0", 4)]
    [TestCase("C64", 32)]
    public void A_type_of_another_age_is_listed_and_its_bytes_can_be_read_but_not_as_numbers(string type, int bytes)
    {
        byte[] content = SafeTensorsSample.File($$$"""{"x":{"dtype":"{{{type}}}","shape":[4],"data_offsets":[0,{{{bytes}}}]}}""", bytes);
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", content));
        Assert.That(file.Tensors["x"].DType, Is.EqualTo(DType.Unknown));
        Assert.That(file.Tensors["x"].TypeName, Is.EqualTo(type));
        Assert.That(file.ReadBytes("x"), Has.Length.EqualTo(bytes));
        Assert.That(() => file.ReadSingles("x"), Throws.TypeOf<ModelFormatException>().With.Message.Contains(type));
    }

    [Test]
    public void Padding_and_unknown_members_are_passed_over()
    {
        byte[] content = SafeTensorsSample.File("""{"x":{"dtype":"U8","comment":{"by":["nobody"]},"shape":[1],"data_offsets":[0,1]}}      """, 1);
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", content));
        Assert.That(file.ReadSingles("x"), Is.EqualTo(new float[] { 0 }));
    }

    [Test]
    public void A_file_without_tensors_is_valid()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder.Write("x.safetensors", SafeTensorsSample.File("{}", 0)));
        Assert.That(file.Tensors, Is.Empty);
    }

    [Test]
    public async Task A_stream_gives_the_tensors_in_the_order_of_their_data()
    {
        await using MemoryStream content = new(SafeTensorsSample.Valid);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(new TrickleStream(content), "stream");
        List<(string, byte[])> found = [];
        await foreach ((TensorInfo info, byte[] bytes) in stream.ReadTensorsAsync()) found.Add((info.Name, bytes));
        Assert.That(found.Select(tensor => tensor.Item1), Is.EqualTo(new[] { "a", "empty", "b", "c" }));
        Assert.That(found.SelectMany(tensor => tensor.Item2), Is.EqualTo(Enumerable.Range(0, 30).Select(i => (byte)i)));
        Assert.That(stream.Metadata["format"], Is.EqualTo("pt"));
    }

    [Test]
    public async Task Tensors_of_a_stream_can_be_skipped_and_read_in_pieces()
    {
        await using MemoryStream content = new(SafeTensorsSample.Valid);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(content, "stream");
        TensorInfo? tensor;
        byte[] piece = new byte[7];
        do tensor = await stream.NextAsync(); while (tensor?.Name != "b");
        Assert.That(await stream.ReadAsync(piece), Is.EqualTo(7));
        Assert.That(piece, Is.EqualTo(new byte[] { 4, 5, 6, 7, 8, 9, 10 }));
        Assert.That((await stream.NextAsync())?.Name, Is.EqualTo("c"));
        Assert.That(await stream.ReadAsync(piece), Is.EqualTo(2));
        Assert.That(await stream.ReadAsync(piece), Is.Zero, "the end of the tensor");
        Assert.That(await stream.NextAsync(), Is.Null);
    }

    [Test]
    public async Task A_stream_that_ends_early_names_the_tensor()
    {
        await using MemoryStream content = new(SafeTensorsSample.Valid[..^5]);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(content, "stream");
        Assert.That(async () => await ReadAll(stream), Throws.TypeOf<ModelFormatException>().With.Message.Contains("stream: 'b'"));
    }

    [Test]
    public async Task A_stream_that_goes_on_is_refused()
    {
        await using MemoryStream content = new([.. SafeTensorsSample.Valid, 0]);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(content, "stream");
        Assert.That(async () => await ReadAll(stream), Throws.TypeOf<ModelFormatException>().With.Message.Contains("more data"));
    }

    [Test]
    public async Task A_header_that_promises_a_terabyte_does_not_allocate_it()
    {
        byte[] content = SafeTensorsSample.File("""{"x":{"dtype":"U8","shape":[2000000000],"data_offsets":[0,2000000000]}}""", 10);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(new MemoryStream(content), "stream");
        long before = GC.GetTotalAllocatedBytes();
        Assert.That(async () => await ReadAll(stream), Throws.TypeOf<ModelFormatException>());
        Assert.That(GC.GetTotalAllocatedBytes() - before, Is.LessThan(16 << 20));
    }

    internal static async Task<int> ReadAll(SafeTensorsStream stream)
    {
        int bytes = 0;
        await foreach ((TensorInfo _, byte[] data) in stream.ReadTensorsAsync()) bytes += data.Length;
        return bytes;
    }

    /// <summary>Gives at most three bytes at a time and cannot seek, like a network.</summary>
    private sealed class TrickleStream(Stream inner) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, Math.Min(count, 3));

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
