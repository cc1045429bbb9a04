using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Tests.Memory;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Convolution;

/// <summary>The numbers of a <see cref="QuantizedConvCase"/>, and its result by the definition.</summary>
internal sealed unsafe class QuantizedConvProblem
{
    private const float Untouched = -12345.5f;

    /// <summary>What is found where no code was written.</summary>
    private const byte UntouchedCode = 77;

    private static readonly ChannelQuantizer s_quantizer = new(11.3f, 9);

    private readonly QuantizedConvCase _case;
    private readonly ConvGeometry _geometry;
    private readonly KernelSegment[] _segments;
    private readonly byte[] _input;
    private readonly sbyte[] _codes;
    private readonly float[] _weightScales;
    private readonly float[] _inputScales;
    private readonly byte[] _zeroPoints;
    private readonly float[]? _bias;
    private readonly float[]? _imageVector;
    private readonly float[] _residual;
    private readonly float[] _inverseScales;
    private readonly int _outputStride;

    internal QuantizedConvProblem(QuantizedConvCase definition)
    {
        Random random = new(definition.Name.Aggregate(17, (hash, letter) => (hash * 31) + letter));
        _case = definition;
        _geometry = definition.Geometry;
        _segments = definition.Ranges;
        _zeroPoints = [.. _segments.Select((_, s) => definition.ZeroPoints[s % definition.ZeroPoints.Length])];
        _inputScales = Floats(_segments.Length, 0.001f, 0.02f);
        _weightScales = Floats(_segments.Length * definition.OutChannels, 0.001f, 0.02f);
        _bias = definition.Bias ? Floats(definition.OutChannels, -1, 1) : null;
        _imageVector = definition.ImageVector ? Floats(definition.Batch * definition.OutChannels, -1, 1) : null;
        _inverseScales = Floats(definition.Produced, 2, 40);
        _outputStride = definition.Produced + definition.OutputGap;
        _residual = Floats(_geometry.Rows * _outputStride, -1, 1);
        _codes = new sbyte[definition.OutChannels * _geometry.Depth];
        for (int i = 0; i < _codes.Length; i++) _codes[i] = Weight(i);
        _input = new byte[_geometry.InputLength];
        for (int i = 0; i < _input.Length; i++) _input[i] = Activation(i);

        float[] Floats(int count, float smallest, float largest)
        {
            float[] values = new float[count];
            for (int i = 0; i < count; i++) values[i] = smallest + (random.NextSingle() * (largest - smallest));
            return values;
        }

        sbyte Weight(int i) => definition.Codes switch
        {
            CodeRange.FourBit => (sbyte)random.Next(-8, 8),
            CodeRange.FourBitWithZeroPoints => (sbyte)(random.Next(16) - ZeroPoint(i)),
            CodeRange.SevenBit => (sbyte)random.Next(-64, 65),
            CodeRange.Largest => 127,
            CodeRange.Smallest => -127,
            CodeRange.Alternating => (sbyte)(i / 2 % 2 == 0 ? 127 : -127),
            _ => (sbyte)random.Next(-127, 128),
        };

        int ZeroPoint(int i)
        {
            int channel = i / definition.Shape.Taps % definition.Channels;
            return ((i / _geometry.Depth) + (5 * Array.FindIndex(_segments, s => channel < s.Start + s.Count))) % 16;
        }

        byte Activation(int i)
        {
            (int pixel, int channel) = Math.DivRem(i, _geometry.Channels);
            int x = (pixel % _geometry.StoredWidth) - Border(definition.Padding.Left), y = (pixel / _geometry.StoredWidth % _geometry.StoredHeight) - Border(definition.Padding.Top);
            bool inside = y >= 0 && y < definition.Image.Height && x >= 0 && x < definition.Image.Width;
            if (!inside) return _zeroPoints[Array.FindIndex(_segments, s => channel < s.Start + s.Count)];
            return definition.Codes >= CodeRange.Largest ? (byte)255 : (byte)random.Next(256);
        }
    }

    internal ReadOnlySpan<byte> Input => _input;

    internal ReadOnlySpan<sbyte> Codes => _codes;

    internal ReadOnlySpan<float> WeightScales => _weightScales;

    internal ReadOnlySpan<float> InputScales => _inputScales;

    internal ReadOnlySpan<byte> ZeroPoints => _zeroPoints;

    internal float[]? Bias => _bias;

    internal float[]? ImageVector => _imageVector;

    internal int OutputStride => _outputStride;

    internal ChannelQuantizer CodeQuantizer => s_quantizer;

    internal ReadOnlySpan<float> InverseScales => _inverseScales;

    /// <summary>Rows of the output with the gaps between them; codes as numbers.</summary>
    internal float[] Expected()
    {
        float[] output = Output();
        for (int row = 0; row < _geometry.Rows; row++)
        {
            for (int o = 0; o < _case.Produced; o++)
            {
                float value = Value(row, o);
                if (_case.Gated) value *= GeluActivation.Invoke<Simd1, float>(Value(row, _case.Produced + o));
                output[(row * _outputStride) + o] = _case.CodesOf is { } activation ? Code(Activated(activation, value), o) : value;
            }
        }

        return output[..^_case.OutputGap];
    }

    internal PackedWeights Pack(QuantizedConvKernel kernel) =>
        kernel.Pack(
            Ordered(kernel, _codes, _geometry.Depth), _case.Shape, _case.Segments is null ? [] : _segments,
            [.. Enumerable.Range(0, _segments.Length).SelectMany(s => Ordered(kernel, _weightScales[(s * _case.OutChannels)..((s + 1) * _case.OutChannels)], 1))]);

    internal float[] Run(QuantizedConvKernel kernel, WorkerPool pool)
    {
        using PackedWeights weights = Pack(kernel);
        return Run(kernel, pool, weights, repeats: 1);
    }

    internal float[] Run(QuantizedConvKernel kernel, WorkerPool pool, PackedWeights weights, int repeats)
    {
        // What lies behind the image may be read, up to the slack, but must not matter. Nothing may be read or written behind the rest.
        byte[] image = new byte[_input.Length + NativeBuffer.Slack];
        image.AsSpan(_input.Length).Fill(255);
        _input.CopyTo(image, 0);
        using GuardedMemory input = GuardedMemory.Of<byte>(image), zeroPoints = GuardedMemory.Of<byte>(_zeroPoints);
        using GuardedMemory inputScales = GuardedMemory.Of<float>(_inputScales);
        using GuardedMemory? bias = _bias is null ? null : GuardedMemory.Of<float>(Ordered(kernel, _bias, 1));
        using GuardedMemory? vector = _imageVector is null ? null : GuardedMemory.Of<float>(_imageVector);
        // The last row has no gap behind it.
        float[] initial = Output();
        int length = initial.Length - _case.OutputGap;
        byte[] untouched = new byte[length];
        untouched.AsSpan().Fill(UntouchedCode);
        using GuardedMemory output = GuardedMemory.Of<float>(initial.AsSpan(0, length)), codes = GuardedMemory.Of<byte>(untouched);
        using GuardedMemory inverseScales = GuardedMemory.Of<float>(_inverseScales);
        QuantizedConvArguments arguments = new()
        {
            Walk = new ConvWalk(_geometry),
            Weights = weights,
            Input = input.Pointer,
            InputScales = (float*)inputScales.Pointer,
            InputZeroPoints = zeroPoints.Pointer,
            Epilogue = new ConvEpilogue
            {
                Bias = bias is null ? null : (float*)bias.Pointer,
                ImageVector = vector is null ? null : (float*)vector.Pointer,
                ImageVectorStride = _geometry.OutChannels,
                Residual = _case.Residual ? (float*)output.Pointer : null,
                ResidualStride = _outputStride,
                OutputScale = _case.OutputScale,
                Output = (float*)output.Pointer,
                OutputStride = _outputStride,
                Gated = _case.Gated,
                Codes = _case.CodesOf is null ? null : codes.Pointer,
                Activation = _case.CodesOf ?? Activation.None,
                Quantizer = s_quantizer,
                InverseScales = _case.ChannelScales ? (float*)inverseScales.Pointer : null,
                MaxCode = _case.MaxCode,
            },
        };
        for (int i = 0; i < repeats; i++) kernel.Run(pool, arguments);
        return _case.CodesOf is null ? new Span<float>(output.Pointer, length).ToArray() : [.. new Span<byte>(codes.Pointer, length).ToArray().Select(code => (float)code)];
    }

    /// <summary>Of the border of an upsampled image one position is stored.</summary>
    private int Border(int seen) => _case.Upsampled is null ? seen : Math.Min(seen, 1);

    private float Value(int row, int o)
    {
        float value = 0;
        for (int s = 0; s < _segments.Length; s++)
        {
            float scale = _inputScales[s] * _weightScales[(s * _geometry.OutChannels) + o];
            float term = (float)(int)CentredSum(row, o, _segments[s], _zeroPoints[s]) * scale;
            value = s == 0 ? term : value + term;
        }

        if (_bias is not null) value += _bias[o];
        if (_imageVector is not null) value += _imageVector[(row / (_geometry.OutHeight * _geometry.OutWidth) * _geometry.OutChannels) + o];
        if (_case.Residual) value += _residual[(row * _outputStride) + o];
        return value * _case.OutputScale;
    }

    private float Code(float value, int o) =>
        Math.Clamp(MathF.Round(value * (_case.ChannelScales ? _inverseScales[o] : s_quantizer.InverseScale)) + s_quantizer.ZeroPoint, 0, _case.MaxCode);

    private static float Activated(Activation activation, float value) => activation switch
    {
        Activation.Silu => SiluActivation.Invoke<Simd1, float>(value),
        Activation.Gelu => GeluActivation.Invoke<Simd1, float>(value),
        Activation.GeluTanh => GeluTanhActivation.Invoke<Simd1, float>(value),
        Activation.QuickGelu => QuickGeluActivation.Invoke<Simd1, float>(value),
        _ => value,
    };

    /// <summary>What belongs to the output channels, in the order in which the kernel packs them.</summary>
    private T[] Ordered<T>(QuantizedConvKernel kernel, T[] channels, int length)
    {
        if (!_case.Gated) return channels;
        return [.. Enumerable.Range(0, _case.OutChannels).SelectMany(place => channels.AsSpan(kernel.GatedChannel(place, _case.OutChannels) * length, length).ToArray())];
    }

    /// <summary>What the output holds before: the residual, or what must not be touched.</summary>
    internal float[] Output()
    {
        float[] output = new float[_geometry.Rows * _outputStride];
        output.AsSpan().Fill(_case.CodesOf is null ? Untouched : UntouchedCode);
        if (!_case.Residual) return output;
        for (int row = 0; row < _geometry.Rows; row++)
        {
            _residual.AsSpan(row * _outputStride, _geometry.OutChannels).CopyTo(output.AsSpan(row * _outputStride));
        }

        return output;
    }

    private long CentredSum(int row, int o, KernelSegment segment, int zeroPoint)
    {
        (int image, int pixel) = Math.DivRem(row, _geometry.OutHeight * _geometry.OutWidth);
        (int y, int x) = Math.DivRem(pixel, _geometry.OutWidth);
        long sum = 0;
        for (int c = segment.Start; c < segment.Start + segment.Count; c++)
        {
            for (int r = 0; r < _geometry.KernelHeight; r++)
            {
                for (int k = 0; k < _geometry.KernelWidth; k++)
                {
                    int weight = (((((o * _geometry.Channels) + c) * _geometry.KernelHeight) + r) * _geometry.KernelWidth) + k;
                    sum += (Seen(image, (y * _geometry.Stride) + r - _case.Padding.Top, (x * _geometry.Stride) + k - _case.Padding.Left, c, zeroPoint) - zeroPoint) * _codes[weight];
                }
            }
        }

        return sum;
    }

    /// <summary>A code of the image as the convolution sees it: upsampled, with a border of zero points around it.</summary>
    private int Seen(int image, int y, int x, int channel, int zeroPoint)
    {
        (int height, int width) = _case.Upsampled ?? _case.Image;
        if (y < 0 || y >= height || x < 0 || x >= width) return zeroPoint;
        // A linear layer is an image as high as it has rows: products of two heights are long.
        int sourceY = (int)((long)y * _case.Image.Height / height), sourceX = (int)((long)x * _case.Image.Width / width);
        int row = (((image * _geometry.StoredHeight) + Border(_case.Padding.Top) + sourceY) * _geometry.StoredWidth) + Border(_case.Padding.Left) + sourceX;
        return _input[(row * _geometry.Channels) + channel];
    }
}
