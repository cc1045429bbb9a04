namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>A colour of a plot.</summary>
internal readonly record struct PlotColour(byte Red, byte Green, byte Blue);

/// <summary>Which point of a text is placed.</summary>
internal enum TextAnchor
{
    /// <summary>Its left end.</summary>
    Left,

    /// <summary>Its middle.</summary>
    Middle,

    /// <summary>Its right end.</summary>
    Right,
}

/// <summary>Sizes of a canvas's text in pixels.</summary>
/// <param name="Advance">From one character to the next.</param>
/// <param name="Height">Of a capital.</param>
internal readonly record struct TextMetrics(double Advance, double Height);

/// <summary>What a plot is drawn on; x to the right and y downwards, in pixels.</summary>
internal interface IPlotCanvas
{
    /// <summary>Draws a line through points.</summary>
    /// <param name="points">At least one; a single one is a dot.</param>
    /// <param name="colour">Its colour.</param>
    /// <param name="width">Its width.</param>
    /// <param name="dash">Lengths of dash and gap; none for a line without gaps.</param>
    void Line(ReadOnlySpan<(double X, double Y)> points, PlotColour colour, double width, (double On, double Off)? dash = null);

    /// <summary>Draws a line of text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="x">Where <paramref name="anchor"/> is.</param>
    /// <param name="middle">Where the middle of its capitals is.</param>
    /// <param name="colour">Its colour.</param>
    /// <param name="anchor">Which point is placed.</param>
    void Text(string text, double x, double middle, PlotColour colour, TextAnchor anchor = TextAnchor.Left);
}
