using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Calibration;

/// <summary>Layers that read a concatenation are found, and where it divides.</summary>
[TestFixture]
internal sealed class ModuleInputsTests
{
    // Up block 0 of the network reads 32 + 32, 32 + 32 and 32 + 32 channels, block 1 32 + 32 (twice) and 32 + 16, block 2 32 + 16 and twice 16 + 16.
    [TestCase("up_blocks.0.resnets.0.conv_shortcut", SplitInputs.None, 0)]
    [TestCase("up_blocks.0.resnets.0.conv_shortcut", SplitInputs.Concatenations, 32)]
    [TestCase("up_blocks.2.resnets.0.conv_shortcut", SplitInputs.Concatenations, 32)]
    [TestCase("up_blocks.2.resnets.1.conv_shortcut", SplitInputs.Concatenations, 16)]
    [TestCase("up_blocks.2.resnets.1.conv1", SplitInputs.Concatenations, 0)]
    [TestCase("up_blocks.2.resnets.1.conv1", SplitInputs.Normalized, 16)]
    [TestCase("up_blocks.2.resnets.1.conv2", SplitInputs.Normalized, 0)]
    [TestCase("down_blocks.1.resnets.0.conv_shortcut", SplitInputs.Normalized, 0)]
    public void ConcatenationsAreSplitWhereTheyWereJoined(string module, SplitInputs split, int channel)
    {
        using TemporaryFolder folder = new();
        using SourceModel model = SourceModel.Open(TinyModel.Write(folder.Path));
        ModuleInputs inputs = ModuleInputs.Of(model.Network.Build(model.Network.NativeInputs(1)), split).Single(m => m.Op.Module == module);
        Assert.That(inputs.SplitChannel, Is.EqualTo(channel));
    }

    [Test]
    public void ProjectionsOfOneAttentionReadOneValue()
    {
        using TemporaryFolder folder = new();
        using SourceModel model = SourceModel.Open(TinyModel.Write(folder.Path));
        IReadOnlyList<ModuleInputs> layers = ModuleInputs.Of(model.Network.Build(model.Network.NativeInputs(1)), SplitInputs.None);
        Assert.That(layers.Where(l => l.Op.Module.StartsWith("mid_block.attentions.0.to_", StringComparison.Ordinal) && !l.Op.Module.Contains("out", StringComparison.Ordinal)).Select(l => l.Inputs.Single()).Distinct().Count(), Is.EqualTo(1));
        Assert.That(layers.Select(l => l.Op.Module), Is.Unique, "each layer once");
    }
}
