using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Whatever the bytes, there is a correct read or a <see cref="ModelFormatException"/>, in place and streamed alike; nothing else.</summary>
[TestFixture]
public sealed class SafeTensorsPropertyTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    private static Config Repeatable(int tests) => Config.QuickThrowOnFailure.WithMaxTest(tests).WithReplay(20240229, 7);

    [Test]
    public void Arbitrary_bytes() => Prop.ForAll<byte[]>(bytes => ReadsOrRefuses(bytes)).Check(Repeatable(300));

    [Test]
    public void Arbitrary_texts_as_header() => Prop.ForAll<string, byte[]>((text, data) => ReadsOrRefuses(SafeTensorsSample.File(System.Text.Encoding.UTF8.GetBytes("{" + text), data))).Check(Repeatable(300));

    [Test]
    public void Mutated_files()
    {
        byte[] valid = SafeTensorsSample.Valid;
        Gen<(int At, byte Value, int Kind)> mutation =
            from at in Gen.Choose(0, valid.Length - 1)
            from value in Gen.Choose(0, 255)
            from kind in Gen.Choose(0, 3)
            select (at, (byte)value, kind);
        Prop.ForAll(mutation.ListOf().ToArbitrary(), mutations =>
        {
            List<byte> bytes = [.. valid];
            foreach ((int at, byte value, int kind) in mutations.Take(6)) Mutate(bytes, at % Math.Max(1, bytes.Count), value, kind);
            return ReadsOrRefuses([.. bytes]);
        }).Check(Repeatable(2000));
    }

    [Test]
    public void Headers_made_of_the_right_words_in_wrong_places()
    {
        Gen<string> number = Gen.Elements("0", "1", "2", "4", "8", "-1", "1.5", "1e9", "4294967296", "9223372036854775807", "18446744073709551616", "\"4\"", "null");
        Gen<string> type = Gen.Elements("U8", "F16", "F32", "F64", "F4", "BOOL", "");
        Gen<string> tensor =
            from name in Gen.Elements("a", "b", "__metadata__")
            from dtype in type
            from shape in number.ListOf()
            from begin in number
            from end in number
            select $$"""
                "{{name}}":{"dtype":"{{dtype}}","shape":[{{string.Join(",", shape.Take(3))}}],"data_offsets":[{{begin}},{{end}}]}
                """;
        Gen<(string[], int)> file = from tensors in tensor.ListOf() from data in Gen.Choose(0, 9) select (tensors.Take(3).ToArray(), data);
        Prop.ForAll(file.ToArbitrary(), pair => ReadsOrRefuses(SafeTensorsSample.File($"{{{string.Join(",", pair.Item1)}}}", pair.Item2))).Check(Repeatable(2000));
    }

    private static void Mutate(List<byte> bytes, int at, byte value, int kind)
    {
        switch (kind)
        {
            case 0 when bytes.Count > 0: bytes[at] = value; break;
            case 1: bytes.Insert(at, value); break;
            case 2 when bytes.Count > 0: bytes.RemoveAt(at); break;
            default: bytes.RemoveRange(at, Math.Min(value, bytes.Count - at)); break;
        }
    }

    /// <summary>The bytes of a correct read are those of the file: tensors one after the other, to its end.</summary>
    private bool ReadsOrRefuses(byte[] content)
    {
        string path = _folder.Write("x.safetensors", content);
        byte[]? inPlace = null;
        try
        {
            using SafeTensorsFile file = SafeTensorsFile.Open(path);
            inPlace = [.. file.Tensors.Keys.SelectMany(file.ReadBytes)];
            foreach (TensorInfo info in file.Tensors.Values.Where(info => info.DType != DType.Unknown))
                Assert.That(file.ReadSingles(info.Name), Has.Length.EqualTo(info.Elements));
            Assert.That(inPlace, Is.EqualTo(content[^inPlace.Length..]));
            Assert.That(8 + BitConverter.ToInt32(content) + inPlace.Length, Is.EqualTo(content.Length));
        }
        catch (ModelFormatException e)
        {
            Assert.That(e.Message, Does.StartWith(path));
        }

        try
        {
            byte[] streamed = ReadStream(content).GetAwaiter().GetResult();
            Assert.That(streamed, Is.EqualTo(inPlace), "the stream reads what is read in place");
        }
        catch (ModelFormatException e)
        {
            Assert.That(inPlace, Is.Null, $"the stream refuses what is read in place: {e.Message}");
        }

        return true;
    }

    private static async Task<byte[]> ReadStream(byte[] content)
    {
        List<byte> read = [];
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(new MemoryStream(content), "stream");
        await foreach ((TensorInfo _, byte[] bytes) in stream.ReadTensorsAsync()) read.AddRange(bytes);
        return [.. read];
    }
}
