using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>
/// Pictures of the same noise side by side: a column for every seed, a row for every model. What does not fit into a block follows below.
/// <code>
///             t-shirt  trouser  …
/// float          ▢        ▢
/// w8a8           ▢        ▢
/// </code>
/// </summary>
public static class ContactSheet
{
    private const int Columns = 10, Gap = 4, SmallestPicture = 56;

    /// <summary>Composes the sheet. Pictures of few pixels are shown larger.</summary>
    /// <param name="rows">Name and pictures of each model, as many of each.</param>
    /// <param name="captions">What is above each picture; none for no captions.</param>
    /// <exception cref="ArgumentException">There is no picture, or their numbers or sizes differ.</exception>
    public static Image Compose(IReadOnlyList<(string Name, IReadOnlyList<Image> Pictures)> rows, IReadOnlyList<string> captions)
    {
        if (rows.Count == 0 || rows[0].Pictures.Count == 0) throw new ArgumentException("a sheet needs at least one picture", nameof(rows));
        int count = rows[0].Pictures.Count;
        Image first = rows[0].Pictures[0];
        foreach ((string name, IReadOnlyList<Image> pictures) in rows)
        {
            if (pictures.Count != count) throw new ArgumentException($"'{name}' has {pictures.Count} pictures, expected {count}", nameof(rows));
            if (pictures.Any(picture => (picture.Width, picture.Height, picture.Channels) != (first.Width, first.Height, first.Channels))) throw new ArgumentException($"pictures of '{name}' differ in size", nameof(rows));
        }

        int scale = Math.Max(1, SmallestPicture / Math.Min(first.Width, first.Height)), columns = Math.Min(Columns, count), blocks = (count + columns - 1) / columns;
        int width = first.Width * scale + Gap, height = first.Height * scale + Gap;
        string[] above = [.. captions.Select(caption => Fit(caption, width - Gap))];
        int left = 2 * Gap + rows.Max(row => TextPainter.Measure(row.Name).Width), top = above.Length == 0 ? Gap : Gap + above.Max(caption => TextPainter.Measure(caption).Height) + Gap;
        Image sheet = new(left + columns * width, blocks * (top + rows.Count * height), first.Channels);
        sheet.Pixels.AsSpan().Fill(255);
        byte[] black = [.. Enumerable.Range(0, first.Channels).Select(channel => (byte)(channel == 3 ? 255 : 0))];
        for (int i = 0; i < count; i++)
        {
            (int x, int y) = (left + i % columns * width, i / columns * (top + rows.Count * height));
            if (i < above.Length) TextPainter.Draw(sheet, above[i], x, y + Gap, black);
            for (int row = 0; row < rows.Count; row++) ImageGrid.Paste(rows[row].Pictures[i], sheet, x, y + top + row * height, scale);
        }

        for (int i = 0; i < blocks * rows.Count; i++)
        {
            string name = rows[i % rows.Count].Name;
            int y = i / rows.Count * (top + rows.Count * height) + top + i % rows.Count * height;
            TextPainter.Draw(sheet, name, Gap, y + (height - Gap - TextPainter.LineHeight) / 2, black);
        }

        return sheet;
    }

    // Words that do not fit beside each other stand below each other; a word that is too wide is cut.
    private static string Fit(string caption, int width)
    {
        int most = Math.Max(1, (width + 1) / TextPainter.Advance);
        List<string> lines = [];
        foreach (string word in caption.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            string cut = word.Length > most ? word[..most] : word;
            if (lines.Count > 0 && lines[^1].Length + 1 + cut.Length <= most) lines[^1] += $" {cut}";
            else lines.Add(cut);
        }

        return string.Join('\n', lines);
    }
}
