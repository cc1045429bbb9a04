using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// Values of the differentiable executor are dense rows of channels, as kernels have them: images <c>[N, H, W, C]</c>, tokens <c>[N, L, C]</c>, vectors <c>[N, C]</c>. Only images differ from the row-major
/// form of the reference executor and of files.
/// </summary>
public static class RowLayout
{
    /// <summary>Row-major values of a shape as rows of channels; the array itself where nothing changes.</summary>
    public static float[] ToRows(float[] values, TensorShape shape) => shape.Rank == 4 ? Transpose(values, shape[0], shape[1], shape.Positions) : values;

    /// <summary>Rows of channels as row-major values of a shape; the array itself where nothing changes.</summary>
    public static float[] FromRows(float[] rows, TensorShape shape) => shape.Rank == 4 ? Transpose(rows, shape[0], shape.Positions, shape[1]) : rows;

    private static float[] Transpose(float[] x, int batch, int rows, int columns)
    {
        if (x.Length != (long)batch * rows * columns) throw new ArgumentException($"{x.Length} elements are not {batch} x {rows} x {columns}", nameof(x));
        if (rows == 1 || columns == 1) return x;
        float[] y = Vectors.Allocate(x.Length);
        for (int n = 0; n < batch; n++)
        {
            int image = n * rows * columns;
            for (int i = 0; i < rows; i++)
            {
                for (int j = 0; j < columns; j++) y[image + j * rows + i] = x[image + i * columns + j];
            }
        }

        return y;
    }
}
