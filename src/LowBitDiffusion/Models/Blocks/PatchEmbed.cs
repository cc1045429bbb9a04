using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>
/// An image as tokens, one per square of pixels, with its place added: a fixed table of sines (Dosovitskiy et al. 2021; He et al. 2022). The first half of the channels holds the column,
/// the second the row; each half first sines, then cosines of <c>place / 10000^(i / (C/4))</c>, <c>place = index / (grid / base) / InterpolationScale</c>.
/// </summary>
internal sealed record PatchEmbed
{
    /// <summary>Rows and columns of a square.</summary>
    public required int Patch { get; init; }

    /// <summary>Squares along each side of an image of the size that was trained: places of other sizes are stretched to it.</summary>
    public required int BaseSize { get; init; }

    /// <summary>Divisor of the places.</summary>
    public float InterpolationScale { get; init; } = 1;

    /// <summary>Writes the module down: <c>[N, C, H, W] → [N, L, channels]</c>.</summary>
    public Node Write(GraphBuilder g, string name, Node x, int channels)
    {
        if (channels % 4 != 0) throw new GraphException(name, $"{channels} channels are not sines and cosines of rows and columns");
        if (x.Shape[2] % Patch != 0 || x.Shape[3] % Patch != 0) throw new GraphException(name, $"{x.Shape} is not made of squares of {Patch}x{Patch}");
        Node image = g.Conv2d($"{name}.proj", x, channels, Patch, stride: Patch, default(Padding));
        int rows = image.Shape[2], columns = image.Shape[3];
        return g.Tap(name, g.Add(g.ToTokens(image), g.Constant(name, new(1, rows * columns, channels), Places(rows, columns, channels))));
    }

    private float[] Places(int rows, int columns, int channels)
    {
        int quarter = channels / 4;
        float[] table = new float[rows * columns * channels];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
            {
                Span<float> token = table.AsSpan((row * columns + column) * channels, channels);
                Sinusoids(column / ((double)columns / BaseSize) / InterpolationScale, token[..(2 * quarter)]);
                Sinusoids(row / ((double)rows / BaseSize) / InterpolationScale, token[(2 * quarter)..]);
            }
        }

        return table;
    }

    private static void Sinusoids(double place, Span<float> features)
    {
        int half = features.Length / 2;
        for (int i = 0; i < half; i++)
        {
            double angle = place / Math.Pow(10000, (double)i / half);
            features[i] = (float)Math.Sin(angle);
            features[half + i] = (float)Math.Cos(angle);
        }
    }
}
