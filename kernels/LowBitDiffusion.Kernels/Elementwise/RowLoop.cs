using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>A function of up to three numbers.</summary>
internal interface IElementOperator
{
    /// <summary>How many of its operands it looks at.</summary>
    static abstract int Operands { get; }

    /// <summary>The function.</summary>
    TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct;
}

/// <summary>
/// The one loop of all elementwise operations: <c>output[row][c] = op(x[row][c], y[row′][c], z[row′][c])</c>, row′ as <see cref="Broadcast"/> says. Pieces are
/// blocks of rows
/// × channels of about 16 k elements.
/// </summary>
internal static unsafe class RowLoop
{
    private const int PieceElements = 16 << 10;

    /// <summary>Runs an operator; operands that it does not look at may be null.</summary>
    public static void Run<TOperator>(
        WorkerPool pool, RowShape shape, RowView x, RowView y, RowView z, Broadcast broadcast, RowView output, TOperator op, SimdLevel level)
        where TOperator : struct, IElementOperator
    {
        bool dense = x.Stride == shape.Channels && output.Stride == shape.Channels;
        if (dense && (TOperator.Operands == 1 || (broadcast == Broadcast.None && y.Stride == shape.Channels && z.Stride == shape.Channels)))
        {
            // Without gaps an image is one long row: narrow rows would be all remainder.
            int length = shape.RowsPerImage * shape.Channels;
            (x, y, z, output) = (new(x.Data, length), new(y.Data, length), new(z.Data, length), new(output.Data, length));
            shape = new RowShape(shape.Batch, 1, length);
        }

        if (shape.Rows == 0 || shape.Channels == 0) return;
        LevelJob<TOperator> job = new(pool, shape, x, y, z, broadcast, output, op);
        SimdDispatch.Run(level, ref job);
    }

    private readonly struct LevelJob<TOperator>(
        WorkerPool pool, RowShape shape, RowView x, RowView y, RowView z, Broadcast broadcast, RowView output, TOperator op) : ISimdJob
        where TOperator : struct, IElementOperator
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            int width = Math.Min(shape.Channels, PieceElements), height = Math.Clamp(PieceElements / width, 1, shape.Rows);
            int across = (shape.Channels + width - 1) / width, down = (shape.Rows + height - 1) / height;
            pool.For(across * down, new Body<TSimd, TVector, TOperator>(shape, x, y, z, broadcast, output, op, width, height, across));
        }
    }

    private readonly struct Body<TSimd, TVector, TOperator>(
        RowShape shape, RowView x, RowView y, RowView z, Broadcast broadcast, RowView output, TOperator op, int width, int height, int across) : IParallelBody
        where TSimd : struct, ISimd<TVector> where TVector : struct where TOperator : struct, IElementOperator
    {
        public void Run(int index)
        {
            int firstChannel = index % across * width, channels = Math.Min(width, shape.Channels - firstChannel);
            int firstRow = index / across * height, lastRow = Math.Min(firstRow + height, shape.Rows);
            for (int row = firstRow; row < lastRow; row++)
            {
                int other = broadcast switch
                {
                    Broadcast.PerImage => row / shape.RowsPerImage,
                    Broadcast.Table => row % shape.RowsPerImage,
                    _ => row,
                };
                float* px = x.Row(row) + firstChannel;
                float* py = TOperator.Operands > 1 ? y.Row(other) + firstChannel : null;
                float* pz = TOperator.Operands > 2 ? z.Row(other) + firstChannel : null;
                float* destination = output.Row(row) + firstChannel;
                int channel = Row<TSimd, TVector>(px, py, pz, destination, 0, channels, op);
                Row<Simd1, float>(px, py, pz, destination, channel, channels, op);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static int Row<TLanes, TValue>(float* x, float* y, float* z, float* output, int channel, int channels, TOperator op)
            where TLanes : struct, ISimd<TValue> where TValue : struct
        {
            for (; channel <= channels - TLanes.Count; channel += TLanes.Count)
            {
                TValue vy = TOperator.Operands > 1 ? TLanes.Load(y + channel) : default, vz = TOperator.Operands > 2 ? TLanes.Load(z + channel) : default;
                TLanes.Store(output + channel, op.Invoke<TLanes, TValue>(TLanes.Load(x + channel), vy, vz));
            }

            return channel;
        }
    }
}
