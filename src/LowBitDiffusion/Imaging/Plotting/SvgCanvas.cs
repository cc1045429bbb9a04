using System.Globalization;
using System.Net;
using System.Text;

namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>Draws a plot as SVG, in whatever monospaced face the viewer has.</summary>
internal sealed class SvgCanvas : IPlotCanvas
{
    private const double FontSize = 15;

    private readonly StringBuilder _svg = new();

    public SvgCanvas(int width, int height)
    {
        Append($"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"{FontSize}\">\n");
        Append($"<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n");
    }

    /// <summary>Monospaced faces are about 0.6 of their size wide, their capitals 0.7 high.</summary>
    public static TextMetrics Metrics => new(0.61 * FontSize, 0.7 * FontSize);

    public void Line(ReadOnlySpan<(double X, double Y)> points, PlotColour colour, double width, (double On, double Off)? dash = null)
    {
        if (points.Length == 1)
        {
            Append($"<circle cx=\"{points[0].X:0.##}\" cy=\"{points[0].Y:0.##}\" r=\"{width}\" fill=\"{Name(colour)}\"/>\n");
            return;
        }

        Append($"<polyline fill=\"none\" stroke=\"{Name(colour)}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"");
        if (dash is { } lengths) Append($" stroke-dasharray=\"{lengths.On} {lengths.Off}\"");
        _svg.Append(" points=\"");
        foreach ((double x, double y) in points) Append($"{x:0.##},{y:0.##} ");
        _svg.Append("\"/>\n");
    }

    public void Text(string text, double x, double middle, PlotColour colour, TextAnchor anchor = TextAnchor.Left)
    {
        string place = anchor switch { TextAnchor.Left => "start", TextAnchor.Middle => "middle", _ => "end" };
        Append($"<text x=\"{x:0.##}\" y=\"{middle + Metrics.Height / 2:0.##}\" fill=\"{Name(colour)}\" text-anchor=\"{place}\">{WebUtility.HtmlEncode(text)}</text>\n");
    }

    /// <summary>The whole document.</summary>
    public override string ToString() => $"{_svg}</svg>\n";

    private static string Name(PlotColour colour) => $"#{colour.Red:x2}{colour.Green:x2}{colour.Blue:x2}";

    private void Append(FormattableString text) => _svg.Append(text.ToString(CultureInfo.InvariantCulture));
}
