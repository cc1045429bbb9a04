namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>Draws a plot in pixels: smooth lines, text in the built-in face.</summary>
internal sealed class ImageCanvas : IPlotCanvas
{
    private const int Scale = 2;

    public ImageCanvas(int width, int height)
    {
        Image = new Image(width, height, channels: 3);
        Image.Pixels.AsSpan().Fill(255);
    }

    public static TextMetrics Metrics => new(TextPainter.Advance * Scale, (TextPainter.LineHeight - 1) * Scale);

    public Image Image { get; }

    public void Line(ReadOnlySpan<(double X, double Y)> points, PlotColour colour, double width, (double On, double Off)? dash = null)
    {
        // How much of each pixel the line covers, the most of all its pieces: where pieces meet, nothing is drawn twice.
        Dictionary<int, double> coverage = [];
        if (points.Length == 1) Cover(coverage, points[0], points[0], 2 * width);
        double travelled = 0;
        for (int i = 1; i < points.Length; i++)
        {
            (double X, double Y) from = points[i - 1], to = points[i];
            double length = Distance(from, to);
            if (dash is not { } lengths) Cover(coverage, from, to, width);
            else Dash(coverage, from, to, length, travelled, lengths, width);
            travelled += length;
        }

        foreach ((int index, double share) in coverage)
        {
            Span<byte> pixel = Image.Pixels.AsSpan(3 * index, 3);
            pixel[0] = Mix(pixel[0], colour.Red, share);
            pixel[1] = Mix(pixel[1], colour.Green, share);
            pixel[2] = Mix(pixel[2], colour.Blue, share);
        }
    }

    public void Text(string text, double x, double middle, PlotColour colour, TextAnchor anchor = TextAnchor.Left)
    {
        (int width, int height) = TextPainter.Measure(text, Scale);
        double left = anchor switch { TextAnchor.Left => x, TextAnchor.Middle => x - width / 2.0, _ => x - width };
        TextPainter.Draw(Image, text, (int)Math.Round(left), (int)Math.Round(middle - height / 2.0), [colour.Red, colour.Green, colour.Blue], Scale);
    }

    private static double Distance((double X, double Y) a, (double X, double Y) b) => Math.Sqrt((a.X - b.X) * (a.X - b.X) + (a.Y - b.Y) * (a.Y - b.Y));

    private static byte Mix(byte below, byte colour, double share) => (byte)Math.Round(below + share * (colour - below));

    // The dashes of one piece, of a pattern that began so far back along the line.
    private void Dash(Dictionary<int, double> coverage, (double X, double Y) from, (double X, double Y) to, double length, double travelled, (double On, double Off) dash, double width)
    {
        double period = dash.On + dash.Off;
        for (double start = -(travelled % period); start < length; start += period)
        {
            (double begin, double end) = (Math.Max(start, 0), Math.Min(start + dash.On, length));
            if (begin < end) Cover(coverage, At(begin / length), At(end / length), width);
        }

        (double X, double Y) At(double share) => (from.X + share * (to.X - from.X), from.Y + share * (to.Y - from.Y));
    }

    // A pixel is covered by as much as its middle is inside the line's edge, with half a pixel of transition on either side.
    private void Cover(Dictionary<int, double> coverage, (double X, double Y) from, (double X, double Y) to, double width)
    {
        double reach = width / 2 + 0.5;
        int left = Math.Max(0, (int)(Math.Min(from.X, to.X) - reach)), right = Math.Min(Image.Width - 1, (int)(Math.Max(from.X, to.X) + reach));
        int top = Math.Max(0, (int)(Math.Min(from.Y, to.Y) - reach)), bottom = Math.Min(Image.Height - 1, (int)(Math.Max(from.Y, to.Y) + reach));
        (double dx, double dy) = (to.X - from.X, to.Y - from.Y);
        double square = dx * dx + dy * dy;
        for (int y = top; y <= bottom; y++)
        {
            for (int x = left; x <= right; x++)
            {
                (double px, double py) = (x + 0.5 - from.X, y + 0.5 - from.Y);
                double along = square == 0 ? 0 : Math.Clamp((px * dx + py * dy) / square, 0, 1);
                double share = Math.Clamp(reach - Distance((px, py), (along * dx, along * dy)), 0, 1);
                if (share > coverage.GetValueOrDefault(y * Image.Width + x)) coverage[y * Image.Width + x] = share;
            }
        }
    }
}
