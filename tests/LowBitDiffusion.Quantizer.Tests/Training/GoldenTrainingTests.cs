using System.Text.Json;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Tests.Training;

/// <summary>Losses, gradients and parameter updates are those of the reference computations.</summary>
[TestFixture]
internal sealed class GoldenTrainingTests
{
    private static IEnumerable<TestCaseData> AdaRoundCases() => Cases("adaround", "layers");

    private static IEnumerable<TestCaseData> LearnedStepCases() => Cases("learned_step", "cases");

    private static IEnumerable<TestCaseData> LowRankCases() => Cases("lora_merged", "cases");

    private static IEnumerable<TestCaseData> OptimizerCases() => Cases("optimizers", "cases");

    private static IEnumerable<TestCaseData> Cases(string method, string key) =>
        from golden in Golden.Quantizers(method)
        from name in golden.Names(key)
        select new TestCaseData(golden, name).SetArgDisplayNames(golden.Name, name);

    [TestCaseSource(nameof(AdaRoundCases))]
    public void AdaRoundLearnsTheRounding(GoldenCase golden, string layer)
    {
        JsonElement settings = golden.Json.GetProperty("layers").GetProperty(layer);
        double beta = settings.GetProperty("beta").GetDouble(), absolute = golden.Tolerance("max_abs"), relative = golden.Tolerance("grad_rel_to_max");
        float[] w = golden[$"in.{layer}.w"], x = golden[$"in.{layer}.x"], alpha = golden[$"in.{layer}.alpha"];
        int[] wShape = golden.Shape($"in.{layer}.w"), xShape = golden.Shape($"in.{layer}.x");
        AdaRound rounding = new(w, golden[$"in.{layer}.d"], Array.ConvertAll(golden[$"in.{layer}.z"], z => (int)z), settings.GetProperty("bits").GetInt32());

        Close.RelativeToMax(rounding.InitialAlpha(), golden[$"out.{layer}.alpha_init"], absolute, "initial alpha");
        Close.Absolute(Array.ConvertAll(alpha, a => (float)AdaRound.Soft(a)), golden[$"out.{layer}.h"], absolute, "soft rounding");
        float[] soft = rounding.SoftWeight(alpha);
        Close.Absolute(soft, golden[$"out.{layer}.w_soft"], absolute, "soft weight");
        Assert.That(rounding.HardCodes(alpha).Select(c => (float)c), Is.EqualTo(golden[$"out.{layer}.hard_codes"]), "hard codes");
        Close.Absolute(rounding.HardWeight(alpha), golden[$"out.{layer}.w_hard"], absolute, "hard weight");

        float[] output = NaiveLayers.Forward(x, xShape, soft, wShape), target = NaiveLayers.Forward(x, xShape, w, wShape);
        Close.Absolute(output, golden[$"out.{layer}.y_q"], absolute, "output of the soft weight");
        Close.Absolute(target, golden[$"out.{layer}.y_fp"], absolute, "output of the float weight");
        // The loss takes channels last or first alike: it only counts positions.
        (double reconstruction, float[] outputGradient) = AdaRound.Reconstruction(output, target, wShape[0]);
        double regulariser = AdaRound.Regulariser(alpha, beta);
        Assert.That(reconstruction, Is.EqualTo(settings.GetProperty("reconstruction").GetDouble()).Within(absolute), "reconstruction loss");
        Assert.That(regulariser, Is.EqualTo(settings.GetProperty("regulariser").GetDouble()).Within(1e-6).Percent, "regulariser");
        Assert.That(reconstruction + 0.01 * regulariser, Is.EqualTo(settings.GetProperty("loss").GetDouble()).Within(absolute), "loss");

        float[] gradient = rounding.Backward(alpha, NaiveLayers.Backward(x, xShape, soft, wShape, outputGradient).W);
        AdaRound.AddRegulariserGradient(alpha, beta, 0.01, gradient);
        Close.RelativeToMax(gradient, golden[$"out.{layer}.grad_alpha"], relative, "gradient of alpha");
    }

    [TestCaseSource(nameof(LearnedStepCases))]
    public void StepsAndZeroPointsAreLearned(GoldenCase golden, string name)
    {
        int bits = golden.Json.GetProperty("cases").GetProperty(name).GetProperty("bits").GetInt32();
        float[] x = golden[$"in.{name}.x"], d = golden[$"in.{name}.d"], z = golden[$"in.{name}.z"];
        Close.Absolute(LearnedStep.Forward(x, d, z, bits), golden[$"out.{name}.xhat"], golden.Tolerance("max_abs"), "values");
        LearnedStepGradients gradients = LearnedStep.Backward(x, d, z, bits, golden[$"in.{name}.dout"]);
        double relative = golden.Tolerance("grad_rel_to_max");
        Close.RelativeToMax(gradients.Input, golden[$"out.{name}.grad_x"], relative, "gradient of the values");
        Close.RelativeToMax(gradients.Scales, golden[$"out.{name}.grad_d"], relative, "gradient of the steps");
        Close.RelativeToMax(gradients.ZeroPoints, golden[$"out.{name}.grad_z"], relative, "gradient of the zero points");
    }

    [TestCaseSource(nameof(LowRankCases))]
    public void AdaptersAreMergedBeforeQuantization(GoldenCase golden, string layer)
    {
        JsonElement settings = golden.Json.GetProperty("cases").GetProperty(layer);
        int bits = settings.GetProperty("bits").GetInt32(), rank = settings.GetProperty("rank").GetInt32();
        double absolute = golden.Tolerance("max_abs"), relative = golden.Tolerance("grad_rel_to_max");
        float[] a = golden[$"in.{layer}.A"], b = golden[$"in.{layer}.B"], d = golden[$"in.{layer}.d"], z = golden[$"in.{layer}.z"], x = golden[$"in.{layer}.x"];
        int[] wShape = golden.Shape($"in.{layer}.w0"), xShape = golden.Shape($"in.{layer}.x");

        float[] delta = LowRankAdapter.Delta(a, b, rank);
        Close.Absolute(delta, golden[$"out.{layer}.delta"], absolute, "B A");
        float[] merged = [.. golden[$"in.{layer}.w0"].Zip(delta, (w, change) => w + change)];
        float[] quantized = LearnedStep.Forward(merged, d, z, bits);
        Close.Absolute(quantized, golden[$"out.{layer}.wq"], absolute, "quantized weight");
        Close.Absolute(NaiveLayers.Forward(x, xShape, quantized, wShape), golden[$"out.{layer}.y"], absolute, "output");

        (float[] gradientX, float[] gradientW) = NaiveLayers.Backward(x, xShape, quantized, wShape, golden[$"in.{layer}.dout"]);
        LearnedStepGradients gradients = LearnedStep.Backward(merged, d, z, bits, gradientW);
        (float[] gradientA, float[] gradientB) = LowRankAdapter.Backward(a, b, rank, gradients.Input);
        Close.RelativeToMax(gradientX, golden[$"out.{layer}.grad_x"], relative, "gradient of the input");
        Close.RelativeToMax(gradients.Scales, golden[$"out.{layer}.grad_d"], relative, "gradient of the steps");
        Close.RelativeToMax(gradientA, golden[$"out.{layer}.grad_A"], relative, "gradient of A");
        Close.RelativeToMax(gradientB, golden[$"out.{layer}.grad_B"], relative, "gradient of B");
    }

    [TestCaseSource(nameof(OptimizerCases))]
    public void OptimizersFollowTorchStepByStep(GoldenCase golden, string name)
    {
        JsonElement settings = golden.Json.GetProperty("cases").GetProperty(name);
        double[] rates = [.. settings.GetProperty("lr_per_step").EnumerateArray().Select(r => r.GetDouble())];
        AdamOptions options = new(
            settings.GetProperty("betas")[0].GetDouble(), settings.GetProperty("betas")[1].GetDouble(), settings.GetProperty("eps").GetDouble(),
            settings.GetProperty("weight_decay").GetDouble(), Decoupled: name.StartsWith("adamw", StringComparison.Ordinal));
        float[] parameter = golden["in.p0"], gradients = golden["in.grads"], expected = golden[$"out.{name}.p"];
        double tolerance = golden.Tolerance("max_abs");
        Adam adam = new(parameter.Length, options);
        for (int step = 0, n = parameter.Length; step < rates.Length; step++)
        {
            if (name.EndsWith("cosine", StringComparison.Ordinal))
                Assert.That(Schedules.Cosine(settings.GetProperty("lr").GetDouble(), step, rates.Length), Is.EqualTo(rates[step]).Within(1e-12), $"rate of step {step}");
            adam.Step(parameter, gradients.AsSpan(step * n, n), rates[step]);
            Close.Absolute(parameter, expected.AsSpan(step * n, n), tolerance, $"parameter after step {step + 1}");
        }

        Close.Absolute(adam.FirstMoment, golden[$"out.{name}.exp_avg"], tolerance, "first moment");
        Close.Absolute(adam.SecondMoment, golden[$"out.{name}.exp_avg_sq"], tolerance, "second moment");
    }

    [TestCase(0, null)]
    [TestCase(19, null)]
    [TestCase(20, 20.0)]
    [TestCase(60, 11.0)]
    [TestCase(100, 2.0)]
    public void RegulariserStartsAfterTheWarmUp(int step, double? expected) =>
        Assert.That(Schedules.AdaRoundBeta(step, 100), expected is null ? Is.Null : Is.EqualTo(expected).Within(1e-12));

    [TestCase(0, 1.0)]
    [TestCase(25, 0.75)]
    [TestCase(100, 0.0)]
    public void LinearScheduleEndsAtZero(int step, double expected) => Assert.That(Schedules.Linear(1, step, 100), Is.EqualTo(expected).Within(1e-12));
}
