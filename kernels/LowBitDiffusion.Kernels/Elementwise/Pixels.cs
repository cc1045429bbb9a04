using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Values from −1 to 1 to the bytes of pictures.</summary>
public static unsafe class Pixels
{
    private const int PieceElements = 16 << 10;

    /// <summary><c>round_half_even(255 · clamp(x / 2 + 1/2, 0, 1))</c>; what is not a number becomes 0.</summary>
    public static byte Of(float x)
    {
        float unit = Math.Clamp(x / 2f + 0.5f, 0f, 1f);
        return float.IsNaN(unit) ? (byte)0 : (byte)MathF.Round(unit * 255f, MidpointRounding.ToEven);
    }

    /// <summary>Rows of values to dense rows of bytes.</summary>
    public static void FromRows(WorkerPool pool, in RowShape shape, RowView source, byte* destination)
    {
        int height = Math.Max(1, PieceElements / Math.Max(1, shape.Channels));
        pool.For((shape.Rows + height - 1) / height, new Body(shape, source, destination, height));
    }

    private readonly struct Body(RowShape shape, RowView source, byte* destination, int height) : IParallelBody
    {
        public void Run(int index)
        {
            int last = Math.Min((index + 1) * height, shape.Rows);
            for (int row = index * height; row < last; row++)
            {
                float* from = source.Row(row);
                byte* to = destination + (nint)row * shape.Channels;
                for (int c = 0; c < shape.Channels; c++) to[c] = Of(from[c]);
            }
        }
    }
}
