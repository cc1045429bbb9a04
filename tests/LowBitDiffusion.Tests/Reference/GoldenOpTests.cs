using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Verification;

namespace LowBitDiffusion.Tests.Reference;

/// <summary>Every op of the reference executor gives what PyTorch gives.</summary>
public sealed class GoldenOpTests
{
    [TestCaseSource(typeof(GoldenOp), nameof(GoldenOp.Names))]
    public void An_op_is_within_tolerance(string name)
    {
        using GoldenOp op = GoldenOp.Open(name);

        float[] found = ReferenceExecutor.Run(op.Graph, op.Weights, op.Inputs)["out"];

        GoldenComparison comparison = GoldenComparison.Of("out", op.Expected(), found, op.MaxAbs, relL2Tolerance: null);
        Assert.That(comparison.Passed, Is.True, comparison.ToString());
    }
}
