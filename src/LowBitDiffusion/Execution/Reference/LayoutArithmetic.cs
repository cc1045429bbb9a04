using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Ops that move elements.</summary>
internal static class LayoutArithmetic
{
    public static float[] Concat(float[] x, TensorShape xShape, float[] y, TensorShape yShape)
    {
        // Rows of consecutive elements along the channel axis: all channels of one image, or of one token.
        int xRow = RowLength(xShape), yRow = RowLength(yShape);
        float[] result = new float[x.Length + y.Length];
        for (int row = 0; row < x.Length / xRow; row++)
        {
            x.AsSpan(row * xRow, xRow).CopyTo(result.AsSpan(row * (xRow + yRow)));
            y.AsSpan(row * yRow, yRow).CopyTo(result.AsSpan(row * (xRow + yRow) + xRow));
        }

        return result;
    }

    public static float[] Slice(float[] x, TensorShape shape, int start, int length)
    {
        int row = RowLength(shape), element = row / shape.Channels;
        float[] result = new float[x.Length / shape.Channels * length];
        for (int i = 0; i < x.Length / row; i++) x.AsSpan(i * row + start * element, length * element).CopyTo(result.AsSpan(i * length * element));
        return result;
    }

    public static float[] Upsample(float[] x, TensorShape from, TensorShape to)
    {
        float[] y = new float[to.Elements];
        for (int plane = 0; plane < to[0] * to[1]; plane++)
            for (int i = 0; i < to[2]; i++)
                for (int j = 0; j < to[3]; j++)
                {
                    int row = i * from[2] / to[2], column = j * from[3] / to[3];
                    y[(plane * to[2] + i) * to[3] + j] = x[(plane * from[2] + row) * from[3] + column];
                }

        return y;
    }

    public static float[] AveragePool(float[] x, TensorShape from, TensorShape to)
    {
        float[] y = new float[to.Elements];
        for (int plane = 0; plane < to[0] * to[1]; plane++)
            for (int i = 0; i < to[2]; i++)
                for (int j = 0; j < to[3]; j++)
                {
                    int above = (plane * from[2] + 2 * i) * from[3] + 2 * j, below = above + from[3];
                    y[(plane * to[2] + i) * to[3] + j] = (float)(((double)x[above] + x[above + 1] + x[below] + x[below + 1]) / 4);
                }

        return y;
    }

    /// <summary><c>[N, rows, columns] → [N, columns, rows]</c>.</summary>
    public static float[] Transpose(float[] x, int batch, int rows, int columns)
    {
        float[] y = new float[x.Length];
        for (int n = 0; n < batch; n++)
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                    y[(n * columns + j) * rows + i] = x[(n * rows + i) * columns + j];
        return y;
    }

    public static float[] Unpatchify(float[] x, TensorShape to, int patch)
    {
        int channels = to[1], height = to[2], width = to[3];
        float[] y = new float[x.Length];
        for (int i = 0; i < y.Length; i++)
        {
            int column = i % width, row = i / width % height, c = i / width / height % channels, n = i / width / height / channels;
            int token = (n * (height / patch) + row / patch) * (width / patch) + column / patch;
            y[i] = x[((token * patch + row % patch) * patch + column % patch) * channels + c];
        }

        return y;
    }

    private static int RowLength(TensorShape shape) => shape.Rank == 4 ? shape.Channels * shape.Positions : shape.Channels;
}
