using LowBitDiffusion.Tokenizers;

namespace LowBitDiffusion.Tests.Tokenizers;

/// <summary>Texts that look alike have one form: normalization form C.</summary>
public sealed class CanonicalCompositionTests
{
    [TestCase("plain", "plain", TestName = "ASCII is its own form")]
    [TestCase("e\u0301", "é", TestName = "letter and mark join")]
    [TestCase("\u212B", "Å", TestName = "a singleton becomes what it stands for")]
    [TestCase("\u0344", "\u0308\u0301", TestName = "an excluded pair stays apart")]
    [TestCase("q\u0307\u0323", "q\u0323\u0307", TestName = "marks are ordered by class")]
    [TestCase("a\u0323\u0302", "ậ", TestName = "marks join one after another")]
    [TestCase("a\u0302\u0323", "ậ", TestName = "whatever their order was")]
    [TestCase("a\u0301\u0301", "á\u0301", TestName = "a second mark of the same class does not join")]
    [TestCase("\u1112\u1161\u11AB", "한", TestName = "Hangul letters make a syllable")]
    [TestCase("\uAC00\u11A8", "각", TestName = "a syllable takes a trailing letter")]
    [TestCase("\u0301\u0301e", "\u0301\u0301e", TestName = "marks without a letter stay")]
    [TestCase("\U0001D15E", "\U0001D157\U0001D165", TestName = "characters beyond U+FFFF too")]
    public void Normalizes(string text, string expected) => Assert.That(CanonicalComposition.Normalize(text), Is.EqualTo(expected));
}
