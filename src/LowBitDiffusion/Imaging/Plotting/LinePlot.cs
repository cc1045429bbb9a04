using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>One line of a plot.</summary>
/// <param name="Name">What the legend calls it.</param>
/// <param name="X">Where its points are, ascending.</param>
/// <param name="Y">As many values; the line is interrupted where one is not finite, or not positive on a logarithmic axis.</param>
/// <param name="Steps">Whether a value holds until the next point, instead of a straight line between them.</param>
public sealed record PlotSeries(string Name, IReadOnlyList<double> X, IReadOnlyList<double> Y, bool Steps = false);

/// <summary>Several named lines over one pair of axes, as a picture of pixels or as SVG. In pixels, characters that are not printable ASCII look like a question mark.</summary>
/// <example>
/// <code>
/// new LinePlot { Title = "Loss", XLabel = "iteration", LogarithmicY = true, Series = [new("block 1", x, y)] }.Save("loss");   // loss.png and loss.svg
/// </code>
/// </example>
public sealed record LinePlot
{
    /// <summary>What it shows.</summary>
    public required string Title { get; init; }

    /// <summary>What the horizontal axis shows, with its unit.</summary>
    public string XLabel { get; init; } = "";

    /// <summary>What the vertical axis shows, with its unit.</summary>
    public string YLabel { get; init; } = "";

    /// <summary>Whether the vertical axis is logarithmic.</summary>
    public bool LogarithmicY { get; init; }

    /// <summary>The lines, in the order of the legend.</summary>
    public required IReadOnlyList<PlotSeries> Series { get; init; }

    /// <summary>Columns of the picture, at least 320.</summary>
    public int Width { get; init; } = 1080;

    /// <summary>Rows of the picture, at least 200; more are taken if the legend needs them.</summary>
    public int Height { get; init; } = 600;

    /// <summary>Draws it in pixels, RGB.</summary>
    /// <exception cref="ArgumentException">A series has not as many values as points, or the size is too small.</exception>
    public Image ToImage()
    {
        PlotLayout layout = new(this, ImageCanvas.Metrics);
        ImageCanvas canvas = new(Width, layout.Height);
        layout.Draw(canvas);
        return canvas.Image;
    }

    /// <summary>Draws it as an SVG document.</summary>
    /// <exception cref="ArgumentException">A series has not as many values as points, or the size is too small.</exception>
    public string ToSvg()
    {
        PlotLayout layout = new(this, SvgCanvas.Metrics);
        SvgCanvas canvas = new(Width, layout.Height);
        layout.Draw(canvas);
        return canvas.ToString();
    }

    /// <summary>Writes <c>path.png</c> and <c>path.svg</c>.</summary>
    /// <param name="path">Both files' path without the extension.</param>
    /// <exception cref="ArgumentException">A series has not as many values as points, or the size is too small.</exception>
    /// <exception cref="OutputException">A file cannot be written.</exception>
    public void Save(string path)
    {
        PngWriter.Save($"{path}.png", ToImage());
        OutputFile.WriteAllText($"{path}.svg", ToSvg());
    }
}
