using LowBitDiffusion.Kernels.Gradients;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Gradients;

/// <summary>A layer and its two gradients against plain sums, over shapes that meet every edge of the tiling.</summary>
internal sealed class LayerGradientTests
{
    private static readonly LayerShape[] Shapes =
    [
        LayerShape.Linear(1, 1, 1),
        LayerShape.Linear(7, 16, 33),
        LayerShape.Linear(300, 100, 5),
        LayerShape.Linear(129, 192, 40),
        new(2, 9, 11, 35, 37, 3, 1, 1, 1, 1, 1),
        new(3, 8, 8, 32, 64, 3, 1, 1, 1, 1, 1),
        new(1, 16, 17, 3, 8, 3, 2, 1, 1, 1, 1),
        new(2, 8, 6, 5, 9, 3, 2, 0, 0, 1, 1),
        new(2, 8, 8, 4, 6, 2, 2, 0, 0, 0, 0),
        new(1, 7, 7, 2, 3, 2, 2, 0, 0, 0, 0),
        new(2, 5, 6, 1, 17, 3, 1, 1, 1, 1, 1),
        new(1, 6, 5, 4, 1, 5, 1, 2, 2, 2, 2),
        new(1, 6, 5, 4, 3, 1, 1, 1, 0, 0, 2),
    ];

    [TestCaseSource(nameof(Shapes))]
    public void Forward_and_both_gradients_are_the_sums(LayerShape shape)
    {
        using WorkerPool pool = new(2);
        (float[] x, float[] w, float[] dy, float[] bias) = (Random(shape.InElements, 1), Random(shape.Weights, 2), Random(shape.OutElements, 3), Random(shape.OutChannels, 4));
        float[] y = new float[dy.Length], dx = new float[x.Length], dw = new float[w.Length];
        LayerGradients.Forward(pool, shape, x, w, bias, y);
        LayerGradients.Input(pool, shape, dy, w, dx);
        LayerGradients.Weight(pool, shape, x, dy, dw);

        double[] expectedY = new double[y.Length], expectedX = new double[x.Length], expectedW = new double[w.Length];
        for (int i = 0; i < y.Length; i++) expectedY[i] = bias[i % shape.OutChannels];
        Products(shape, (xi, wi, yi) =>
        {
            expectedY[yi] += (double)x[xi] * w[wi];
            expectedX[xi] += (double)dy[yi] * w[wi];
            expectedW[wi] += (double)dy[yi] * x[xi];
        });
        Assert.That(y, Is.EqualTo(expectedY).Within(1e-4), "output");
        Assert.That(dx, Is.EqualTo(expectedX).Within(1e-4), "gradient of the input");
        Assert.That(dw, Is.EqualTo(expectedW).Within(2e-4), "gradient of the weight");
    }

    [TestCaseSource(nameof(Shapes))]
    public void Threads_change_no_bit(LayerShape shape)
    {
        (float[] x, float[] w, float[] dy) = (Random(shape.InElements, 1), Random(shape.Weights, 2), Random(shape.OutElements, 3));
        float[][] Run(int threads)
        {
            using WorkerPool pool = new(threads);
            float[] y = new float[dy.Length], dx = new float[x.Length], dw = new float[w.Length];
            LayerGradients.Forward(pool, shape, x, w, default, y);
            LayerGradients.Input(pool, shape, dy, w, dx);
            LayerGradients.Weight(pool, shape, x, dy, dw);
            return [y, dx, dw];
        }

        float[][] one = Run(1);
        foreach (int threads in new[] { 2, 5 }) Assert.That(Run(threads), Is.EqualTo(one), $"{threads} threads");
    }

    [Test]
    public void Lengths_that_do_not_fit_are_refused()
    {
        using WorkerPool pool = new(1);
        LayerShape shape = LayerShape.Linear(2, 3, 4);
        Assert.That(() => LayerGradients.Forward(pool, shape, new float[5], new float[12], default, new float[8]), Throws.ArgumentException.With.Message.Contains("expected 6 elements, found 5"));
        Assert.That(() => LayerGradients.Input(pool, shape, new float[8], new float[11], new float[6]), Throws.ArgumentException.With.Message.Contains("expected 12 elements, found 11"));
        Assert.That(() => LayerGradients.Weight(pool, shape, new float[6], new float[8], new float[13]), Throws.ArgumentException.With.Message.Contains("expected 12 elements, found 13"));
    }

    /// <summary>Every product of the layer: index of x, of w, and of the y it is added to.</summary>
    private static void Products(LayerShape s, Action<int, int, int> product)
    {
        for (int n = 0; n < s.Batch; n++)
            for (int i = 0; i < s.OutHeight; i++)
                for (int j = 0; j < s.OutWidth; j++)
                    for (int r = 0; r < s.Kernel; r++)
                        for (int q = 0; q < s.Kernel; q++)
                        {
                            int row = i * s.Stride + r - s.PadTop, column = j * s.Stride + q - s.PadLeft;
                            if (row < 0 || row >= s.Height || column < 0 || column >= s.Width) continue;
                            for (int o = 0; o < s.OutChannels; o++)
                                for (int c = 0; c < s.InChannels; c++)
                                {
                                    product(
                                        ((n * s.Height + row) * s.Width + column) * s.InChannels + c,
                                        ((o * s.InChannels + c) * s.Kernel + r) * s.Kernel + q,
                                        ((n * s.OutHeight + i) * s.OutWidth + j) * s.OutChannels + o);
                                }
                        }
    }

    private static float[] Random(long count, int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, (int)count).Select(_ => (float)(random.NextDouble() * 2 - 1))];
    }
}
