using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Tests.PostTraining;

/// <summary>Precisions come from an ordered table of globs that can be printed and overridden.</summary>
[TestFixture]
internal sealed class PrecisionRulesTests
{
    private static readonly Precision s_standard = new(4, 8);

    [TestCase("conv_in", "w8a8")]
    [TestCase("conv_out", "w8a8")]
    [TestCase("time_embedding.linear_1", "float")]
    [TestCase("class_embedding", "float")]
    [TestCase("transformer_blocks.0.norm1.emb.timestep_embedder.linear_2", "float")]
    [TestCase("down_blocks.0.resnets.0.time_emb_proj", "w8a8")]
    [TestCase("transformer_blocks.3.norm1.linear", "w8a8")]
    [TestCase("pos_embed.proj", "w8a8")]
    [TestCase("proj_out_2", "w8a8")]
    [TestCase("down_blocks.0.resnets.0.conv1", "w4a8")]
    [TestCase("down_blocks.1.attentions.0.proj_out", "w4a8")]
    [TestCase("mid_block.attentions.0.to_q", "w4a8")]
    public void DefaultsProtectEmbeddingsAndEnds(string module, string expected) =>
        Assert.That(new PrecisionRules(s_standard).Of(module).ToString(), Is.EqualTo(expected));

    [TestCase("down_blocks.1.resnets.0.conv_shortcut")]
    [TestCase("down_blocks.0.downsamplers.0.conv")]
    [TestCase("up_blocks.0.upsamplers.0.conv")]
    [TestCase("decoder.up_blocks.0.upsamplers.0.conv")]
    public void WhatReadsTheResidualStreamKeepsEightBitsWhereActivationsHaveLess(string module)
    {
        PrecisionRule[] all = [new("*.conv_shortcut", "w4a4"), new("*samplers.*", "w4a4")];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(new PrecisionRules(new(4, 8)).Of(module).ToString(), Is.EqualTo("w4a8"), "8 bits everywhere");
            Assert.That(new PrecisionRules(new(4, 4)).Of(module).ToString(), Is.EqualTo("w8a8"), "4 bits");
            Assert.That(new PrecisionRules(new(4, 6)).Of(module).ToString(), Is.EqualTo("w8a8"), "6 bits");
            Assert.That(new PrecisionRules(new(4, 4), all).Of(module).ToString(), Is.EqualTo("w4a4"), "4 bits asked for");
        }
    }

    [TestCase("*", "anything.at.all", true)]
    [TestCase("mid_block.*", "mid_block.resnets.0.conv1", true)]
    [TestCase("mid_block.*", "mid_block", false)]
    [TestCase("*.conv1", "down.0.conv1", true)]
    [TestCase("*.conv1", "down.0.conv12", false)]
    [TestCase("*.conv?", "down.0.conv2", true)]
    [TestCase("a*b*c", "aXbXbYc", true)]
    [TestCase("a*b*c", "aXcXb", false)]
    [TestCase("conv_in", "conv_in", true)]
    [TestCase("conv_in", "conv_in2", false)]
    [TestCase("", "x", false)]
    [TestCase("**", "x", true)]
    public void StarsMatchAnythingAndQuestionMarksOneCharacter(string glob, string name, bool expected) =>
        Assert.That(PrecisionRules.Matches(glob, name), Is.EqualTo(expected));

    [Test]
    public void TheFirstMatchDecidesAndOverridesComeFirst()
    {
        PrecisionRules rules = new(s_standard, [PrecisionRules.Parse("conv_in=float"), PrecisionRules.Parse("conv_*=w6a7")]);
        Assert.That(rules.Of("conv_in"), Is.EqualTo(Precision.Float));
        Assert.That(rules.Of("conv_out"), Is.EqualTo(new Precision(6, 7)));
    }

    [Test]
    public void TheTableSaysEverything()
    {
        PrecisionRules rules = new(s_standard, [new PrecisionRule("mid_block.*", "w8a8")]);
        Assert.That(rules.Rules[0], Is.EqualTo(new PrecisionRule("mid_block.*", "w8a8")), "first rule");
        Assert.That(rules.Rules[^1], Is.EqualTo(new PrecisionRule("*", "w4a8")), "last rule");
        Assert.That(rules.ToString().Split('\n'), Has.Length.EqualTo(rules.Rules.Count), "one line each");
    }

    [TestCase("mid_block.*")]
    [TestCase("=w4a8")]
    [TestCase("conv_in=w1a8")]
    [TestCase("conv_in=w4a9")]
    [TestCase("conv_in=int8")]
    [TestCase("conv_in=W4A8")]
    public void RulesThatCannotBeReadAreRefused(string rule) => Assert.That(() => PrecisionRules.Parse(rule), Throws.TypeOf<InvalidRequestException>());

    [Test]
    public void OverridesThatMatchNothingAreRefused()
    {
        PrecisionRules rules = new(s_standard, [PrecisionRules.Parse("mid_blok.*=w8a8")]);
        Assert.That(() => rules.CheckUsed(["mid_block.conv", "conv_in"]), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("mid_blok"));
        Assert.That(() => new PrecisionRules(s_standard).CheckUsed(["conv_in"]), Throws.Nothing, "defaults may match nothing");
    }
}
