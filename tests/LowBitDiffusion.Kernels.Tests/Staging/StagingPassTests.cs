using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Staging;

/// <summary>The staging pass writes what its definition says, pixel by pixel, and the same bits at every level.</summary>
public unsafe class StagingPassTests
{
    public enum Norm
    {
        None,
        Affine,
        SharedAffine,
        Row,
        RowAffine,
    }

    /// <summary>One staging pass.</summary>
    public sealed record Case(int Batch, int First, int Second, int H, int W, int OutH, int OutW, int Top, int Left, int Bottom, int Right, Norm Norm, Activation Activation, int Split = 0, bool PerChannel = false, int MaxCode = 255);

    private static readonly Case[] s_cases =
    [
        new(1, 1, 0, 5, 4, 5, 4, 0, 0, 0, 0, Norm.None, Activation.None),
        new(2, 3, 0, 4, 5, 4, 5, 1, 1, 1, 1, Norm.None, Activation.None, MaxCode: 15),
        new(2, 32, 0, 6, 6, 6, 6, 1, 1, 1, 1, Norm.Affine, Activation.Silu),
        new(1, 128, 64, 3, 3, 3, 3, 1, 1, 1, 1, Norm.Affine, Activation.Silu, Split: 128),
        new(3, 20, 13, 3, 4, 3, 4, 0, 0, 1, 1, Norm.SharedAffine, Activation.Gelu, Split: 20, PerChannel: true),
        new(2, 20, 13, 3, 4, 3, 4, 0, 2, 1, 0, Norm.Affine, Activation.GeluTanh, Split: 7, PerChannel: true),
        new(2, 20, 13, 3, 4, 3, 4, 0, 2, 1, 0, Norm.Affine, Activation.QuickGelu, Split: 29, MaxCode: 3),
        new(2, 40, 0, 17, 1, 17, 1, 0, 0, 0, 0, Norm.Row, Activation.None),
        new(2, 72, 0, 9, 1, 9, 1, 0, 0, 0, 0, Norm.RowAffine, Activation.None, PerChannel: true),
        new(2, 33, 0, 4, 5, 8, 10, 1, 1, 1, 1, Norm.None, Activation.None),
        new(1, 16, 5, 4, 5, 7, 9, 1, 1, 1, 1, Norm.Affine, Activation.Silu, Split: 16),
        new(1, 320, 0, 20, 20, 20, 20, 1, 1, 1, 1, Norm.Affine, Activation.Silu),
    ];

    [TestCaseSource(nameof(s_cases))]
    public void CodesAreThoseOfTheDefinition(Case c)
    {
        using Fixture fixture = new(c);
        using NativeArray<byte> codes = new((int)fixture.Job.DestinationLength, 0xCD);
        using WorkerPool pool = new(2);
        StagingPass.Quantize(pool, fixture.Job, codes.Pointer);
        int index = 0;
        foreach ((int channel, float? value) in fixture.Expected())
        {
            ChannelQuantizer quantizer = c.Split > 0 && channel >= c.Split ? fixture.Job.SplitQuantizer : fixture.Job.Quantizer;
            float inverse = c.PerChannel ? fixture.Job.InverseScales[channel] : quantizer.InverseScale;
            int expected = value is { } v ? (int)Math.Clamp(MathF.Round(v * inverse, MidpointRounding.ToEven) + quantizer.ZeroPoint, 0, c.MaxCode) : quantizer.ZeroPoint;
            Assert.That(codes.Span[index], Is.EqualTo(expected), $"element {index}, channel {channel}, value {value}");
            index++;
        }
    }

    [TestCaseSource(nameof(s_cases))]
    public void ValuesAreThoseOfTheDefinition(Case c)
    {
        using Fixture fixture = new(c);
        using NativeArray<float> values = new((int)fixture.Job.DestinationLength, float.NaN);
        using WorkerPool pool = new(2);
        StagingPass.Store(pool, fixture.Job, values.Pointer);
        float[] expected = [.. fixture.Expected().Select(e => e.Value ?? 0)];
        Assert.That(values.ToArray(), Is.EqualTo(expected));
    }

    [TestCaseSource(nameof(s_cases))]
    public void CodesAndValuesAreTheSameBitsForAnyLevelAndThreads(Case c)
    {
        using Fixture fixture = new(c);
        StagingJob job = fixture.Job;
        using NativeArray<byte> codes = new((int)job.DestinationLength, 0xCD);
        using NativeArray<float> values = new((int)job.DestinationLength, float.NaN);
        NativeArrays.SameBytes((pool, level) =>
        {
            StagingPass.Quantize(pool, job, codes.Pointer, level);
            StagingPass.Store(pool, job, values.Pointer, level);
            return [.. codes.Bytes, .. values.Bytes];
        });
    }

    [TestCase(Activation.Silu)]
    [TestCase(Activation.Gelu)]
    [TestCase(Activation.GeluTanh)]
    [TestCase(Activation.QuickGelu)]
    public void ActivationsAreAccurate(Activation activation)
    {
        float[] x = [.. Enumerable.Range(-4000, 8001).Select(i => i * 0.005f)];
        using NativeArray<float> source = new(x), output = new(x.Length);
        using WorkerPool pool = new(1);
        StagingPass.Store(pool, new StagingJob { First = source.Rows(1), FirstChannels = 1, Batch = 1, SourceHeight = x.Length, SourceWidth = 1, Height = x.Length, Width = 1, Activation = activation }, output.Pointer);
        for (int i = 0; i < x.Length; i++)
        {
            Assert.That(output.Span[i], Is.EqualTo(Exact(activation, x[i])).Within(4e-7 * Math.Max(1, Math.Abs(x[i]))), $"{activation}({x[i]})");
        }
    }

    [TestCase(float.NaN, 0)]
    [TestCase(float.PositiveInfinity, 255)]
    [TestCase(float.NegativeInfinity, 0)]
    [TestCase(1e30f, 255)]
    [TestCase(-1e30f, 0)]
    [TestCase(0.5f, 10)]
    [TestCase(1.5f, 12)]
    [TestCase(-0.5f, 10)]
    [TestCase(-1.5f, 8)]
    public void ExtremesSaturateAndHalvesGoToEven(float value, int expected)
    {
        using NativeArray<float> source = new(37, value);
        using NativeArray<byte> codes = new(37);
        using WorkerPool pool = new(1);
        StagingJob job = new() { First = source.Rows(37), FirstChannels = 37, Batch = 1, SourceHeight = 1, SourceWidth = 1, Height = 1, Width = 1, Quantizer = new(1, 10), MaxCode = 255 };
        foreach (SimdLevel level in SimdLevels.Supported)
        {
            StagingPass.Quantize(pool, job, codes.Pointer, level);
            Assert.That(codes.ToArray(), Is.All.EqualTo((byte)expected), $"{level}");
        }
    }

    [Test]
    public void AllocatesNothing()
    {
        using Fixture fixture = new(s_cases[3]);
        using NativeArray<byte> codes = new((int)fixture.Job.DestinationLength);
        using WorkerPool pool = new(2);
        NativeArrays.AllocatesNothing(() => StagingPass.Quantize(pool, fixture.Job, codes.Pointer));
    }

    [Test]
    public void ContradictionsAreRefused()
    {
        using Fixture fixture = new(s_cases[2]);
        using WorkerPool pool = new(1);
        StagingJob job = fixture.Job;
        Assert.That(() => StagingPass.Quantize(pool, job with { MaxCode = 256 }, null), Throws.ArgumentException.With.Message.Contains("256"));
        Assert.That(() => StagingPass.Quantize(pool, job with { SplitChannel = 32 }, null), Throws.ArgumentException.With.Message.Contains("split"));
        Assert.That(() => StagingPass.Store(pool, job with { Offset = null }, null), Throws.ArgumentException.With.Message.Contains("offsets"));
        Assert.That(() => StagingPass.Store(pool, job with { Top = -1 }, null), Throws.ArgumentException.With.Message.Contains("border"));
        Assert.That(() => StagingPass.Store(pool, job with { Height = 0 }, null), Throws.ArgumentException.With.Message.Contains("no pixels"));
    }

    private static double Exact(Activation activation, double x) => activation switch
    {
        Activation.Silu => x / (1 + Math.Exp(-x)),
        Activation.Gelu => 0.5 * x * (1 + FunctionsTests.Erf(x / Math.Sqrt(2))),
        Activation.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Activation.QuickGelu => x / (1 + Math.Exp(-1.702 * x)),
        _ => x,
    };

    /// <summary>Random sources and parameters of a case, and its definition in plain loops.</summary>
    private sealed class Fixture : IDisposable
    {
        private readonly Case _case;
        private readonly List<NativeArray<float>> _arrays = [];
        private readonly StagingJob _job;

        public Fixture(Case c)
        {
            _case = c;
            int channels = c.First + c.Second, rows = c.Batch * c.H * c.W;
            _job = new StagingJob
            {
                First = Random(rows * (c.First + 3), 1).Rows(c.First + 3),
                FirstChannels = c.First,
                Second = c.Second == 0 ? default : Random(rows * c.Second, 2).Rows(c.Second),
                SecondChannels = c.Second,
                Batch = c.Batch,
                SourceHeight = c.H,
                SourceWidth = c.W,
                Height = c.OutH,
                Width = c.OutW,
                Top = c.Top,
                Left = c.Left,
                Bottom = c.Bottom,
                Right = c.Right,
                RowMean = c.Norm is Norm.Row or Norm.RowAffine ? Random(rows, 3).Pointer : null,
                RowInverseDeviation = c.Norm is Norm.Row or Norm.RowAffine ? Random(rows, 4).Pointer : null,
                Factor = c.Norm is Norm.None or Norm.Row ? null : Random(c.Batch * channels, 5).Pointer,
                Offset = c.Norm is Norm.None or Norm.Row ? null : Random(c.Batch * channels, 6).Pointer,
                AffineStride = c.Norm == Norm.SharedAffine ? 0 : channels,
                Activation = c.Activation,
                Quantizer = new ChannelQuantizer(31.7f, (byte)Math.Min(c.MaxCode, 113)),
                SplitChannel = c.Split,
                SplitQuantizer = new ChannelQuantizer(19.3f, (byte)Math.Min(c.MaxCode, 90)),
                InverseScales = c.PerChannel ? Random(channels, 7, 20).Pointer : null,
                MaxCode = c.MaxCode,
            };
        }

        public ref readonly StagingJob Job => ref _job;

        /// <summary>Channel and value of every element of the padded destination; no value in the border.</summary>
        public List<(int Channel, float? Value)> Expected()
        {
            List<(int, float?)> elements = [];
            for (int b = 0; b < _case.Batch; b++)
            {
                for (int y = -_case.Top; y < _case.OutH + _case.Bottom; y++)
                {
                    for (int x = -_case.Left; x < _case.OutW + _case.Right; x++)
                    {
                        bool inside = y >= 0 && y < _case.OutH && x >= 0 && x < _case.OutW;
                        for (int c = 0; c < Job.Channels; c++) elements.Add((c, inside ? Value(b, y * _case.H / _case.OutH, x * _case.W / _case.OutW, c) : null));
                    }
                }
            }

            return elements;
        }

        public void Dispose() => _arrays.ForEach(a => a.Dispose());

        private float Value(int b, int y, int x, int c)
        {
            int row = (b * _case.H + y) * _case.W + x;
            float v = c < _case.First ? Job.First.Row(row)[c] : Job.Second.Row(row)[c - _case.First];
            if (Job.RowMean != null) v = (v - Job.RowMean[row]) * Job.RowInverseDeviation[row];
            if (Job.Factor != null)
            {
                v *= Job.Factor[b * Job.AffineStride + c];
                v += Job.Offset[b * Job.AffineStride + c];
            }

            // The activation itself is checked by ActivationsAreAccurate.
            return _case.Activation switch
            {
                Activation.Silu => SiluActivation.Invoke<Simd1, float>(v),
                Activation.Gelu => GeluActivation.Invoke<Simd1, float>(v),
                Activation.GeluTanh => GeluTanhActivation.Invoke<Simd1, float>(v),
                Activation.QuickGelu => QuickGeluActivation.Invoke<Simd1, float>(v),
                _ => v,
            };
        }

        private NativeArray<float> Random(int length, int seed, double scale = 1)
        {
            NativeArray<float> array = NativeArrays.Random(length, seed, scale);
            _arrays.Add(array);
            return array;
        }
    }
}
