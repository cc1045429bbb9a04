namespace LowBitDiffusion.Imaging;

/// <summary>An 8-bit image: grey (1 channel), RGB (3) or RGBA (4), row-major with interleaved channels <c>[height, width, channels]</c>.</summary>
public sealed class Image
{
    /// <summary>Creates a black image (transparent, if it has an alpha channel).</summary>
    /// <param name="width">Columns, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="channels">1, 3 or 4.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is not positive, the channels are none of 1, 3, 4, or the image has 2^31 bytes or more.</exception>
    public Image(int width, int height, int channels) : this(width, height, channels, new byte[CheckedLength(width, height, channels)])
    {
    }

    /// <summary>Wraps pixels without copying them.</summary>
    /// <param name="width">Columns, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="channels">1, 3 or 4.</param>
    /// <param name="pixels"><c>[height, width, channels]</c>.</param>
    /// <exception cref="ArgumentException">The number of bytes is not that of the size.</exception>
    /// <exception cref="ArgumentOutOfRangeException">As for the other constructor.</exception>
    public Image(int width, int height, int channels, byte[] pixels)
    {
        int length = CheckedLength(width, height, channels);
        if (pixels.Length != length)
            throw new ArgumentException($"{width}x{height} with {channels} channels needs {length} bytes, found {pixels.Length}", nameof(pixels));
        (Width, Height, Channels, Pixels) = (width, height, channels, pixels);
    }

    /// <summary>Columns.</summary>
    public int Width { get; }

    /// <summary>Rows.</summary>
    public int Height { get; }

    /// <summary>1 grey, 3 RGB, 4 RGBA.</summary>
    public int Channels { get; }

    /// <summary><c>[height, width, channels]</c>.</summary>
    public byte[] Pixels { get; }

    /// <summary>The bytes of one pixel.</summary>
    /// <param name="x">Column from the left.</param>
    /// <param name="y">Row from the top.</param>
    public Span<byte> this[int x, int y]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)x, (uint)Width, nameof(x));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)y, (uint)Height, nameof(y));
            return Pixels.AsSpan((y * Width + x) * Channels, Channels);
        }
    }

    /// <summary>
    /// An image from a decoded sample in [−1, 1], as diffusers postprocesses it:
    /// <code>
    /// byte = round_half_even(255 · clamp(x / 2 + 1/2, 0, 1))
    /// </code>
    /// What is not a number becomes 0.
    /// </summary>
    /// <param name="sample"><c>[channels, height, width]</c>.</param>
    /// <param name="channels">1, 3 or 4.</param>
    /// <param name="height">Rows.</param>
    /// <param name="width">Columns.</param>
    /// <exception cref="ArgumentException">The sample's length is not that of the size.</exception>
    public static Image FromSample(ReadOnlySpan<float> sample, int channels, int height, int width)
    {
        var image = new Image(width, height, channels);
        if (sample.Length != image.Pixels.Length)
            throw new ArgumentException($"[{channels}, {height}, {width}] has {image.Pixels.Length} values, found {sample.Length}", nameof(sample));
        int plane = width * height;
        for (int c = 0; c < channels; c++)
        {
            for (int i = 0; i < plane; i++) image.Pixels[i * channels + c] = Kernels.Elementwise.Pixels.Of(sample[c * plane + i]);
        }

        return image;
    }

    /// <summary>The images of a batch, as <see cref="FromSample"/>.</summary>
    /// <param name="batch"><c>[N, channels, height, width]</c>.</param>
    /// <param name="channels">1, 3 or 4.</param>
    /// <param name="height">Rows.</param>
    /// <param name="width">Columns.</param>
    /// <exception cref="ArgumentException">The length is not a multiple of an image's.</exception>
    public static Image[] FromBatch(ReadOnlySpan<float> batch, int channels, int height, int width)
    {
        int length = CheckedLength(width, height, channels);
        if (batch.Length % length != 0) throw new ArgumentException($"images of {length} values do not divide {batch.Length}", nameof(batch));
        var images = new Image[batch.Length / length];
        for (int i = 0; i < images.Length; i++) images[i] = FromSample(batch.Slice(i * length, length), channels, height, width);
        return images;
    }

    /// <summary>The inverse of <see cref="FromSample"/>: <c>x = byte / 127.5 − 1</c>, as <c>[channels, height, width]</c>.</summary>
    public float[] ToSample()
    {
        int plane = Width * Height;
        float[] sample = new float[Pixels.Length];
        for (int i = 0; i < sample.Length; i++) sample[i % Channels * plane + i / Channels] = Pixels[i] / 127.5f - 1f;
        return sample;
    }

    private static int CheckedLength(int width, int height, int channels)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        if (channels is not (1 or 3 or 4)) throw new ArgumentOutOfRangeException(nameof(channels), channels, "expected 1 (grey), 3 (RGB) or 4 (RGBA)");
        ulong length = (ulong)width * (ulong)height;
        return length <= (ulong)(Array.MaxLength / channels)
            ? (int)length * channels
            : throw new ArgumentOutOfRangeException(nameof(width), $"{width}x{height} with {channels} channels does not fit in one array");
    }
}
