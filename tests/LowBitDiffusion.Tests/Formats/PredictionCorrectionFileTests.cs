using System.Text.Json;
using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>The file of a correction: what is written is read, what is damaged is refused by name.</summary>
public sealed class PredictionCorrectionFileTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Write()
    {
        _folder = new TemporaryFolder();
        PredictionCorrection correction = new([1, 333.25f, 999], [0, 0.01, 0.2], [0.1, -0.2, 0.3, 1e-9, 0, -5], [0, 0.5, 0.125], channels: 2, guidanceScale: 1.25f);
        PredictionCorrectionFile.Write(_folder.Path, correction, JsonSerializer.SerializeToElement(new { seed = 3 }));
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public void WhatIsWrittenIsRead()
    {
        PredictionCorrection read = PredictionCorrectionFile.Read(_folder.Path)!;
        Assert.Multiple(() =>
        {
            Assert.That(read.Timesteps.ToArray(), Is.EqualTo(new[] { 1, 333.25f, 999 }));
            Assert.That(read.Slopes.ToArray(), Is.EqualTo(new[] { 0, 0.01, 0.2 }));
            Assert.That(read.Biases.ToArray(), Is.EqualTo(new[] { 0.1, -0.2, 0.3, 1e-9, 0, -5 }));
            Assert.That(read.Deviations.ToArray(), Is.EqualTo(new[] { 0, 0.5, 0.125 }));
            Assert.That((read.Channels, read.GuidanceScale), Is.EqualTo((2, 1.25f)));
        });
    }

    [TestCase(-4f, 0.0)]
    [TestCase(160f, 0.0)]
    [TestCase(400f, 0.5)]
    [TestCase(2000f, 0.125)]
    public void TheNearestTimestepCounts(float timestep, double deviation) => Assert.That(PredictionCorrectionFile.Read(_folder.Path)!.DeviationAt(timestep), Is.EqualTo(deviation));

    [Test]
    public void ANetworkWithoutOneHasNone() => Assert.That(PredictionCorrectionFile.Read(Path.GetTempPath()), Is.Null);

    private static IEnumerable<TestCaseData> Damages()
    {
        yield return Damage("another method", json => json["method"] = "magic", "method");
        yield return Damage("a newer version", json => json["format_version"] = 2, "newer");
        yield return Damage("no version", json => json.Remove("format_version"), "format_version");
        yield return Damage("no guidance", json => json.Remove("guidance_scale"), "guidance_scale");
        yield return Damage("no timesteps", json => json["timesteps"] = new JsonArray(), "at least one timestep");
        yield return Damage("timesteps out of order", json => json["timesteps"] = new JsonArray(1, 5, 5), "strictly ascending");
        yield return Damage("a slope missing", json => json["slope"] = new JsonArray(0, 0.1), "expected 3 slopes, found 2");
        yield return Damage("a negative slope", json => json["slope"] = new JsonArray(0, -0.1, 0), "slopes must be finite and not negative, found -0.1 at 1");
        yield return Damage("a bias missing", json => json["bias"] = new JsonArray(0, 0, 0, 0, 0), "expected 6 biases, found 5");
        yield return Damage("a negative deviation", json => json["deviation"] = new JsonArray(0, 0, -1), "deviations");
        yield return Damage("a text", json => json["bias"] = "none", "bias");
        yield return Damage("no channels", json => json["channels"] = 0, "channel");
        yield return Damage("an unknown key", json => json["gamma"] = 1, "gamma");

        static TestCaseData Damage(string name, Action<JsonObject> damage, string message) => new TestCaseData(damage, message).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Damages))]
    public void ADamagedFileIsRefused(Action<JsonObject> damage, string message)
    {
        string path = Path.Combine(_folder.Path, PredictionCorrectionFile.Name);
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        damage(json);
        File.WriteAllText(path, json.ToJsonString());
        Assert.That(() => PredictionCorrectionFile.Read(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(message).And.Message.Contains(PredictionCorrectionFile.Name));
    }

    [Test]
    public void HalfAFileIsRefused()
    {
        string path = Path.Combine(_folder.Path, PredictionCorrectionFile.Name);
        File.WriteAllText(path, File.ReadAllText(path)[..200]);
        Assert.That(() => PredictionCorrectionFile.Read(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains("not valid JSON"));
    }
}
