namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Where output pixels read.</summary>
internal static unsafe class PixelRows
{
    /// <summary>First input element of consecutive output pixels. Divisions are made for the first one alone: for small layers they would take as long as the products.</summary>
    /// <param name="geometry">Shapes.</param>
    /// <param name="input">Padded image.</param>
    /// <param name="first">First output pixel, counted over the batch.</param>
    /// <param name="count">How many.</param>
    /// <param name="pixels">Filled.</param>
    public static void Locate(in ConvGeometry geometry, float* input, int first, int count, float** pixels)
    {
        int width = geometry.OutWidth, height = geometry.OutHeight, x = first % width, y = first / width % height, image = first / (width * height);
        nint step = (nint)geometry.Stride * geometry.Channels, line = (nint)geometry.Stride * geometry.Width * geometry.Channels;
        for (int m = 0; m < count;)
        {
            float* pixel = input + (nint)image * geometry.Height * geometry.Width * geometry.Channels + y * line + x * step;
            for (int end = Math.Min(count, m + width - x); m < end; m++, pixel += step) pixels[m] = pixel;
            x = 0;
            if (++y < height) continue;
            y = 0;
            image++;
        }
    }
}
