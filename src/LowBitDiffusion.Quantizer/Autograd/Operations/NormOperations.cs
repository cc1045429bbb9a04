using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary>
/// <see cref="GroupNormOp"/>. With m elements of a group of an image, its mean μ and r = 1/√(var + ε), x̂ = (x − μ)r:
/// <code>
///   y  = x̂·γ + β
///   dx = r·(γ dy − Σ(γ dy)/m − x̂·Σ(γ dy x̂)/m)          dγ = Σ dy x̂          dβ = Σ dy
/// </code>
/// A piece is an image; sums over its rows are taken per channel, then over the group's channels in double precision.
/// </summary>
internal sealed class GroupNormOperation(GroupNormOp op, TensorShape shape) : Operation
{
    private readonly int _channels = op.Channels;
    private readonly int _rows = shape.Positions;
    private readonly int _width = op.Channels / op.Groups;

    public override float[] Forward(OperationContext context, float[][] x)
    {
        (float[] gamma, float[] beta) = Parameters(context);
        float[] y = Vectors.Allocate(x[0].Length);
        context.Pool.Chunks(shape[0], 1, (n, _) =>
        {
            (float[] means, float[] scales) = Moments(x[0], n);
            float[] factors = new float[_channels], offsets = new float[_channels];
            for (int c = 0; c < _channels; c++)
            {
                factors[c] = scales[c] * gamma[c];
                offsets[c] = beta[c] - means[c] * factors[c];
            }

            for (int row = n * _rows; row < (n + 1) * _rows; row++)
                Vectors.Map(Row(x[0], row), factors, offsets, Row(y, row), new ProductPlus());
        });
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        (float[] gamma, _) = Parameters(context);
        float[] dx = Vectors.Allocate(dy.Length), gammas = new float[shape[0] * _channels], betas = new float[shape[0] * _channels];
        context.Pool.Chunks(shape[0], 1, (n, _) =>
        {
            (float[] means, float[] scales) = Moments(x[0], n);
            double[] sums = SumRows(n, row => Row(dy, row)), products = new double[_channels];
            float[] buffer = new float[_channels];
            double[] raw = SumRows(n, row =>
            {
                Vectors.Map(Row(x[0], row), means, Row(dy, row), buffer, new CentredProduct());
                return buffer;
            });
            for (int c = 0; c < _channels; c++)
            {
                products[c] = raw[c] * scales[c];
                betas[n * _channels + c] = (float)sums[c];
                gammas[n * _channels + c] = (float)products[c];
            }

            // dx = k1·dy + k2·x + k3, constants per channel
            float[] k1 = new float[_channels], k2 = new float[_channels], k3 = new float[_channels];
            for (int first = 0; first < _channels; first += _width)
            {
                double sum = 0, product = 0, m = (double)_width * _rows;
                for (int c = first; c < first + _width; c++) (sum, product) = (sum + gamma[c] * sums[c], product + gamma[c] * products[c]);
                for (int c = first; c < first + _width; c++)
                {
                    double r = scales[c], slope = -r * r * product / m;
                    k1[c] = (float)(r * gamma[c]);
                    k2[c] = (float)slope;
                    k3[c] = (float)(-slope * means[c] - r * sum / m);
                }
            }

            for (int row = n * _rows; row < (n + 1) * _rows; row++)
            {
                Vectors.Map(Row(x[0], row), k2, k3, Row(dx, row), new ProductPlus());
                Vectors.Map(Row(dy, row), k1, Row(dx, row), Row(dx, row), new ProductPlus());
            }
        });

        Broadcast perImage = new(new TensorShape(shape[0], _channels), new TensorShape(1, _channels));
        Parameter[] parameters = [.. op.Parameters];
        context.Model.Trainable(parameters[0])?.AddGradient(perImage.Reduce(context.Pool, gammas));
        context.Model.Trainable(parameters[1])?.AddGradient(perImage.Reduce(context.Pool, betas));
        return [dx];
    }

    private (float[] Gamma, float[] Beta) Parameters(OperationContext context)
    {
        Parameter[] parameters = [.. op.Parameters];
        return (context.Model.Float(parameters[0]), context.Model.Float(parameters[1]));
    }

    private Span<float> Row(float[] values, int row) => values.AsSpan(row * _channels, _channels);

    /// <summary>μ and r of each channel's group.</summary>
    private (float[] Means, float[] Scales) Moments(float[] x, int n)
    {
        double m = (double)_width * _rows;
        float[] means = new float[_channels], scales = new float[_channels], buffer = new float[_channels];
        double[] sums = SumRows(n, row => Row(x, row));
        Grouped(sums, sum => (float)(sum / m), means);
        double[] squares = SumRows(n, row =>
        {
            Vectors.Map(Row(x, row), means, default, buffer, new CentredSquare());
            return buffer;
        });
        Grouped(squares, sum => (float)(1 / Math.Sqrt(sum / m + op.Epsilon)), scales);
        return (means, scales);
    }

    private void Grouped(double[] perChannel, Func<double, float> function, float[] result)
    {
        for (int first = 0; first < _channels; first += _width)
        {
            double sum = 0;
            for (int c = first; c < first + _width; c++) sum += perChannel[c];
            result.AsSpan(first, _width).Fill(function(sum));
        }
    }

    private delegate Span<float> RowFunction(int row);

    /// <summary>Sum of an image's rows: 32 rows at a time in single precision, these in double.</summary>
    private double[] SumRows(int n, RowFunction value)
    {
        const int run = 32;
        double[] sums = new double[_channels];
        float[] partial = new float[_channels];
        for (int first = n * _rows; first < (n + 1) * _rows; first += run)
        {
            Array.Clear(partial);
            for (int row = first; row < Math.Min(first + run, (n + 1) * _rows); row++) Vectors.Map(partial, value(row), default, partial, new Sum());
            for (int c = 0; c < _channels; c++) sums[c] += partial[c];
        }

        return sums;
    }

    private readonly struct CentredSquare : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => (a - b) * (a - b);
    }

    private readonly struct CentredProduct : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => (a - b) * c;
    }
}

/// <summary><see cref="LayerNormOp"/>: the formulas of <see cref="GroupNormOperation"/> over the channels of each row.</summary>
internal sealed class LayerNormOperation(LayerNormOp op, TensorShape shape) : Operation
{
    private const int ChunkRows = 64;

    private readonly int _channels = op.Channels;
    private readonly int _rows = (int)(shape.Elements / op.Channels);

    public override float[] Forward(OperationContext context, float[][] x)
    {
        Parameter[] parameters = [.. op.Parameters];
        float[] y = Normalised(context, x[0]);
        if (!op.Affine) return y;
        float[] gamma = context.Model.Float(parameters[0]), beta = context.Model.Float(parameters[1]);
        context.Pool.Chunks(_rows, ChunkRows, (start, end) =>
        {
            for (int row = start; row < end; row++) Vectors.Map(Row(y, row), gamma, beta, Row(y, row), new ProductPlus());
        });
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        Parameter[] parameters = [.. op.Parameters];
        float[] normalised = Normalised(context, x[0]), dx = Vectors.Allocate(dy.Length);
        float[]? gamma = op.Affine ? context.Model.Float(parameters[0]) : null;
        context.Pool.Chunks(_rows, ChunkRows, (start, end) =>
        {
            for (int row = start; row < end; row++)
            {
                ReadOnlySpan<float> upstream = Row(dy, row), hat = Row(normalised, row);
                double sum = 0, product = 0;
                for (int c = 0; c < _channels; c++)
                {
                    double g = gamma is null ? upstream[c] : (double)gamma[c] * upstream[c];
                    (sum, product) = (sum + g, product + g * hat[c]);
                }

                float r = Moments(Row(x[0], row)).Scale, mean = (float)(sum / _channels), slope = (float)(product / _channels);
                Span<float> result = Row(dx, row);
                for (int c = 0; c < _channels; c++) result[c] = r * ((gamma is null ? upstream[c] : gamma[c] * upstream[c]) - mean - hat[c] * slope);
            }
        });
        if (!op.Affine) return [dx];

        Broadcast single = new(new TensorShape(_rows, _channels), new TensorShape(1, _channels));
        context.Model.Trainable(parameters[0])?.AddGradient(single.Reduce(context.Pool, context.Pool.Map(dy, normalised, null, new Product())));
        context.Model.Trainable(parameters[1])?.AddGradient(single.Reduce(context.Pool, dy));
        return [dx];
    }

    private float[] Normalised(OperationContext context, float[] x)
    {
        float[] y = Vectors.Allocate(x.Length);
        context.Pool.Chunks(_rows, ChunkRows, (start, end) =>
        {
            for (int row = start; row < end; row++)
            {
                (float mean, float scale) = Moments(Row(x, row));
                Span<float> result = Row(y, row);
                for (int c = 0; c < _channels; c++) result[c] = (x[row * _channels + c] - mean) * scale;
            }
        });
        return y;
    }

    private (float Mean, float Scale) Moments(ReadOnlySpan<float> x)
    {
        double mean = 0, variance = 0;
        foreach (float value in x) mean += value;
        mean /= x.Length;
        foreach (float value in x) variance += (value - mean) * (value - mean);
        return ((float)mean, (float)(1 / Math.Sqrt(variance / x.Length + op.Epsilon)));
    }

    private Span<float> Row(float[] values, int row) => values.AsSpan(row * _channels, _channels);
}
