using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary>Ops that only name the same rows differently: between images and tokens, and reshapes.</summary>
internal sealed class IdentityOperation : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => x[0];

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => [dy];
}

/// <summary><see cref="ConcatOp"/>.</summary>
internal sealed class ConcatOperation(int first, int second) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(x[0].Length + x[1].Length);
        Columns.Copy(context.Pool, x[0], first, 0, y, first + second, 0, first);
        Columns.Copy(context.Pool, x[1], second, 0, y, first + second, first, second);
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = Vectors.Allocate(x[0].Length), dz = Vectors.Allocate(x[1].Length);
        Columns.Copy(context.Pool, dy, first + second, 0, dx, first, 0, first);
        Columns.Copy(context.Pool, dy, first + second, first, dz, second, 0, second);
        return [dx, dz];
    }
}

/// <summary><see cref="SliceOp"/>.</summary>
internal sealed class SliceOperation(int channels, SliceOp op) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(x[0].Length / channels * op.Length);
        Columns.Copy(context.Pool, x[0], channels, op.Start, y, op.Length, 0, op.Length);
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = new float[x[0].Length];
        Columns.Copy(context.Pool, dy, op.Length, 0, dx, channels, op.Start, op.Length);
        return [dx];
    }
}

/// <summary><see cref="UpsampleOp"/>.</summary>
internal sealed class UpsampleOperation(TensorShape from, TensorShape to) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(to.Elements);
        int channels = to[1];
        ForPixels(context.Pool, (target, source) => x[0].AsSpan(source * channels, channels).CopyTo(y.AsSpan(target * channels)));
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = new float[from.Elements];
        int channels = to[1];
        ForPixels(context.Pool, (target, source) =>
        {
            Span<float> sum = dx.AsSpan(source * channels, channels);
            Vectors.Map(sum, dy.AsSpan(target * channels, channels), default, sum, new Sum());
        });
        return [dx];
    }

    // A piece is an image, so that no two write to one pixel.
    private void ForPixels(WorkerPool pool, Action<int, int> body) => pool.Chunks(to[0], 1, (n, _) =>
    {
        for (int i = 0; i < to[2]; i++)
        {
            for (int j = 0; j < to[3]; j++) body((n * to[2] + i) * to[3] + j, (n * from[2] + i * from[2] / to[2]) * from[3] + j * from[3] / to[3]);
        }
    });
}

/// <summary><see cref="AveragePoolOp"/>.</summary>
internal sealed class AveragePoolOperation(TensorShape from, TensorShape to) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = new float[to.Elements];
        ForPixels(context.Pool, (target, source) => AddQuarter(y.AsSpan(target * to[1], to[1]), x[0].AsSpan(source * to[1], to[1])));
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = new float[from.Elements];
        ForPixels(context.Pool, (target, source) => AddQuarter(dx.AsSpan(source * to[1], to[1]), dy.AsSpan(target * to[1], to[1])));
        return [dx];
    }

    private static void AddQuarter(Span<float> sum, ReadOnlySpan<float> values) => Vectors.Map(values, default, sum, sum, new QuarterPlus());

    private void ForPixels(WorkerPool pool, Action<int, int> body) => pool.Chunks(to[0], 1, (n, _) =>
    {
        for (int i = 0; i < to[2]; i++)
        {
            for (int j = 0; j < to[3]; j++)
            {
                int target = (n * to[2] + i) * to[3] + j, above = (n * from[2] + 2 * i) * from[3] + 2 * j;
                body(target, above);
                body(target, above + 1);
                body(target, above + from[3]);
                body(target, above + from[3] + 1);
            }
        }
    });

    private readonly struct QuarterPlus : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * 0.25f + c;
    }
}

/// <summary><see cref="UnpatchifyOp"/>: a row of a square is a run of pixels in both forms.</summary>
internal sealed class UnpatchifyOperation(TensorShape image, int patch) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(x[0].Length);
        ForRuns((pixels, token, run) => x[0].AsSpan(token, run).CopyTo(y.AsSpan(pixels)));
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = Vectors.Allocate(dy.Length);
        ForRuns((pixels, token, run) => dy.AsSpan(pixels, run).CopyTo(dx.AsSpan(token)));
        return [dx];
    }

    private void ForRuns(Action<int, int, int> body)
    {
        int channels = image[1], height = image[2], width = image[3], run = patch * channels;
        for (int row = 0; row < image[0] * height; row++)
        {
            int n = row / height, i = row % height;
            for (int square = 0; square < width / patch; square++)
            {
                int token = (n * (height / patch) + i / patch) * (width / patch) + square;
                body(row * width * channels + square * run, (token * patch + i % patch) * run, run);
            }
        }
    }
}

/// <summary>Copies of some columns of rows.</summary>
internal static class Columns
{
    public static void Copy(WorkerPool pool, float[] source, int sourceWidth, int sourceStart, float[] target, int targetWidth, int targetStart, int count) =>
        pool.Chunks(source.Length / sourceWidth, Math.Max(1, Vectors.Grain / count), (start, end) =>
        {
            for (int row = start; row < end; row++) source.AsSpan(row * sourceWidth + sourceStart, count).CopyTo(target.AsSpan(row * targetWidth + targetStart));
        });
}
