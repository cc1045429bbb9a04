using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>
/// One convolution and SiLU of <see cref="ConvClassifier"/> over pixels with their channels together. Output channels are padded to blocks of 32, four vectors that
/// stay in registers while all taps and input channels are summed:
/// <code>
/// weights [block of 32 outputs][ky][kx][input channel][32]
/// </code>
/// </summary>
internal sealed class ClassifierConvolution
{
    private const int Lanes = 8, Block = 4 * Lanes;

    private readonly float[] _weights;
    private readonly float[] _bias;
    private readonly int _kernel;
    private readonly int _stride;
    private readonly int _padding;

    public ClassifierConvolution(float[] weight, float[] bias, int inChannels, int kernel, int stride, int padding)
    {
        (InChannels, OutChannels, _kernel, _stride, _padding) = (inChannels, bias.Length, kernel, stride, padding);
        PaddedChannels = (OutChannels + Block - 1) / Block * Block;
        _bias = new float[PaddedChannels];
        bias.CopyTo(_bias, 0);
        int taps = kernel * kernel;
        _weights = new float[PaddedChannels * taps * inChannels];
        for (int i = 0; i < weight.Length; i++)
        {
            int tap = i % taps, c = i / taps % inChannels, o = i / taps / inChannels;
            _weights[((o / Block * taps + tap) * inChannels + c) * Block + o % Block] = weight[i];
        }
    }

    public int InChannels { get; }

    public int OutChannels { get; }

    /// <summary>Values per pixel of the output.</summary>
    public int PaddedChannels { get; }

    /// <summary>Runs over one picture with <paramref name="pixelStride"/> values per pixel; height and width become the output's.</summary>
    public float[] Run(float[] x, int pixelStride, ref int height, ref int width)
    {
        int rows = (height + 2 * _padding - _kernel) / _stride + 1, columns = (width + 2 * _padding - _kernel) / _stride + 1;
        if (rows < 1 || columns < 1) throw new ArgumentException($"a picture of {height}x{width} is smaller than the kernel");
        float[] y = new float[rows * columns * PaddedChannels];
        for (int block = 0; block < PaddedChannels; block += Block)
        {
            ReadOnlySpan<float> weights = _weights.AsSpan(block * _kernel * _kernel * InChannels, Block * _kernel * _kernel * InChannels);
            for (int i = 0; i < rows; i++)
            {
                for (int j = 0; j < columns; j++) Pixel(x, pixelStride, height, width, i * _stride - _padding, j * _stride - _padding, weights, block, y.AsSpan((i * columns + j) * PaddedChannels + block, Block));
            }
        }

        (height, width) = (rows, columns);
        return y;
    }

    private void Pixel(float[] x, int pixelStride, int height, int width, int top, int left, ReadOnlySpan<float> weights, int block, Span<float> y)
    {
        Span<Vector256<float>> output = MemoryMarshal.Cast<float, Vector256<float>>(y);
        ReadOnlySpan<Vector256<float>> bias = MemoryMarshal.Cast<float, Vector256<float>>(_bias.AsSpan(block, Block)), all = MemoryMarshal.Cast<float, Vector256<float>>(weights);
        (Vector256<float> s0, Vector256<float> s1, Vector256<float> s2, Vector256<float> s3) = (bias[0], bias[1], bias[2], bias[3]);
        for (int tap = 0; tap < _kernel * _kernel; tap++)
        {
            int r = top + tap / _kernel, s = left + tap % _kernel;
            if ((uint)r >= (uint)height || (uint)s >= (uint)width) continue;
            ReadOnlySpan<float> pixel = x.AsSpan((r * width + s) * pixelStride, InChannels);
            ReadOnlySpan<Vector256<float>> w = all.Slice(tap * InChannels * 4, InChannels * 4);
            for (int c = 0; c < pixel.Length; c++)
            {
                Vector256<float> value = Vector256.Create(pixel[c]);
                s0 = Vector256.FusedMultiplyAdd(value, w[4 * c], s0);
                s1 = Vector256.FusedMultiplyAdd(value, w[4 * c + 1], s1);
                s2 = Vector256.FusedMultiplyAdd(value, w[4 * c + 2], s2);
                s3 = Vector256.FusedMultiplyAdd(value, w[4 * c + 3], s3);
            }
        }

        output[0] = Silu(s0);
        output[1] = Silu(s1);
        output[2] = Silu(s2);
        output[3] = Silu(s3);
    }

    private static Vector256<float> Silu(Vector256<float> x) => x / (Vector256<float>.One + Vector256.Exp(-x));
}
