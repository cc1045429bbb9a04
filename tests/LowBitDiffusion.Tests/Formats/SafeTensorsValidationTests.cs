using System.Text;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>What is wrong with a header is said before any data is touched, by one type of error that names the file and the tensor.</summary>
[TestFixture]
public sealed class SafeTensorsValidationTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    private static IEnumerable<TestCaseData> Headers()
    {
        yield return Case("overlap", """{"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "y", "overlap");
        yield return Case("same bytes twice", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", 4, "y", "overlap");
        yield return Case("gap", """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "y", "gap");
        yield return Case("gap at the start", """{"x":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "x", "gap");
        yield return Case("data after the last", """{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""", 4, null, "cover 2 bytes");
        yield return Case("data of no tensor", "{}", 4, null, "cover 0 bytes");
        yield return Case("truncated data", """{"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}""", 4, "x", "truncated");
        yield return Case("decreasing", """{"x":{"dtype":"U8","shape":[2],"data_offsets":[4,2]}}""", 4, "x", "decrease");
        yield return Case("too few bytes", """{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "x", "needs 8 bytes");
        yield return Case("bytes of an empty tensor", """{"x":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}}""", 4, "x", "needs 0 bytes");
        yield return Case("shape overflows", """{"x":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "x", "overflows");
        yield return Case("bytes overflow", """{"x":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}""", 0, "x", "overflows");
        yield return Case("dimension overflows", """{"x":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]}}""", 0, "x", "integers");
        yield return Case("negative dimension", """{"x":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}""", 4, "x", "-4");
        yield return Case("negative offset", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}}""", 4, "x", "-4");
        yield return Case("fractional dimension", """{"x":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}""", 4, "x", "4.0");
        yield return Case("exponent", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4e0]}}""", 4, "x", "4e0");
        yield return Case("text dimension", """{"x":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}}""", 4, "x", "a string");
        yield return Case("nested dimension", """{"x":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}}""", 4, "x", "an array");
        yield return Case("shape is no array", """{"x":{"dtype":"U8","shape":4,"data_offsets":[0,4]}}""", 4, "x", "a number");
        yield return Case("one offset", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[4]}}""", 4, "x", "two numbers");
        yield return Case("three offsets", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}}""", 4, "x", "two numbers");
        yield return Case("no dtype", """{"x":{"shape":[4],"data_offsets":[0,4]}}""", 4, "x", "no dtype");
        yield return Case("no shape", """{"x":{"dtype":"U8","data_offsets":[0,4]}}""", 4, "x", "no shape");
        yield return Case("no offsets", """{"x":{"dtype":"U8","shape":[4]}}""", 4, "x", "no data_offsets");
        yield return Case("dtype is no text", """{"x":{"dtype":8,"shape":[4],"data_offsets":[0,4]}}""", 4, "x", "a number");
        yield return Case("dtype twice", """{"x":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}""", 4, "x", "twice");
        yield return Case("shape twice", """{"x":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}}""", 4, "x", "twice");
        yield return Case("tensor twice", """{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"x":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "x", "twice");
        yield return Case("escaped name twice", """{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"\u0078":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}""", 4, "x", "twice");
        yield return Case("tensor is no object", """{"x":[]}""", 0, "x", "an array");
        yield return Case("tensor is null", """{"x":null}""", 0, "x", "null");
        yield return Case("metadata is no object", """{"__metadata__":"pt"}""", 0, "__metadata__", "a string");
        yield return Case("metadata of a number", """{"__metadata__":{"epoch":3}}""", 0, "__metadata__", "a number");
        yield return Case("metadata twice", """{"__metadata__":{"a":"1","a":"2"}}""", 0, "__metadata__", "twice");
        yield return Case("array", "[]", 0, null, "object");
        yield return Case("empty header", "", 0, null, "object");
        yield return Case("leading space", " {}", 0, null, "object");
        yield return Case("unclosed", """{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}""", 4, null, "JSON");
        yield return Case("trailing text", "{}x", 0, null, "JSON");
        yield return Case("comment", "{/* */}", 0, null, "JSON");
        yield return Case("infinite depth", """{"x":{"y":""" + new string('[', 100_000), 0, null, "JSON");
        yield return Case("half a surrogate pair", """{"\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""", 4, null, "Unicode");
        yield return Case("unknown type out of bounds", """{"x":{"dtype":"F4","shape":[99],"data_offsets":[0,8]}}""", 4, "x", "truncated");
        yield return Case("unknown type with overflow", """{"x":{"dtype":"F4","shape":[4294967296,4294967296],"data_offsets":[0,4]}}""", 4, "x", "overflows");

        static TestCaseData Case(string name, string header, int data, string? tensor, string says) => new TestCaseData(header, data, tensor, says).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Headers))]
    public void A_header_that_is_wrong_is_refused(string header, int dataLength, string? tensor, string says)
    {
        string path = _folder.Write("bad.safetensors", SafeTensorsSample.File(header, dataLength));
        ModelFormatException error = Assert.Throws<ModelFormatException>(() => SafeTensorsFile.Open(path).Dispose())!;
        Assert.That(error.File, Is.EqualTo(path));
        Assert.That(error.Tensor, Is.EqualTo(tensor));
        Assert.That(error.Message, Does.Contain(says));
    }

    [TestCaseSource(nameof(Headers))]
    public void A_stream_refuses_the_same(string header, int dataLength, string? tensor, string says)
    {
        _ = (tensor, says);
        byte[] content = SafeTensorsSample.File(header, dataLength);
        Assert.That(async () => await SafeTensorsReadingTests.ReadAll(await SafeTensorsStream.OpenAsync(new MemoryStream(content), "stream")), Throws.TypeOf<ModelFormatException>());
    }

    private static IEnumerable<TestCaseData> Files()
    {
        yield return new TestCaseData(Array.Empty<byte>(), "at least 8 bytes").SetArgDisplayNames("no bytes");
        yield return new TestCaseData(new byte[7], "at least 8 bytes").SetArgDisplayNames("seven bytes");
        yield return new TestCaseData(SafeTensorsSample.File("{}"u8.ToArray(), [], 3), "header of 3 bytes").SetArgDisplayNames("header longer than the file");
        yield return new TestCaseData(SafeTensorsSample.File("{}"u8.ToArray(), [], 100_000_001), "at most 100000000").SetArgDisplayNames("header longer than the format allows");
        yield return new TestCaseData(SafeTensorsSample.File("{}"u8.ToArray(), [], ulong.MaxValue), "at most 100000000").SetArgDisplayNames("header length of 64 ones");
        yield return new TestCaseData(SafeTensorsSample.File([.. "{\""u8, 0xff, 0xfe, .. "\":{}}"u8], []), "UTF-8").SetArgDisplayNames("not UTF-8");
        yield return new TestCaseData(Encoding.ASCII.GetBytes("<!DOCTYPE html>"), "not a safetensors file").SetArgDisplayNames("a web page");
    }

    [TestCaseSource(nameof(Files))]
    public void A_file_that_is_none_is_refused(byte[] content, string says)
    {
        string path = _folder.Write("bad.safetensors", content);
        Assert.That(() => SafeTensorsFile.Open(path).Dispose(), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says).And.Message.Contains(path));
        Assert.That(async () => await SafeTensorsStream.OpenAsync(new MemoryStream(content), "stream"), Throws.TypeOf<ModelFormatException>());
    }

    [Test]
    public void A_missing_file_and_a_folder_are_refused()
    {
        Assert.That(() => SafeTensorsFile.Open(_folder["none.safetensors"]), Throws.TypeOf<ModelFormatException>().With.Message.Contains("no such file"));
        Assert.That(() => SafeTensorsFile.Open(_folder.Path), Throws.TypeOf<ModelFormatException>());
    }

    [Test]
    public void A_file_cut_anywhere_is_refused()
    {
        byte[] valid = SafeTensorsSample.Valid;
        for (int length = 0; length < valid.Length; length++)
        {
            string path = _folder.Write("cut.safetensors", valid[..length]);
            Assert.That(() => SafeTensorsFile.Open(path).Dispose(), Throws.TypeOf<ModelFormatException>(), $"cut to {length} of {valid.Length} bytes");
        }
    }
}
