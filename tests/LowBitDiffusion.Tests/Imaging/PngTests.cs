using System.IO.Compression;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Tests.Imaging;

/// <summary>PNG files: what is written is read back, what is damaged is refused.</summary>
public sealed class PngTests
{
    private static readonly Config Repeatable = Config.QuickThrowOnFailure.WithReplay(20240517UL, 11UL).WithMaxTest(300);

    private static readonly Gen<Image> Images =
        from width in Gen.Choose(1, 40)
        from height in Gen.Choose(1, 40)
        from channels in Gen.Elements(1, 3, 4)
        from seed in Gen.Choose(0, int.MaxValue)
        from kind in Gen.Choose(0, 3)
        select Make(width, height, channels, seed, kind);

    [Test]
    public void WhatIsWrittenIsReadBack() => Check.One(Repeatable, Prop.ForAll(Images.ToArbitrary(), image =>
    {
        Image read = PngReader.Decode(PngWriter.Encode(image), "test.png").Image;
        return (read.Width, read.Height, read.Channels) == (image.Width, image.Height, image.Channels) && read.Pixels.AsSpan().SequenceEqual(image.Pixels);
    }));

    [TestCase("Title", "contact sheet")]
    [TestCase("Seed and steps", "seed 7, 20 Schritte, größer als 0")]
    [TestCase("Prompt", "日本の秋 🍁, \n second line")]
    [TestCase("Empty", "")]
    public void TextsAreReadBack(string keyword, string text)
    {
        var expected = new[] { new PngText(keyword, text), new PngText("Second", "one") };
        PngFile file = PngReader.Decode(PngWriter.Encode(new Image(2, 3, 1), expected), "test.png");
        Assert.That(file.Texts, Is.EqualTo(expected));
    }

    [Test]
    public void LatinTextsAreTextChunksAndOthersAreUnicodeChunks()
    {
        string file = Encoding.Latin1.GetString(PngWriter.Encode(new Image(1, 1, 1), [new PngText("a", "größer"), new PngText("b", "秋")]));
        Assert.That(file, Does.Contain("tEXta\0größer").And.Contain("iTXtb\0\0\0\0\0"));
    }

    [TestCase("")]
    [TestCase(" a")]
    [TestCase("a  b")]
    [TestCase("line\nfeed")]
    [TestCase("秋")]
    [TestCase("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    public void KeywordsThatPngCannotStoreAreRefused(string keyword) =>
        Assert.That(() => PngWriter.Encode(new Image(1, 1, 1), [new PngText(keyword, "")]), Throws.InstanceOf<InvalidRequestException>());

    [Test]
    public void TextsWithNulAreRefused() =>
        Assert.That(() => PngWriter.Encode(new Image(1, 1, 1), [new PngText("a", "b\0c")]), Throws.InstanceOf<InvalidRequestException>());

    // Rows of 2 RGB pixels under each filter, worked out by hand from the specification for the image (10 20 30)(40 50 60) / (15 25 35)(45 55 65).
    [TestCase(0, new byte[] { 15, 25, 35, 45, 55, 65 })]
    [TestCase(1, new byte[] { 15, 25, 35, 30, 30, 30 })]
    [TestCase(2, new byte[] { 5, 5, 5, 5, 5, 5 })]
    [TestCase(3, new byte[] { 10, 15, 20, 18, 18, 18 })]
    [TestCase(4, new byte[] { 5, 5, 5, 5, 5, 5 })]
    public void EveryFilterIsUndone(byte filter, byte[] secondRow)
    {
        byte[] png = Assemble(Header(2, 2, 8, 2), ("IDAT", Zlib([0, 10, 20, 30, 40, 50, 60, filter, .. secondRow])), ("IEND", []));
        Assert.That(PngReader.Decode(png, "test.png").Image.Pixels, Is.EqualTo(new byte[] { 10, 20, 30, 40, 50, 60, 15, 25, 35, 45, 55, 65 }));
    }

    [Test]
    public void DataMayBeSplitOverChunksAndUnknownOptionalChunksAreSkipped()
    {
        byte[] data = Zlib([0, 7, 0, 8]);
        byte[] png = Assemble(Header(1, 2, 8, 0), ("vpAg", [1, 2]), ("IDAT", data[..3]), ("IDAT", data[3..]), ("IEND", []));
        Assert.That(PngReader.Decode(png, "test.png").Image.Pixels, Is.EqualTo(new byte[] { 7, 8 }));
    }

    private static IEnumerable<TestCaseData> Refused()
    {
        (string, byte[]) good = ("IDAT", Zlib([0, 7, 0, 8]));
        (string, byte[]) end = ("IEND", []);
        yield return new TestCaseData(Array.Empty<byte>(), "signature").SetArgDisplayNames("empty file");
        yield return new TestCaseData(Assemble(), "ends at byte").SetArgDisplayNames("signature alone");
        yield return new TestCaseData(Assemble(good, end), "IHDR must be the first").SetArgDisplayNames("no header");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), Header(1, 2, 8, 0), good, end), "the only one").SetArgDisplayNames("two headers");
        yield return new TestCaseData(Assemble(("IHDR", new byte[12]), good, end), "expected 13 bytes").SetArgDisplayNames("short header");
        yield return new TestCaseData(Assemble(Header(1, 2, 16, 0), good, end), "expected 8 bits").SetArgDisplayNames("16 bits");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 3), good, end), "colour type").SetArgDisplayNames("palette");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 4), good, end), "colour type").SetArgDisplayNames("grey with alpha");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0, interlace: 1), good, end), "interlaced").SetArgDisplayNames("interlaced");
        yield return new TestCaseData(Assemble(Header(0, 2, 8, 0), good, end), "expected a size").SetArgDisplayNames("no width");
        yield return new TestCaseData(Assemble(Header(uint.MaxValue, uint.MaxValue, 8, 6), good, end), "expected a size").SetArgDisplayNames("immense size");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), end), "IDAT").SetArgDisplayNames("no data");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("IDAT", Zlib([0, 7, 0])), end), "ends in row 1").SetArgDisplayNames("too few rows");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("IDAT", Zlib([0, 7, 0, 8, 0])), end), "more data").SetArgDisplayNames("too many rows");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("IDAT", Zlib([0, 7, 5, 8])), end), "filter 5").SetArgDisplayNames("unknown filter");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("IDAT", [1, 2, 3, 4]), end), "IDAT").SetArgDisplayNames("not zlib");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), good), "ends at byte").SetArgDisplayNames("no end");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), good, ("vpAg", []), good, end), "interrupted").SetArgDisplayNames("data in two places");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("ABCD", []), good, end), "not supported").SetArgDisplayNames("unknown critical chunk");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("tRNS", [0, 0]), good, end), "transparency").SetArgDisplayNames("transparent colour");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("tEXt", [1, 2]), good, end), "keyword").SetArgDisplayNames("text without keyword");
        yield return new TestCaseData(Assemble(Header(1, 2, 8, 0), ("iTXt", [65, 0, 0]), good, end), "ends before").SetArgDisplayNames("short text");
        byte[] flipped = Assemble(Header(1, 2, 8, 0), good, end);
        flipped[^15] ^= 1;
        yield return new TestCaseData(flipped, "checksum").SetArgDisplayNames("damaged data");
    }

    [TestCaseSource(nameof(Refused))]
    public void DamagedAndUnsupportedFilesAreRefused(byte[] png, string reason) =>
        Assert.That(
            () => PngReader.Decode(png, "test.png"),
            Throws.InstanceOf<ModelFormatException>().With.Message.Contains(reason).And.Message.Contains("test.png"));

    [Test]
    public void ABombIsNotInflated()
    {
        byte[] png = Assemble(Header(1, 1, 8, 0), ("IDAT", Zlib(new byte[64 << 20])), ("IEND", []));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => PngReader.Decode(png, "test.png"), Throws.InstanceOf<ModelFormatException>());
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(4 << 20), "bytes allocated for an image of one pixel");
    }

    [Test]
    public void MutatedFilesAreReadOrRefused()
    {
        Gen<byte[]> mutated =
            from image in Images
            from edits in Gen.ListOf(Gen.Choose(0, int.MaxValue), 3)
            from values in Gen.ListOf(Gen.Choose(0, 255), 3)
            from cut in Gen.Choose(0, 400)
            from repair in Gen.Elements(true, false)
            select Mutate(PngWriter.Encode(image, [new PngText("k", "秋")]), [.. edits], [.. values], cut, repair);
        Check.One(Repeatable.WithMaxTest(2000), Prop.ForAll(mutated.ToArbitrary(), png =>
        {
            try
            {
                PngReader.Decode(png, "test.png");
                return true;
            }
            catch (ModelFormatException)
            {
                return true;
            }
        }));
    }

    [Test]
    public void FilesAreSavedAndLoaded()
    {
        string path = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"{Guid.NewGuid():N}.png");
        try
        {
            Image image = Make(17, 9, 3, 5, 1);
            PngWriter.Save(path, image);
            Assert.That(PngReader.Load(path).Image.Pixels, Is.EqualTo(image.Pixels));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    public void AMissingFileIsATypedError() =>
        Assert.That(
            () => PngReader.Load("no such folder/no such file.png"),
            Throws.InstanceOf<ModelFormatException>().With.Message.Contains("no such file.png"));

    private static byte[] Mutate(byte[] png, int[] positions, int[] values, int cut, bool repair)
    {
        for (int i = 0; i < positions.Length; i++) png[positions[i] % png.Length] = (byte)values[i];
        if (repair) RepairChecksums(png);
        return cut < 40 ? png[..Math.Max(0, png.Length - cut)] : png;
    }

    // With right checksums the damage reaches the parsers behind them.
    private static void RepairChecksums(byte[] png)
    {
        for (long position = 8; position + 12 <= png.Length;)
        {
            long length = PngFormat.ReadNumber(png.AsSpan((int)position));
            if (position + 12 + length > png.Length) return;
            uint crc = PngFormat.Crc(png.AsSpan((int)position + 4, 4), png.AsSpan((int)position + 8, (int)length));
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan((int)(position + 8 + length)), crc);
            position += 12 + length;
        }
    }

    // Noise, constant, a ramp and stripes: between them they make the writer choose every filter.
    private static Image Make(int width, int height, int channels, int seed, int kind)
    {
        var image = new Image(width, height, channels);
        var random = new Random(seed);
        for (int i = 0; i < image.Pixels.Length; i++)
        {
            int column = i / channels % width;
            int row = i / channels / width;
            image.Pixels[i] = (byte)(kind switch { 0 => random.Next(256), 1 => seed, 2 => column * 3 + row * 5 + i % channels, _ => row % 2 * 255 });
        }

        return image;
    }

    private static (string, byte[]) Header(uint width, uint height, byte depth, byte colour, byte interlace = 0)
    {
        byte[] data = new byte[13];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(data, width);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(4), height);
        (data[8], data[9], data[12]) = (depth, colour, interlace);
        return ("IHDR", data);
    }

    private static byte[] Assemble(params (string Type, byte[] Data)[] chunks)
    {
        using var png = new MemoryStream();
        png.Write([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]);
        foreach ((string type, byte[] data) in chunks)
        {
            byte[] name = Encoding.ASCII.GetBytes(type);
            PngFormat.WriteNumber(png, (uint)data.Length);
            png.Write(name);
            png.Write(data);
            PngFormat.WriteNumber(png, PngFormat.Crc(name, data));
        }

        return png.ToArray();
    }

    private static byte[] Zlib(byte[] data)
    {
        using var compressed = new MemoryStream();
        using (var zlib = new ZLibStream(compressed, CompressionLevel.Optimal)) zlib.Write(data);
        return compressed.ToArray();
    }
}
