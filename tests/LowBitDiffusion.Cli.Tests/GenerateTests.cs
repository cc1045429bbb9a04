using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd generate</c> draws what was asked for and keeps in the picture how to draw it again.</summary>
public sealed class GenerateTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Without_labels_one_image_of_each_is_drawn()
    {
        LbdResult result = await Generate(SharedModels.Quantized, "all.png");

        PngFile picture = PngReader.Load(_folder["all.png"]);
        Assert.That(Record(picture).GetProperty("labels").EnumerateArray().Select(l => l.GetInt32()), Is.EqualTo(Enumerable.Range(0, 10)));
        Assert.That((picture.Image.Width, picture.Image.Height), Is.EqualTo((2 + 5 * 130, 2 + 2 * 130)), "five columns of 16-pixel images enlarged to 128, two pixels apart");
        Assert.That(result.Json.GetProperty("files").EnumerateArray().Select(f => f.GetString()), Is.EqualTo(new[] { _folder["all.png"] }));
    }

    [TestCase(new[] { "--label", "dress" }, new[] { 3 })]
    [TestCase(new[] { "--label", "DRESS", "--label", "3" }, new[] { 3, 3 })]
    [TestCase(new[] { "--label", "Ankle Boot,0" }, new[] { 9, 0 })]
    [TestCase(new[] { "--labels", "bag", "coat" }, new[] { 8, 4 })]
    [TestCase(new[] { "--labels", "all" }, new[] { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 })]
    [TestCase(new[] { "--label", "dress,coat", "--count", "2" }, new[] { 3, 3, 4, 4 })]
    [TestCase(new[] { "--label", "dress", "--seeds", "5,6,7" }, new[] { 3, 3, 3 })]
    public async Task Labels_are_names_or_numbers(string[] options, int[] expected)
    {
        LbdResult result = await Generate(SharedModels.Float, "picture.png", options);

        Assert.That(result.Json.GetProperty("labels").EnumerateArray().Select(l => l.GetInt32()), Is.EqualTo(expected));
    }

    [TestCase(new[] { "--label", "1,2,3" }, new ulong[] { 0, 1, 2 })]
    [TestCase(new[] { "--label", "1,2", "--seed", "7" }, new ulong[] { 7, 8 })]
    [TestCase(new[] { "--label", "1", "--seeds", "18446744073709551615,3" }, new ulong[] { ulong.MaxValue, 3 })]
    [TestCase(new[] { "--label", "1,2", "--seeds", "9", "4" }, new ulong[] { 9, 4 })]
    public async Task Seeds_count_up_or_are_listed(string[] options, ulong[] expected)
    {
        LbdResult result = await Generate(SharedModels.Float, "picture.png", options);

        Assert.That(result.Json.GetProperty("seeds").EnumerateArray().Select(s => s.GetUInt64()), Is.EqualTo(expected));
    }

    [Test]
    public async Task A_picture_is_drawn_again_from_what_it_carries()
    {
        await Generate(SharedModels.Quantized, "first.png", "--label", "bag,coat,dress", "--seed", "11", "--steps", "4", "--guidance", "2", "--eta", "0.5", "--noise", "torch-cuda", "--columns", "2", "--captions", "--scale", "3");

        await Generate(SharedModels.Quantized, "again.png", "--like", _folder["first.png"]);

        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(_folder["first.png"])), "bytes of the picture");
    }

    [Test]
    public async Task A_setting_given_beside_a_picture_replaces_that_of_the_picture()
    {
        await Generate(SharedModels.Float, "first.png", "--label", "bag", "--seed", "11", "--steps", "4");

        LbdResult result = await Generate(SharedModels.Float, "other.png", "--like", _folder["first.png"], "--seed", "12");

        Assert.That(result.Json.GetProperty("seeds")[0].GetUInt64(), Is.EqualTo(12));
        Assert.That(result.Json.GetProperty("steps").GetInt32(), Is.EqualTo(4), "not given, so as in the picture");
        Assert.That(File.ReadAllBytes(_folder["other.png"]), Is.Not.EqualTo(File.ReadAllBytes(_folder["first.png"])));
    }

    [Test]
    public async Task A_folder_gets_a_file_for_each_image_that_can_be_drawn_again_alone()
    {
        await Generate(SharedModels.Quantized, "singles", "--label", "ankle boot,t-shirt", "--seed", "5");

        Assert.That(Directory.GetFiles(_folder["singles"]).Select(Path.GetFileName), Is.EquivalentTo(new[] { "0000-ankle-boot-5.png", "0001-t-shirt-6.png" }));
        string second = Path.Combine(_folder["singles"], "0001-t-shirt-6.png");
        await Generate(SharedModels.Quantized, "again.png", "--like", second);
        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(second)), "an image of a batch equals the same seed alone");
    }

    [Test]
    public async Task Threads_do_not_change_the_picture()
    {
        await Generate(SharedModels.Quantized, "one.png", "--threads", "1");
        await Generate(SharedModels.Quantized, "two.png", "--threads", "2");

        Assert.That(File.ReadAllBytes(_folder["two.png"]), Is.EqualTo(File.ReadAllBytes(_folder["one.png"])));
    }

    [Test]
    public async Task A_model_without_labels_draws_as_many_as_counted()
    {
        LbdResult result = await Generate(SharedModels.Colour, "colour.png", "--count", "3", "--steps", "2");

        Assert.That(result.Json.GetProperty("seeds").GetArrayLength(), Is.EqualTo(3));
        Assert.That(PngReader.Load(_folder["colour.png"]).Image.Channels, Is.EqualTo(3));
    }

    [Test]
    public async Task Captions_make_room_for_text()
    {
        await Generate(SharedModels.Float, "plain.png", "--label", "dress");
        await Generate(SharedModels.Float, "captions.png", "--label", "dress", "--captions");

        Image plain = PngReader.Load(_folder["plain.png"]).Image, captions = PngReader.Load(_folder["captions.png"]).Image;
        Assert.That(captions.Height, Is.GreaterThan(plain.Height));
        byte[] added = captions.Pixels[(plain.Pixels.Length - 2 * plain.Width)..];
        Assert.That(added, Has.Some.EqualTo(0), "ink on the white below the image");
    }

    [Test]
    public async Task The_picture_names_the_program_and_no_path_of_this_machine()
    {
        await Generate(SharedModels.Float, "picture.png", "--label", "1");

        PngFile picture = PngReader.Load(_folder["picture.png"]);
        Assert.That(picture.Texts.Single(t => t.Keyword == "Software").Text, Does.StartWith("lbd "));
        Assert.That(Record(picture).GetProperty("model").GetString(), Is.EqualTo("tiny"), "the folder's name");
    }

    [Test]
    public async Task Json_is_one_object_and_nothing_else_is_printed()
    {
        LbdResult result = await Generate(SharedModels.Float, "picture.png", "--label", "1", "--steps", "2");

        Assert.That(result.Error, Is.Empty);
        Assert.That(result.Json.GetProperty("load_seconds").GetDouble(), Is.Positive);
        Assert.That(result.Json.GetProperty("seconds_per_step").GetDouble(), Is.Positive);
    }

    [Test]
    public async Task Without_a_terminal_progress_is_plain_lines_on_standard_error()
    {
        LbdResult result = await Lbd.SucceedAsync("generate", "--model", SharedModels.Float, "--out", _folder["picture.png"], "--label", "1", "--steps", "2");

        Assert.That(result.ErrorLines, Has.Some.StartsWith("drawing: 100 % (step 2/2"));
        Assert.That(result.Out + result.Error, Does.Not.Contain("\u001b"), "no control codes");
        Assert.That(result.Out, Does.StartWith($"{_folder["picture.png"]}: 1 image"));
    }

    private Task<LbdResult> Generate(string model, string output, params string[] options) => Lbd.SucceedAsync(["generate", "--model", model, "--out", _folder[output], "--json", .. options]);

    private static JsonElement Record(PngFile picture) => JsonDocument.Parse(picture.Texts.Single(t => t.Keyword == "lbd").Text).RootElement;
}
