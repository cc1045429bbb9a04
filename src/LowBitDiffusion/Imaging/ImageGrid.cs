namespace LowBitDiffusion.Imaging;

/// <summary>Arranges images of one size as a contact sheet.</summary>
public static class ImageGrid
{
    /// <summary>Composes images row by row.</summary>
    /// <param name="images">At least one; all of one size and number of channels.</param>
    /// <param name="columns">Images in a row, at least 1; fewer images than columns make a narrower sheet.</param>
    /// <param name="gap">Pixels between images and around them.</param>
    /// <param name="scale">Every pixel becomes a square of this many; at least 1.</param>
    /// <param name="background">The value of every channel between the images.</param>
    /// <param name="caption">Pixels of background left under each image, for a caption.</param>
    /// <exception cref="ArgumentException">There is no image, or sizes differ.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of range, or the sheet is too large.</exception>
    public static Image Compose(IReadOnlyList<Image> images, int columns, int gap = 2, int scale = 1, byte background = 255, int caption = 0)
    {
        if (images.Count == 0) throw new ArgumentException("a grid needs at least one image", nameof(images));
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(gap);
        ArgumentOutOfRangeException.ThrowIfLessThan(scale, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(caption);
        Image first = images[0];
        columns = Math.Min(columns, images.Count);
        int rows = (images.Count + columns - 1) / columns;
        var sheet = new Image(Extent(columns, first.Width, scale, gap, 0), Extent(rows, first.Height, scale, gap, caption), first.Channels);
        sheet.Pixels.AsSpan().Fill(background);
        for (int i = 0; i < images.Count; i++)
        {
            if ((images[i].Width, images[i].Height, images[i].Channels) != (first.Width, first.Height, first.Channels))
                throw new ArgumentException(
                    $"image {i} is {images[i].Width}x{images[i].Height}x{images[i].Channels}, expected {first.Width}x{first.Height}x{first.Channels}",
                    nameof(images));
            (int x, int y) = Position(i, columns, first, gap, scale, caption);
            Paste(images[i], sheet, x, y, scale);
        }

        return sheet;
    }

    /// <summary>Where <see cref="Compose"/> puts the upper left corner of an image.</summary>
    /// <param name="index">Index of the image.</param>
    /// <param name="columns">Images in a row.</param>
    /// <param name="image">Any of the images.</param>
    /// <param name="gap">Pixels between images.</param>
    /// <param name="scale">Side of a pixel.</param>
    /// <param name="caption">Pixels under each image.</param>
    public static (int X, int Y) Position(int index, int columns, Image image, int gap = 2, int scale = 1, int caption = 0) =>
        (gap + index % columns * (image.Width * scale + gap), gap + index / columns * (image.Height * scale + caption + gap));

    /// <summary>Draws an image onto another, each pixel as a square; what lies outside is cut off.</summary>
    /// <param name="source">The image to draw.</param>
    /// <param name="target">The image to draw on, of as many channels.</param>
    /// <param name="x">Column of the upper left corner.</param>
    /// <param name="y">Row of the upper left corner.</param>
    /// <param name="scale">Side of a pixel, at least 1.</param>
    /// <exception cref="ArgumentException">The numbers of channels differ.</exception>
    public static void Paste(Image source, Image target, int x, int y, int scale = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(scale, 1);
        if (source.Channels != target.Channels)
            throw new ArgumentException($"an image of {source.Channels} channels does not fit on one of {target.Channels}", nameof(source));
        long right = Math.Min(target.Width, x + (long)source.Width * scale);
        long bottom = Math.Min(target.Height, y + (long)source.Height * scale);
        for (int row = Math.Max(0, y); row < bottom; row++)
        {
            for (int column = Math.Max(0, x); column < right; column++)
                source[(int)(((long)column - x) / scale), (int)(((long)row - y) / scale)].CopyTo(target[column, row]);
        }
    }

    private static int Extent(int count, int size, int scale, int gap, int extra)
    {
        UInt128 extent = (UInt128)(uint)count * ((UInt128)(uint)size * (uint)scale + (uint)gap + (uint)extra) + (uint)gap;
        return extent <= (UInt128)Array.MaxLength
            ? (int)extent
            : throw new ArgumentOutOfRangeException(nameof(count), $"a sheet of {extent} pixels across is too large");
    }
}
