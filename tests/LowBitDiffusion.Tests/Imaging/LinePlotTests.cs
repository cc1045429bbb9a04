using System.Xml.Linq;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Imaging.Plotting;

namespace LowBitDiffusion.Tests.Imaging;

/// <summary>Plots: ticks, lines at the right place, gaps, legends, both kinds of output.</summary>
public sealed class LinePlotTests
{
    private static readonly double[] s_x = [.. Enumerable.Range(1, 20).Select(i => (double)i)];

    private static IEnumerable<TestCaseData> Axes()
    {
        yield return new TestCaseData(PlotAxis.Rounded([0.3, 9.7], 10), new[] { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" }).SetArgDisplayNames("whole numbers");
        yield return new TestCaseData(PlotAxis.Rounded([-0.31, 0.12], 5), new[] { "-0.4", "-0.3", "-0.2", "-0.1", "0", "0.1", "0.2" }).SetArgDisplayNames("around zero");
        yield return new TestCaseData(PlotAxis.Rounded([21.04, 21.09], 5), new[] { "21.04", "21.05", "21.06", "21.07", "21.08", "21.09" }).SetArgDisplayNames("narrow range");
        yield return new TestCaseData(PlotAxis.Exact([1, 20], 5), new[] { "5", "10", "15", "20" }).SetArgDisplayNames("exact range");
        yield return new TestCaseData(PlotAxis.Rounded([0, 2e7], 4), new[] { "0", "5e6", "1e7", "1.5e7", "2e7" }).SetArgDisplayNames("large");
        yield return new TestCaseData(PlotAxis.Rounded([3, 3], 3), new[] { "1", "2", "3", "4", "5" }).SetArgDisplayNames("one value");
        yield return new TestCaseData(PlotAxis.Rounded([double.NaN, double.PositiveInfinity], 2), new[] { "0", "0.5", "1.0" }).SetArgDisplayNames("no value");
        yield return new TestCaseData(PlotAxis.Logarithmic([0.03, 4], 10), new[] { "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5" }).SetArgDisplayNames("two decades");
        yield return new TestCaseData(PlotAxis.Logarithmic([2e-6, 4, 0, -1], 10), new[] { "1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1", "1", "10" }).SetArgDisplayNames("many decades");
        yield return new TestCaseData(PlotAxis.Logarithmic([1e-9, 1], 5), new[] { "1e-9", "1e-7", "1e-5", "0.001", "0.1" }).SetArgDisplayNames("every other decade");
    }

    [TestCaseSource(nameof(Axes))]
    public void Ticks(object axis, string[] labels) => Assert.That(((PlotAxis)axis).Ticks.Select(tick => tick.Label), Is.EqualTo(labels));

    [Test]
    public void AnAxisHoldsItsValues([Values] bool logarithmic, [Values(1e-7, 0.013, 1, 812)] double minimum, [Values(1.0001, 3, 77, 1e9)] double ratio)
    {
        double[] values = [minimum, minimum * ratio];
        PlotAxis axis = logarithmic ? PlotAxis.Logarithmic(values, 8) : PlotAxis.Rounded(values, 8);
        Assert.That(values.Select(axis.Position), Is.All.InRange(-1e-9, 1 + 1e-9), $"{axis.Minimum} … {axis.Maximum}");
        Assert.That(axis.Ticks, Has.Count.InRange(1, 11));
        Assert.That(axis.Ticks.Select(tick => tick.Label).Distinct().Count(), Is.EqualTo(axis.Ticks.Count), string.Join(' ', axis.Ticks.Select(tick => tick.Label)));
    }

    [Test]
    public void SvgIsADocumentWithAllNames()
    {
        LinePlot plot = Plot([.. Enumerable.Range(0, 30).Select(i => new PlotSeries($"w{i} <&> Größe", s_x, [.. s_x.Select(x => x * i)]))]);
        XElement svg = XDocument.Parse(plot.ToSvg()).Root!;
        XNamespace name = "http://www.w3.org/2000/svg";
        string[] texts = [.. svg.Elements(name + "text").Select(text => text.Value)];
        Assert.Multiple(() =>
        {
            Assert.That(texts, Does.Contain("a title").And.Contain("step").And.Contain("error in dB").And.Contain("w29 <&> Größe"));
            Assert.That(svg.Elements(name + "text").Max(text => (double)text.Attribute("y")!), Is.LessThan((double)svg.Attribute("height")!), "the legend fits");
            Assert.That(svg.Elements(name + "polyline").Select(line => ((string?)line.Attribute("stroke"), (string?)line.Attribute("stroke-dasharray"))).Distinct().Count(), Is.GreaterThanOrEqualTo(30), "lines differ");
        });
    }

    [Test]
    public void APixelLineGoesWhereTheSvgLineGoes()
    {
        LinePlot plot = Plot([new PlotSeries("line", s_x, [.. s_x.Select(x => 3 + x % 4)])]);
        Image image = plot.ToImage();
        PlotLayout layout = new(plot, ImageCanvas.Metrics);
        Recorder recorder = new();
        layout.Draw(recorder);
        foreach ((double x, double y) in recorder.Curves.Single())
            Assert.That(image[(int)x, (int)y].ToArray(), Is.All.LessThan(160), $"a dark pixel at {x}, {y}");
    }

    [Test]
    public void LinesAreInterrupted()
    {
        Recorder recorder = new();
        PlotSeries series = new("gaps", [1, 2, 3, 4, 5, 6, 7], [1, 2, double.NaN, 3, 0, 4, 5]);
        new PlotLayout(Plot([series]) with { LogarithmicY = true }, ImageCanvas.Metrics).Draw(recorder);
        Assert.That(recorder.Curves.Select(curve => curve.Length), Is.EqualTo([2, 1, 2]), "what is not a number and what has no logarithm interrupts the line");
    }

    [Test]
    public void StepsHoldTheirValue()
    {
        Recorder recorder = new();
        new PlotLayout(Plot([new PlotSeries("steps", [0, 1, 2], [1, 3, 2], Steps: true)]), ImageCanvas.Metrics).Draw(recorder);
        (double X, double Y)[] line = recorder.Curves.Single();
        Assert.That(line, Has.Length.EqualTo(5));
        for (int i = 1; i < line.Length; i++) Assert.That(line[i].X == line[i - 1].X || line[i].Y == line[i - 1].Y, $"piece {i} is horizontal or vertical");
    }

    [Test]
    public void NothingToShowIsAnEmptyPlot() => Assert.That(Plot([]).ToImage().Pixels, Has.Some.LessThan(255));

    [Test]
    public void PointsWithoutValuesAreRefused() => Assert.That(() => Plot([new PlotSeries("x", [1, 2], [1])]).ToImage(), Throws.ArgumentException.With.Message.Contains("'x' has 2 points and 1 values"));

    private static LinePlot Plot(PlotSeries[] series) => new() { Title = "a title", XLabel = "step", YLabel = "error in dB", Series = series };

    private sealed class Recorder : IPlotCanvas
    {
        public List<(double X, double Y)[]> Curves { get; } = [];

        // Axes are thinner, and the legend's key is as wide as no curve.
        public void Line(ReadOnlySpan<(double X, double Y)> points, PlotColour colour, double width, (double On, double Off)? dash = null)
        {
            if (width == PlotLayout.LineWidth && points[^1].X - points[0].X != PlotLayout.Key) Curves.Add(points.ToArray());
        }

        public void Text(string text, double x, double middle, PlotColour colour, TextAnchor anchor = TextAnchor.Left)
        {
        }
    }
}
