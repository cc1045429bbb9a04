namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>
/// Where the parts of a plot are. All measures follow from the canvas's text; the legend stands beside the lines, so that it never hides one.
/// <code>
/// title
/// y label
///   1 ┼──────────────  ── name
///     │    lines       -- name
///   0 ┼──────────────
///     0      1      2
///                x label
/// </code>
/// </summary>
internal sealed class PlotLayout
{
    /// <summary>Length of a line in the legend, and the width of lines.</summary>
    public const double Key = 28, LineWidth = 2;

    private const double Gap = 10;

    private static readonly PlotColour s_text = new(40, 40, 40), s_faint = new(110, 110, 110), s_grid = new(228, 228, 228), s_axis = new(120, 120, 120);

    // Distinct hues of similar strength, also for most who see colours differently; after them the same with dashes.
    private static readonly PlotColour[] s_colours = [new(0, 0, 0), new(0, 114, 178), new(213, 94, 0), new(0, 158, 115), new(204, 121, 167), new(230, 159, 0), new(86, 180, 233), new(140, 86, 75)];
    private static readonly (double On, double Off)?[] s_dashes = [null, (9, 5), (2, 4), (14, 4)];

    private readonly LinePlot _plot;
    private readonly PlotAxis _x, _y;
    private readonly double _left, _right, _top, _bottom, _row;

    public PlotLayout(LinePlot plot, TextMetrics text)
    {
        foreach (PlotSeries series in plot.Series)
        {
            if (series.X.Count != series.Y.Count) throw new ArgumentException($"'{series.Name}' has {series.X.Count} points and {series.Y.Count} values, expected as many", nameof(plot));
        }

        if (plot.Width < 320 || plot.Height < 200) throw new ArgumentException($"expected a size of at least 320x200, found {plot.Width}x{plot.Height}", nameof(plot));
        _plot = plot;
        _row = Math.Ceiling(1.7 * text.Height);
        _top = Gap + 2.5 * _row + Gap;
        Height = (int)Math.Max(plot.Height, _top + plot.Series.Count * _row + Gap);
        _bottom = Height - Gap - 2 * _row;
        IEnumerable<double> ys = plot.Series.SelectMany(series => series.Y);
        int ticks = Math.Clamp((int)((_bottom - _top) / (2.5 * _row)), 2, 10);
        _y = plot.LogarithmicY ? PlotAxis.Logarithmic(ys, ticks) : PlotAxis.Rounded(ys, ticks);
        _left = Math.Ceiling(Gap + _y.Ticks.Max(tick => tick.Label.Length) * text.Advance + Gap);

        // A legend of long names leaves at least half of the width to the lines.
        double legend = plot.Series.Count == 0 ? 0 : 2 * Gap + Key + plot.Series.Max(series => series.Name.Length) * text.Advance;
        _right = Math.Floor(Math.Max(plot.Width - 2 * Gap - legend, plot.Width / 2.0));
        _x = PlotAxis.Exact(plot.Series.SelectMany(series => series.X), Math.Clamp((int)((_right - _left) / (8 * text.Advance)), 2, 12));
    }

    /// <summary>Rows: those asked for, or as many as the legend needs.</summary>
    public int Height { get; }

    /// <summary>Draws the plot on a white canvas.</summary>
    public void Draw(IPlotCanvas canvas)
    {
        canvas.Text(_plot.Title, Gap, Gap + _row / 2, s_text);
        canvas.Text(_plot.YLabel, Gap, Gap + 1.5 * _row, s_faint);
        canvas.Text(_plot.XLabel, _right, _bottom + 1.5 * _row, s_faint, TextAnchor.Right);
        foreach (PlotTick tick in _y.Ticks)
        {
            canvas.Line([(_left, Y(tick.Value)), (_right, Y(tick.Value))], s_grid, 1);
            canvas.Text(tick.Label, _left - Gap, Y(tick.Value), s_faint, TextAnchor.Right);
        }

        foreach (PlotTick tick in _x.Ticks)
        {
            canvas.Line([(X(tick.Value), _bottom), (X(tick.Value), _bottom + 5)], s_axis, 1);
            canvas.Text(tick.Label, X(tick.Value), _bottom + 0.75 * _row, s_faint, TextAnchor.Middle);
        }

        canvas.Line([(_left, _bottom), (_right, _bottom)], s_axis, 1);

        // The first series last, on top of the others: it is what they are compared with.
        for (int i = _plot.Series.Count - 1; i >= 0; i--)
        {
            (PlotColour colour, (double, double)? dash) = (s_colours[i % s_colours.Length], s_dashes[i / s_colours.Length % s_dashes.Length]);
            foreach ((double X, double Y)[] piece in Pieces(_plot.Series[i])) canvas.Line(piece, colour, LineWidth, dash);
            double key = _right + 2 * Gap, middle = _top + (i + 0.5) * _row;
            canvas.Line([(key, middle), (key + Key, middle)], colour, LineWidth, dash);
            canvas.Text(_plot.Series[i].Name, key + Key + Gap, middle, s_text);
        }
    }

    // Lines of one pixel lie in the middle of one.
    private double X(double value) => Math.Floor(_left + _x.Position(value) * (_right - _left)) + 0.5;

    private double Y(double value) => Math.Floor(_bottom - _y.Position(value) * (_bottom - _top)) + 0.5;

    private IEnumerable<(double X, double Y)[]> Pieces(PlotSeries series)
    {
        List<(double X, double Y)> piece = [];
        for (int i = 0; i < series.X.Count; i++)
        {
            if (!_x.Has(series.X[i]) || !_y.Has(series.Y[i]))
            {
                if (piece.Count > 0) yield return [.. piece];
                piece.Clear();
                continue;
            }

            (double x, double y) = (_left + _x.Position(series.X[i]) * (_right - _left), _bottom - _y.Position(series.Y[i]) * (_bottom - _top));
            if (series.Steps && piece.Count > 0) piece.Add((x, piece[^1].Y));
            piece.Add((x, y));
        }

        if (piece.Count > 0) yield return [.. piece];
    }
}
