namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>
/// A linear layer (rank 2) or a 3x3 convolution with padding 1 (rank 4) without bias as plain sums in double precision, and their gradients: what the golden cases were computed with.
/// </summary>
internal static class NaiveLayers
{
    public static float[] Forward(float[] x, int[] xShape, float[] w, int[] wShape)
    {
        double[] y = new double[xShape[0] * wShape[0] * Pixels(xShape)];
        Visit(xShape, wShape, (xi, wi, yi) => y[yi] += (double)x[xi] * w[wi]);
        return Array.ConvertAll(y, v => (float)v);
    }

    public static (float[] X, float[] W) Backward(float[] x, int[] xShape, float[] w, int[] wShape, float[] dy)
    {
        double[] dx = new double[x.Length], dw = new double[w.Length];
        Visit(xShape, wShape, (xi, wi, yi) =>
        {
            dx[xi] += (double)dy[yi] * w[wi];
            dw[wi] += (double)dy[yi] * x[xi];
        });
        return (Array.ConvertAll(dx, v => (float)v), Array.ConvertAll(dw, v => (float)v));
    }

    public static int Pixels(int[] xShape) => xShape.Length == 4 ? xShape[2] * xShape[3] : 1;

    // Every product of the layer: index of x, of w, and of the y it is added to.
    private static void Visit(int[] xShape, int[] wShape, Action<int, int, int> product)
    {
        bool image = xShape.Length == 4;
        int channels = xShape[1], height = image ? xShape[2] : 1, width = image ? xShape[3] : 1, kernel = image ? wShape[2] : 1;
        for (int flat = 0; flat < xShape[0] * wShape[0] * height * width; flat++)
        {
            int j = flat % width, i = flat / width % height, o = flat / width / height % wShape[0], n = flat / width / height / wShape[0];
            for (int tap = 0; tap < channels * kernel * kernel; tap++)
            {
                int q = tap % kernel, p = tap / kernel % kernel, c = tap / kernel / kernel, r = i + p - kernel / 2, s = j + q - kernel / 2;
                if (r >= 0 && s >= 0 && r < height && s < width) product(((n * channels + c) * height + r) * width + s, o * channels * kernel * kernel + tap, flat);
            }
        }
    }
}
