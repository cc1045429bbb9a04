using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Tests.Quantizers;

/// <summary>A weight becomes centred codes with a scale per output channel, group or half of a split.</summary>
[TestFixture]
internal sealed class WeightQuantizerTests
{
    private static readonly TensorShape s_shape = new(5, 6, 3, 3);

    [Test]
    public void EveryWidthReconstructsWithinHalfAStep([Values(2, 3, 4, 5, 6, 7, 8)] int bits, [Values] bool symmetric)
    {
        if (bits == 8 && !symmetric) return;
        float[] weight = Weight(bits);
        WeightQuantizerOptions options = new(bits, RangeMethod.MinMax, symmetric);
        QuantizedWeight quantized = WeightQuantizer.Quantize(weight, s_shape, options);
        float[] values = WeightQuantizer.Dequantize(quantized, s_shape, options);
        for (int i = 0; i < weight.Length; i++)
        {
            float step = quantized.Scales[i / 54];
            Assert.That(values[i], Is.EqualTo(weight[i]).Within(0.501f * step), $"element {i}");
            int zero = quantized.ZeroPoints?[i / 54] ?? 1 << (bits - 1);
            Assert.That(quantized.Codes[i] + zero, Is.InRange(0, (1 << bits) - 1), $"stored code of element {i}");
        }
    }

    [Test]
    public void CodesAreThoseOfTheAffineQuantizerMinusItsZeroPoint()
    {
        float[] weight = Weight(1);
        QuantizedWeight quantized = WeightQuantizer.Quantize(weight, s_shape, new WeightQuantizerOptions(4));
        for (int row = 0; row < 5; row++)
        {
            AffineQuantizer expected = RangeSearch.Affine(weight.AsSpan(row * 54, 54), 4).Quantizer;
            Assert.That((quantized.Scales[row], (int)quantized.ZeroPoints![row]), Is.EqualTo((expected.Scale, expected.ZeroPoint)), $"quantizer of channel {row}");
            Assert.That(quantized.Codes.Skip(row * 54).Take(54).Select(c => c + expected.ZeroPoint), Is.EqualTo(weight.Skip(row * 54).Take(54).Select(expected.Quantize)), $"codes of channel {row}");
        }
    }

    [TestCase(18, 0, 3, TestName = "Three groups of two channels")]
    [TestCase(0, 4, 2, TestName = "Two halves of four and two channels")]
    [TestCase(27, 4, 2, TestName = "Groups take no notice of a split")]
    public void RangesOfChannelsHaveScalesOfTheirOwn(int group, int split, int columns)
    {
        float[] weight = Weight(2);
        QuantizedWeight quantized = WeightQuantizer.Quantize(weight, s_shape, new WeightQuantizerOptions(4, RangeMethod.MinMax, GroupSize: group, SplitChannel: split));
        Assert.That(quantized.Scales, Has.Length.EqualTo(5 * columns), "one scale per channel and range");
        int first = group > 0 ? group : split * 9;
        ValueRange range = ValueRange.Of(weight.AsSpan(54, first));
        Assert.That(quantized.Scales[columns], Is.EqualTo(AffineQuantizer.FromRange(range.Min, range.Max, 4).Scale), "first range of the second channel");
        ValueRange last = ValueRange.Of(weight.AsSpan(54 + (group > 0 ? 54 - group : first), group > 0 ? group : 54 - first));
        Assert.That(quantized.Scales[2 * columns - 1], Is.EqualTo(AffineQuantizer.FromRange(last.Min, last.Max, 4).Scale), "last range of the second channel");
    }

    [Test]
    public void AChannelOfZerosHasStepOne()
    {
        QuantizedWeight quantized = WeightQuantizer.Quantize(new float[270], s_shape, new WeightQuantizerOptions(4));
        Assert.That(quantized.Scales, Is.All.EqualTo(1f));
        Assert.That(quantized.Codes, Is.All.EqualTo((sbyte)0));
    }

    private static IEnumerable<TestCaseData> Misfits()
    {
        yield return new TestCaseData(new WeightQuantizerOptions(1), 270, "2 to 8 bits").SetArgDisplayNames("1 bit");
        yield return new TestCaseData(new WeightQuantizerOptions(8), 270, "symmetric").SetArgDisplayNames("8 bits, asymmetric");
        yield return new TestCaseData(new WeightQuantizerOptions(4, GroupSize: 10), 270, "multiple of 9").SetArgDisplayNames("group within a kernel");
        yield return new TestCaseData(new WeightQuantizerOptions(4, GroupSize: 36), 270, "divides 54").SetArgDisplayNames("group that does not divide");
        yield return new TestCaseData(new WeightQuantizerOptions(4, SplitChannel: 6), 270, "6 input channels").SetArgDisplayNames("split behind the end");
        yield return new TestCaseData(new WeightQuantizerOptions(4), 269, "269").SetArgDisplayNames("too few elements");
    }

    [TestCaseSource(nameof(Misfits))]
    public void OptionsThatDoNotFitAreNamed(WeightQuantizerOptions options, int elements, string message) =>
        Assert.That(() => WeightQuantizer.Quantize(new float[elements], s_shape, options), Throws.ArgumentException.With.Message.Contains(message));

    [TestCase(float.NaN)]
    [TestCase(float.PositiveInfinity)]
    public void WeightsMustBeFinite(float value)
    {
        float[] weight = Weight(3);
        weight[100] = value;
        Assert.That(() => WeightQuantizer.Quantize(weight, s_shape, new WeightQuantizerOptions(4)), Throws.ArgumentException.With.Message.Contains("channel 1"));
    }

    [Test]
    public void DilationNeverShrinksAndKeepsEveryRange()
    {
        Gen<float[]> weights = Gen.Choose(-50, 50).Select(i => i / 16f).ArrayOf(6 * 4);
        Prop.ForAll(weights.ToArbitrary(), weight =>
        {
            float[] scales = WeightDilation.Scales(weight, 4, 1), dilated = WeightDilation.Dilate(weight, scales, 1);
            return scales.All(s => s >= 1 && float.IsFinite(s)) && Enumerable.Range(0, 6).All(o =>
            {
                ValueRange before = ValueRange.Of(weight.AsSpan(o * 4, 4)), after = ValueRange.Of(dilated.AsSpan(o * 4, 4));
                return Math.Abs(before.Min - after.Min) <= 1e-6 * before.Magnitude && Math.Abs(before.Max - after.Max) <= 1e-6 * before.Magnitude;
            });
        }).QuickCheckThrowOnFailure();
    }

    private static float[] Weight(int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, 270).Select(_ => (float)(random.NextDouble() - 0.4))];
    }
}
