using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Metrics;

/// <summary>The classifier that measures generated garments computes what it was trained to.</summary>
[TestFixture]
internal sealed class ConvClassifierTests
{
    private static readonly string s_folder = Repository.Model("fashion-classifier");

    [Test]
    public void FeaturesAndLogitsAreThoseOfTheReference()
    {
        using SafeTensorsFile io = SafeTensorsFile.Open(Path.Combine(s_folder, "io.safetensors"));
        ConvClassifier classifier = ConvClassifier.Load(s_folder);
        Assert.That((classifier.Channels, classifier.Features, classifier.Classes), Is.EqualTo((1, 128, 10)));
        (float[] features, float[] logits) = classifier.Run(io.ReadSingles("in.sample"), 32, 32);
        Close.RelativeToMax(features, io.ReadSingles("out.features"), 1e-5, "features");
        Close.RelativeToMax(logits, io.ReadSingles("out.logits"), 1e-5, "logits");
    }

    [Test]
    public void APictureAloneGivesTheSameAsInABatch()
    {
        using SafeTensorsFile io = SafeTensorsFile.Open(Path.Combine(s_folder, "io.safetensors"));
        ConvClassifier classifier = ConvClassifier.Load(s_folder);
        float[] images = io.ReadSingles("in.sample");
        float[] batch = classifier.Run(images, 32, 32).Features;
        Assert.That(classifier.Run(images.AsMemory(5 * 1024, 1024), 32, 32).Features, Is.EqualTo(batch[(5 * 128)..(6 * 128)]));
    }

    [Test]
    public void ReferenceStatisticsLoadAndAreACovariance()
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(Path.Combine(s_folder, "reference_statistics.safetensors"));
        GaussianStatistics statistics = GaussianStatistics.Read(file);
        Assert.That(statistics.Mean, Has.Length.EqualTo(128));
        Assert.That(FrechetDistance.Between(statistics, statistics), Is.LessThan(1e-6), "distance to itself");
        double smallest = new SymmetricEigen(statistics.Covariance, 128).Values.Min();
        Assert.That(smallest, Is.GreaterThan(-1e-6), "smallest eigenvalue of the covariance");
    }

    [Test]
    public void MissingFoldersAreNamed() =>
        Assert.That(() => ConvClassifier.Load("nowhere"), Throws.TypeOf<ModelFormatException>().With.Message.Contains("nowhere"));

    [TestCase("silu", "relu", "act_fn")]
    [TestCase("\"num_classes\": 10", "\"num_classes\": 11", "head.weight")]
    [TestCase("\"strides\"", "\"steps\"", "config.json")]
    [TestCase("{", "[", "config.json")]
    public void OtherNetworksAreRefused(string text, string replacement, string named)
    {
        string folder = Directory.CreateTempSubdirectory("classifier").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), File.ReadAllText(Path.Combine(s_folder, "config.json")).Replace(text, replacement, StringComparison.Ordinal));
            File.Copy(Path.Combine(s_folder, "model.safetensors"), Path.Combine(folder, "model.safetensors"));
            Assert.That(() => ConvClassifier.Load(folder), Throws.TypeOf<ModelFormatException>().With.Message.Contains(named));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
