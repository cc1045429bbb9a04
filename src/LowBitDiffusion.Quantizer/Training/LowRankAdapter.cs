namespace LowBitDiffusion.Quantizer.Training;

/// <summary>
/// A low-rank adapter that is merged into the weight before quantization (QALoRA of EfficientDM): <c>W = Q(W₀ + B·A)</c>, so that nothing of it is left when the network runs.
/// For a convolution A is a kernel <c>[r, in, kh, kw]</c> and B a 1×1 kernel <c>[out, r]</c>; row-major this is the same product, <c>[out, r]·[r, K]</c>.
/// </summary>
public static class LowRankAdapter
{
    /// <summary>The weight's change <c>B·A</c>, <c>[out, K]</c>.</summary>
    /// <param name="a">A, <c>[rank, K]</c>.</param>
    /// <param name="b">B, <c>[out, rank]</c>.</param>
    /// <param name="rank">Inner dimension.</param>
    /// <exception cref="ArgumentException">A or B do not divide by the rank.</exception>
    public static float[] Delta(ReadOnlySpan<float> a, ReadOnlySpan<float> b, int rank)
    {
        (int outputs, int depth) = Dimensions(a, b, rank);
        float[] delta = new float[outputs * depth];
        double[] row = new double[depth];
        for (int o = 0; o < outputs; o++)
        {
            Array.Clear(row);
            for (int r = 0; r < rank; r++)
            {
                for (int k = 0; k < depth; k++) row[k] += (double)b[o * rank + r] * a[r * depth + k];
            }

            for (int k = 0; k < depth; k++) delta[o * depth + k] = (float)row[k];
        }

        return delta;
    }

    /// <summary>Gradients of A and B for the gradient of the merged weight (that is, what <see cref="LearnedStep.Backward"/> returns for its input).</summary>
    /// <param name="a">A, <c>[rank, K]</c>.</param>
    /// <param name="b">B, <c>[out, rank]</c>.</param>
    /// <param name="rank">Inner dimension.</param>
    /// <param name="upstream">Gradient of <c>W₀ + B·A</c>, <c>[out, K]</c>.</param>
    /// <exception cref="ArgumentException">A, B or the gradient do not fit each other.</exception>
    public static (float[] A, float[] B) Backward(ReadOnlySpan<float> a, ReadOnlySpan<float> b, int rank, ReadOnlySpan<float> upstream)
    {
        (int outputs, int depth) = Dimensions(a, b, rank);
        if (upstream.Length != outputs * depth) throw new ArgumentException($"a weight of {outputs} x {depth} needs a gradient of its size, found {upstream.Length}");
        double[] gradientA = new double[a.Length];
        float[] gradientB = new float[b.Length];
        for (int o = 0; o < outputs; o++)
        {
            for (int r = 0; r < rank; r++)
            {
                double factor = b[o * rank + r], sum = 0;
                for (int k = 0; k < depth; k++)
                {
                    double g = upstream[o * depth + k];
                    gradientA[r * depth + k] += factor * g;
                    sum += g * a[r * depth + k];
                }

                gradientB[o * rank + r] = (float)sum;
            }
        }

        return (Array.ConvertAll(gradientA, g => (float)g), gradientB);
    }

    private static (int Outputs, int Depth) Dimensions(ReadOnlySpan<float> a, ReadOnlySpan<float> b, int rank)
    {
        if (rank < 1 || a.IsEmpty || b.IsEmpty || a.Length % rank != 0 || b.Length % rank != 0) throw new ArgumentException($"factors of {a.Length} and {b.Length} elements do not have rank {rank}");
        return (b.Length / rank, a.Length / rank);
    }
}
