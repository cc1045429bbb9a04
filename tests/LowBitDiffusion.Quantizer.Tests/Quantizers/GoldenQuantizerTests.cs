using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Quantizers;

/// <summary>Codes, steps and zero points are those of the reference computations, code by code.</summary>
[TestFixture]
internal sealed class GoldenQuantizerTests
{
    private static IEnumerable<TestCaseData> AffineCases() => Cases("affine");

    private static IEnumerable<TestCaseData> RangeSearchCases() => Cases("range_search");

    private static IEnumerable<TestCaseData> TiesCases() =>
        Golden.Quantizers("affine").Where(g => g.TensorNames.Contains("in.ties")).Select(g => new TestCaseData(g).SetArgDisplayNames(g.Name));

    private static IEnumerable<TestCaseData> SymmetricCases() =>
        from golden in Golden.Quantizers("symmetric")
        from tensor in golden.TensorNames
        where tensor.EndsWith(".q", StringComparison.Ordinal)
        select new TestCaseData(golden, tensor["out.".Length..^2]).SetArgDisplayNames(golden.Name, tensor);

    private static IEnumerable<TestCaseData> DilationCases() =>
        from golden in Golden.Quantizers("weight_dilation")
        from tensor in golden.TensorNames
        where tensor.StartsWith("in.", StringComparison.Ordinal) && tensor.EndsWith(".w", StringComparison.Ordinal)
        select new TestCaseData(golden, tensor["in.".Length..^2]).SetArgDisplayNames(golden.Name, tensor);

    private static IEnumerable<TestCaseData> Cases(string method) =>
        from golden in Golden.Quantizers(method)
        from name in golden.Names("cases")
        select new TestCaseData(golden, name).SetArgDisplayNames(golden.Name, name);

    [TestCaseSource(nameof(AffineCases))]
    public void AffineCodesFollowFromTheRange(GoldenCase golden, string name)
    {
        (float[] x, int rows, int bits) = Read(golden, name);
        float[] d = golden[$"out.{name}.d"], z = golden[$"out.{name}.z"], q = golden[$"out.{name}.q"], xhat = golden[$"out.{name}.xhat"];
        for (int row = 0, depth = x.Length / rows; row < rows; row++)
        {
            ValueRange range = ValueRange.Of(x.AsSpan(row * depth, depth));
            AffineQuantizer quantizer = AffineQuantizer.FromRange(range.Min, range.Max, bits);
            Assert.That(quantizer.Scale, Is.EqualTo(d[row]), $"step of channel {row}");
            Assert.That(quantizer.ZeroPoint, Is.EqualTo((int)z[row]), $"zero point of channel {row}");
            for (int i = row * depth; i < (row + 1) * depth; i++)
            {
                Assert.That(quantizer.Quantize(x[i]), Is.EqualTo((int)q[i]), $"code {i}");
                Assert.That(quantizer.Apply(x[i]), Is.EqualTo(xhat[i]).Within(golden.Tolerance("max_abs")), $"value {i}");
            }
        }
    }

    [TestCaseSource(nameof(TiesCases))]
    public void HalvesRoundToEven(GoldenCase golden)
    {
        AffineQuantizer quantizer = new(golden.Json.GetProperty("ties").GetProperty("d").GetSingle(), golden.Json.GetProperty("ties").GetProperty("z").GetInt32(), golden.Json.GetProperty("ties").GetProperty("bits").GetInt32());
        float[] x = golden["in.ties"];
        Assert.That(x.Select(quantizer.Quantize), Is.EqualTo(golden["out.ties.q"].Select(q => (int)q)), "codes of exact halves");
        Assert.That(x.Select(quantizer.Apply), Is.EqualTo(golden["out.ties.xhat"]), "values of exact halves");
    }

    [TestCaseSource(nameof(RangeSearchCases))]
    public void RangeSearchFindsTheFirstLowestError(GoldenCase golden, string name)
    {
        (float[] x, int rows, int bits) = Read(golden, name);
        float[] shrink = golden[$"out.{name}.i"], d = golden[$"out.{name}.d"], z = golden[$"out.{name}.z"], score = golden[$"out.{name}.score"], q = golden[$"out.{name}.q"];
        int mismatches = 0;
        for (int row = 0, depth = x.Length / rows; row < rows; row++)
        {
            RangeSearchResult<AffineQuantizer> found = RangeSearch.Affine(x.AsSpan(row * depth, depth), bits);
            Assert.That(found.Shrink, Is.EqualTo((int)shrink[row]), $"candidate of channel {row}");
            Assert.That(found.Quantizer.Scale, Is.EqualTo(d[row]).Within(golden.Tolerance("d_rel") * d[row]), $"step of channel {row}");
            Assert.That(found.Quantizer.ZeroPoint, Is.EqualTo((int)z[row]), $"zero point of channel {row}");
            Assert.That(found.Score, Is.EqualTo(score[row]).Within(golden.Tolerance("score_rel") * score[row]), $"score of channel {row}");
            for (int i = row * depth; i < (row + 1) * depth; i++) mismatches += found.Quantizer.Quantize(x[i]) == (int)q[i] ? 0 : 1;
        }

        Assert.That(mismatches, Is.LessThanOrEqualTo(golden.Tolerance("codes_max_mismatch_fraction") * x.Length), "codes that differ");
    }

    [TestCaseSource(nameof(SymmetricCases))]
    public void SymmetricCodesFollowFromTheMagnitude(GoldenCase golden, string name)
    {
        string layer = name[..name.IndexOf('.', StringComparison.Ordinal)];
        int bits = int.Parse(name[(layer.Length + ".int".Length)..], System.Globalization.CultureInfo.InvariantCulture);
        int[] shape = golden.Shape($"in.{layer}");
        float[] x = golden[$"in.{layer}"];
        WeightQuantizerOptions options = new(bits, RangeMethod.MinMax, Symmetric: true);
        QuantizedWeight weight = WeightQuantizer.Quantize(x, new TensorShape(shape), options);
        Assert.That(weight.ZeroPoints, Is.Null, "a symmetric weight has no zero points");
        Assert.That(weight.Scales, Is.EqualTo(golden[$"out.{name}.d"]), "steps");
        Assert.That(weight.Codes.Select(c => (float)c), Is.EqualTo(golden[$"out.{name}.q"]), "codes");
        Close.Absolute(WeightQuantizer.Dequantize(weight, new TensorShape(shape), options), golden[$"out.{name}.xhat"], golden.Tolerance("max_abs"), "values");
    }

    [TestCaseSource(nameof(DilationCases))]
    public void DilationStretchesChannelsAndKeepsTheOutput(GoldenCase golden, string layer)
    {
        float[] w = golden[$"in.{layer}.w"], x = golden[$"in.{layer}.x"], expected = golden[$"out.{layer}.s"];
        int[] wShape = golden.Shape($"in.{layer}.w"), xShape = golden.Shape($"in.{layer}.x");
        int taps = wShape.Length == 4 ? wShape[2] * wShape[3] : 1, pixels = NaiveLayers.Pixels(xShape), depth = wShape[1] * taps;
        double relative = golden.Tolerance("max_rel");

        float[] s = WeightDilation.Scales(w, wShape[1], taps);
        for (int k = 0; k < s.Length; k++) Assert.That(s[k], Is.EqualTo(expected[k]).Within(relative * expected[k]), $"factor of input channel {k}");

        float[] dilated = WeightDilation.Dilate(w, s, taps);
        Close.RelativeToMax(dilated, golden[$"out.{layer}.w_dilated"], relative, "dilated weight");
        float[] scaled = [.. x.Select((value, i) => value / s[i / pixels % s.Length])];
        Close.RelativeToMax(scaled, golden[$"out.{layer}.x_scaled"], relative, "scaled input");
        Close.Absolute(NaiveLayers.Forward(scaled, xShape, dilated, wShape), golden[$"out.{layer}.y"], golden.Tolerance("y_max_abs"), "output");
        for (int o = 0; o < wShape[0]; o++)
        {
            ValueRange range = ValueRange.Of(dilated.AsSpan(o * depth, depth));
            float max = golden[$"out.{layer}.wmax"][o], min = golden[$"out.{layer}.wmin"][o];
            Assert.That(range.Max, Is.EqualTo(max).Within(relative * Math.Abs(max)), $"largest weight of output channel {o}");
            Assert.That(range.Min, Is.EqualTo(min).Within(relative * Math.Abs(min)), $"smallest weight of output channel {o}");
        }
    }

    // "conv.b4.channel": layer, bits, and whether each row of the first dimension has a quantizer of its own.
    private static (float[] X, int Rows, int Bits) Read(GoldenCase golden, string name)
    {
        string[] parts = name.Split('.');
        string tensor = $"in.{parts[0]}";
        return (golden[tensor], parts[2] == "channel" ? golden.Shape(tensor)[0] : 1, int.Parse(parts[1][1..], System.Globalization.CultureInfo.InvariantCulture));
    }
}
