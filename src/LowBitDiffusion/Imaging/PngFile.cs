namespace LowBitDiffusion.Imaging;

/// <summary>A named text inside a PNG, such as the prompt and the seed that made the image.</summary>
/// <param name="Keyword">1 to 79 printable Latin-1 characters, no space at either end and no two spaces in a row.</param>
/// <param name="Text">Any text without NUL.</param>
public sealed record PngText(string Keyword, string Text);

/// <summary>What a PNG holds.</summary>
/// <param name="Image">The pixels.</param>
/// <param name="Texts">The texts, in the order of the file.</param>
public sealed record PngFile(Image Image, IReadOnlyList<PngText> Texts);
