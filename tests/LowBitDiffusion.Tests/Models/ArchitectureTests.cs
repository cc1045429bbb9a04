using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Tests.Models;

/// <summary>Published networks by name have exactly the published number of parameters.</summary>
[TestFixture]
public sealed class ArchitectureTests
{
    [TestCase("ddpm-cifar10", 35_746_307)]
    [TestCase("sd15", 859_520_964)]
    [TestCase("sd21", 865_910_724)]
    [TestCase("sdxl", 2_567_463_684)]
    [TestCase("dit-xl-2", 28 * 26_682_624L + 19_584 + 2_656_512 + 36_896, Description = "28 blocks, patches, and the two layers of the output")]
    [TestCase("sd-vae", 49_490_199, Description = "the decoder with its 1x1 convolution before")]
    [TestCase("sdxl-vae", 49_490_199)]
    [TestCase("clip-l", 123_060_480)]
    [TestCase("open-clip-h", 340_387_840)]
    [TestCase("open-clip-bigg", 694_659_840)]
    public void Parameters_are_the_published_ones(string name, long parameters)
    {
        INetwork network = Architectures.Create(name);
        Assert.That(network.Build(network.NativeInputs(1)).Parameters.Sum(parameter => parameter.Shape.Elements), Is.EqualTo(parameters));
    }

    [TestCaseSource(typeof(Architectures), nameof(Architectures.Names))]
    public void Every_model_has_a_scheduler_that_exists(string name)
        => Assert.That(SchedulerFactory.Supported, Does.Contain(Architectures.SchedulerConfig(name).GetString("_class_name")));

    [Test]
    public void Native_sizes_are_the_published_ones()
        => Assert.That(new[] { "sd15", "sd21", "sdxl", "dit-xl-2" }.Select(name => Architectures.Create(name).NativeInputs(2)["sample"]), Is.EqualTo(new TensorShape[] { new(2, 4, 64, 64), new(2, 4, 96, 96), new(2, 4, 128, 128), new(2, 4, 32, 32) }));

    [Test]
    public void Other_names_are_refused_with_a_list()
        => Assert.That(() => Architectures.Create("sd3"), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("sd15, sd21, sdxl").And.Message.Contains("found sd3"));
}
