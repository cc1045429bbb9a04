namespace LowBitDiffusion.Imaging;

/// <summary>
/// Draws ASCII text in a built-in 5x7 face: captions of contact sheets, labels of plots. A character takes 6 columns and 8 rows, times the scale.
/// </summary>
public static class TextPainter
{
    /// <summary>Columns from one character to the next at scale 1.</summary>
    public const int Advance = Font5x7.Width + 1;

    /// <summary>Rows from one line to the next at scale 1.</summary>
    public const int LineHeight = Font5x7.Height + 1;

    /// <summary>Columns and rows a text covers.</summary>
    /// <param name="text">The text; a line feed begins a new line.</param>
    /// <param name="scale">Side of a dot, at least 1.</param>
    public static (int Width, int Height) Measure(string text, int scale = 1)
    {
        string[] lines = text.Split('\n');
        int longest = lines.Max(line => line.Length);
        return (longest == 0 ? 0 : (longest * Advance - 1) * scale, (lines.Length * LineHeight - 1) * scale);
    }

    /// <summary>Draws a text; what lies outside the image is cut off, and a character that is not printable ASCII looks like a question mark.</summary>
    /// <param name="image">The image to draw on.</param>
    /// <param name="text">The text; a line feed begins a new line.</param>
    /// <param name="x">Left column.</param>
    /// <param name="y">Top row.</param>
    /// <param name="colour">One value per channel.</param>
    /// <param name="scale">Side of a dot, at least 1.</param>
    /// <exception cref="ArgumentException">The colour has not as many values as the image has channels.</exception>
    public static void Draw(Image image, string text, int x, int y, ReadOnlySpan<byte> colour, int scale = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(scale, 1);
        if (colour.Length != image.Channels)
            throw new ArgumentException($"an image of {image.Channels} channels needs as many values, found {colour.Length}", nameof(colour));
        (int column, int line) = (0, 0);
        foreach (char character in text)
        {
            if (character == '\n')
            {
                (column, line) = (0, line + 1);
                continue;
            }

            DrawCharacter(image, character, x + column * Advance * scale, y + line * LineHeight * scale, colour, scale);
            column++;
        }
    }

    private static void DrawCharacter(Image image, char character, int x, int y, ReadOnlySpan<byte> colour, int scale)
    {
        for (int row = 0; row < Font5x7.Height * scale; row++)
        {
            for (int column = 0; column < Font5x7.Width * scale; column++)
            {
                if ((uint)(x + column) >= (uint)image.Width || (uint)(y + row) >= (uint)image.Height) continue;
                if (Font5x7.IsSet(character, column / scale, row / scale)) colour.CopyTo(image[x + column, y + row]);
            }
        }
    }
}
