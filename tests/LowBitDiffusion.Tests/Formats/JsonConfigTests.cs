using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>A configuration is read with the types that are expected; errors say where, what was expected and what was found.</summary>
[TestFixture]
public sealed class JsonConfigTests
{
    private const string Text = """
        {"int": 3, "float": 0.25, "text": "silu", "yes": true, "none": null, "ints": [1, 2], "texts": ["a", "b"], "numbers": [1, 2.5],
         "low": -Infinity, "high": Infinity, "nan": NaN, "quoted": "-Infinity", "trap": "a \"NaN\" in a text\\", "inner": {"depth": {"x": "y"}}, "list": [{"a": 1}]}
        """;

    private static JsonConfig Config => JsonConfig.Parse("config.json", Text);

    [Test]
    public void Values_have_their_types()
    {
        JsonConfig config = Config;
        Assert.That(config.GetInt("int"), Is.EqualTo(3));
        Assert.That(config.GetDouble("float"), Is.EqualTo(0.25));
        Assert.That(config.GetFloat("int"), Is.EqualTo(3f));
        Assert.That(config.GetString("text"), Is.EqualTo("silu"));
        Assert.That(config.GetBool("yes"), Is.True);
        Assert.That(config.GetIntArray("ints"), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(config.GetStringArray("texts"), Is.EqualTo(new[] { "a", "b" }));
        Assert.That(config.GetDoubleArray("numbers"), Is.EqualTo(new[] { 1, 2.5 }));
        Assert.That(config.GetOneOf("text", null, "silu", "gelu"), Is.EqualTo("silu"));
        Assert.That(config.GetIntPerBlock("int", 3), Is.EqualTo(new[] { 3, 3, 3 }));
        Assert.That(config.GetIntPerBlock("ints", 2), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(config.GetObject("inner")!.GetObject("depth")!.GetString("x"), Is.EqualTo("y"));
        Assert.That(config.GetObjectArray("list").Single().GetInt("a"), Is.EqualTo(1));
    }

    [Test]
    public void Numbers_that_JSON_does_not_know_are_read_as_Python_writes_them()
    {
        Assert.That(Config.GetDouble("low"), Is.EqualTo(double.NegativeInfinity));
        Assert.That(Config.GetDouble("high"), Is.EqualTo(double.PositiveInfinity));
        Assert.That(Config.GetFloat("nan"), Is.NaN);
        Assert.That(Config.GetDouble("quoted"), Is.EqualTo(double.NegativeInfinity));
        Assert.That(Config.GetString("trap"), Is.EqualTo("a \"NaN\" in a text\\"), "texts are left alone");
    }

    [Test]
    public void What_is_missing_has_its_default_and_null_is_null()
    {
        Assert.That(Config.GetInt("absent", 7), Is.EqualTo(7));
        Assert.That(Config.GetString("absent", "x"), Is.EqualTo("x"));
        Assert.That(Config.GetBool("absent", false), Is.False);
        Assert.That(Config.GetIntArray("absent", [1]), Is.EqualTo(new[] { 1 }));
        Assert.That(Config.GetNullableInt("absent", 8), Is.EqualTo(8), "the default of a missing key");
        Assert.That(Config.GetNullableInt("none", 8), Is.Null, "null is a value of its own");
        Assert.That(Config.GetNullableString("none", "x"), Is.Null);
        Assert.That(Config.GetNullableDouble("none"), Is.Null);
        Assert.That(Config.GetNullableBool("none"), Is.Null);
        Assert.That(Config.GetObject("none"), Is.Null);
        Assert.That(Config.HasValue("none"), Is.False);
        Assert.That(Config.Has("none"), Is.True);
    }

    private static IEnumerable<TestCaseData> Wrong()
    {
        yield return Case("a fraction", config => config.GetInt("float"), "'float': expected an integer, found 0.25");
        yield return Case("a text", config => config.GetInt("text"), "'text': expected an integer, found \"silu\"");
        yield return Case("a text that is no number", config => config.GetDouble("text"), "'text': expected a number, found \"silu\"");
        yield return Case("null", config => config.GetInt("none", 3), "'none': expected an integer, found null");
        yield return Case("null for a text", config => config.GetString("none"), "'none': expected a string, found null");
        yield return Case("a number", config => config.GetString("int"), "'int': expected a string, found 3");
        yield return Case("a number for a boolean", config => config.GetBool("int"), "'int': expected a boolean, found 3");
        yield return Case("no array", config => config.GetIntArray("int"), "'int': expected an array of integers, found 3");
        yield return Case("an array of others", config => config.GetIntArray("numbers"), "'numbers': expected an array of integers, found [1, 2.5]");
        yield return Case("an array of texts", config => config.GetDoubleArray("texts"), "'texts': expected an array of numbers");
        yield return Case("none of the allowed", config => config.GetOneOf("text", null, "gelu", "relu"), "'text': expected one of gelu, relu, found silu");
        yield return Case("another count", config => config.GetIntPerBlock("ints", 3), "'ints': expected an integer or an array of 3, found 2");
        yield return Case("no object", config => config.GetObject("int"), "'int': expected a JSON object, found 3");
        yield return Case("an array of numbers for objects", config => config.GetObjectArray("ints"), "'ints[0]': expected a JSON object");
        yield return Case("missing", config => config.GetInt("absent"), "'absent': no such key");
        yield return Case("missing text", config => config.GetString("absent"), "'absent': no such key");
        yield return Case("missing array", config => config.GetStringArray("absent"), "'absent': no such key");
        yield return Case("inside", config => config.GetObject("inner")!.GetObject("depth")!.GetInt("x"), "'inner.depth.x': expected an integer");

        static TestCaseData Case(string name, Func<JsonConfig, object?> read, string says) => new TestCaseData(read, says).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Wrong))]
    public void A_wrong_value_is_named(Func<JsonConfig, object?> read, string says)
        => Assert.That(() => read(Config), Throws.TypeOf<ModelFormatException>().With.Message.Contains("config.json: " + says));

    [Test]
    public void Settings_that_nobody_knows_are_refused_unless_they_say_nothing()
    {
        JsonConfig config = JsonConfig.Parse("config.json", """{"_class_name": "X", "known": 1, "harmless": 2, "off": false, "unset": null}""");
        config.GetInt("known");
        Assert.That(() => config.RejectUnknown(new HashSet<string> { "harmless" }), Throws.Nothing);

        JsonConfig other = JsonConfig.Parse("config.json", """{"twist": 0.5, "turn": "left", "off": false, "seen": {"inner": 1}}""");
        other.GetObject("seen");
        Assert.That(() => other.RejectUnknown(new HashSet<string>()), Throws.TypeOf<ModelFormatException>().With.Message.Contains("twist = 0.5; turn = \"left\"").And.Message.Not.Contains("seen"));
        Assert.That(() => other.GetObject("seen")!.RejectUnknown(new HashSet<string>()), Throws.TypeOf<ModelFormatException>().With.Message.Contains("seen.inner = 1"));
    }

    [TestCase("", TestName = "nothing")]
    [TestCase("[]", TestName = "an array")]
    [TestCase("{", TestName = "unclosed")]
    [TestCase("{\"a\": 1, \"a\": 2}", TestName = "a key twice")]
    [TestCase("{\"a\": 1,}", TestName = "a trailing comma")]
    [TestCase("{\"a\": nan}", TestName = "a word of another language")]
    [TestCase("{\"\\ud800\": 1}", TestName = "a name that is not Unicode")]
    public void A_text_that_is_no_object_is_refused(string text)
        => Assert.That(() => JsonConfig.Parse("config.json", text), Throws.TypeOf<ModelFormatException>().With.Message.StartsWith("config.json: "));

    [Test]
    public void A_text_that_is_too_deep_or_not_Unicode_is_refused()
    {
        using TemporaryFolder folder = new();
        Assert.That(() => JsonConfig.Parse("config.json", "{\"a\":" + new string('[', 100_000)), Throws.TypeOf<ModelFormatException>());
        Assert.That(() => JsonConfig.Open(folder.Write("x.json", [(byte)'{', 0xff, (byte)'}'])), Throws.TypeOf<ModelFormatException>().With.Message.Contains("UTF-8"));
        Assert.That(() => JsonConfig.Open(folder["none.json"]), Throws.TypeOf<ModelFormatException>().With.Message.Contains("no such file"));
        Assert.That(() => JsonConfig.Parse("config.json", """{"a": "\ud800"}""").GetString("a"), Throws.TypeOf<ModelFormatException>());
        Assert.That(JsonConfig.Open(folder.Write("bom.json", [0xef, 0xbb, 0xbf, .. "{\"a\": 1}"u8])).GetInt("a"), Is.EqualTo(1), "a byte order mark is skipped");
    }
}
