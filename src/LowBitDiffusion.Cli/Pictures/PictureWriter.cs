using System.Globalization;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Pictures;

/// <summary>Saves drawn images: one picture of all, or one file each in a folder. Each file carries the record of what it shows.</summary>
internal static class PictureWriter
{
    /// <summary>Pixels between the images of a picture.</summary>
    public const int Gap = 2;

    private const int CaptionGap = 2;
    private const int CaptionHeight = TextPainter.LineHeight + CaptionGap;

    /// <summary>Bytes of the pixels of a picture of all images.</summary>
    public static long Bytes(PictureLayout layout, int width, int height, int channels, int images)
    {
        long columns = Math.Min(layout.Columns, images), rows = (images + columns - 1) / columns;
        long pictureWidth = columns * ((long)width * layout.Scale + layout.Gap) + layout.Gap;
        return pictureWidth * (rows * ((long)height * layout.Scale + layout.Gap + (layout.Captions ? CaptionHeight : 0)) + layout.Gap) * channels;
    }

    /// <summary>Writes one picture of all images.</summary>
    /// <returns>The file.</returns>
    public static string WriteGrid(string path, IReadOnlyList<GeneratedImage> images, PictureRecord record, ModelDescription model)
    {
        PictureLayout layout = record.Layout;
        bool captions = layout.Captions && record.Labels.Count > 0;
        int caption = captions ? CaptionHeight : 0;
        Image sheet = ImageGrid.Compose([.. images.Select(i => i.Image)], layout.Columns, layout.Gap, layout.Scale, caption: caption);
        for (int i = 0; captions && i < images.Count; i++)
        {
            Image image = images[i].Image;
            (int x, int y) = ImageGrid.Position(i, layout.Columns, image, layout.Gap, layout.Scale, caption);
            string name = LabelParser.Name(record.Labels[i], model);
            string text = name[..Math.Min(name.Length, image.Width * layout.Scale / TextPainter.Advance)];
            TextPainter.Draw(sheet, text, x, y + image.Height * layout.Scale + CaptionGap, Ink(sheet.Channels));
        }

        PngWriter.Save(path, sheet, record.ToTexts());
        return path;
    }

    /// <summary>Writes each image to a file of its own.</summary>
    /// <returns>The files, in the images' order.</returns>
    public static IReadOnlyList<string> WriteSingles(string folder, IReadOnlyList<GeneratedImage> images, PictureRecord record, ModelDescription model)
    {
        List<string> files = [];
        foreach (GeneratedImage image in images)
        {
            string label = image.Label is { } number ? $"-{FileName(LabelParser.Name(number, model))}" : "";
            string file = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{files.Count:0000}{label}-{image.Seed}.png"));
            PictureRecord own = record with { Labels = image.Label is { } one ? [one] : [], Prompts = image.Prompt is { } prompt ? [prompt] : [], Seeds = [image.Seed], Layout = record.Layout with { Columns = 1, Gap = 0, Captions = false } };
            files.Add(WriteGrid(file, [image], own, model));
        }

        return files;
    }

    private static ReadOnlySpan<byte> Ink(int channels) => channels == 4 ? [0, 0, 0, byte.MaxValue] : new byte[channels];

    private static string FileName(string label) => string.Concat(label.Select(c => char.IsAsciiLetterOrDigit(c) ? char.ToLowerInvariant(c) : '-'));
}
