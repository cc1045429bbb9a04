namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>From sums to outputs, in the order of <see cref="Convolution.ConvEpilogue"/>, every line one rounding.</summary>
internal static class Finish
{
    /// <summary>What a column's sums are multiplied by.</summary>
    internal static float Factor(in LayerViews views, in LayerNumbers numbers, int segment, int range, int column) =>
        CudaInstructions.Product(views.Quantizer[numbers.Ranges + range], views.Scales[(segment * numbers.PaddedColumns) + column]);

    /// <summary>What a column's sums are less: z·W.</summary>
    internal static int Centre(in LayerViews views, in LayerNumbers numbers, int segment, int range, int column) =>
        (int)views.Quantizer[(2 * numbers.Ranges) + range] * views.Sums[(segment * numbers.PaddedColumns) + column];

    /// <summary>Adds a segment's term.</summary>
    internal static float Add(float value, int sum, int centre, float factor) => value + CudaInstructions.Product(sum - centre, factor);

    /// <summary>Writes an element, if there is such a row and column.</summary>
    internal static void Store(in LayerViews views, in LayerNumbers numbers, int row, int column, float value)
    {
        if (row >= numbers.Rows || column >= numbers.Columns) return;
        int place = LayerNumbers.Place(numbers, row);
        if (views.Bias.Length > 0) value += views.Bias[column];
        if (views.ImageVector.Length > 0) value += views.ImageVector[(row / numbers.PerImage * numbers.ImageVectorStride) + column];
        if (views.Residual.Length > 0) value += views.Residual[((long)place * numbers.ResidualStride) + column];
        views.Output[((long)place * numbers.OutputStride) + column] = CudaInstructions.Product(value, numbers.OutputScale);
    }
}
