using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Elementwise;

/// <summary>Elements arrive where they belong, and nowhere else.</summary>
public unsafe class LayoutTests
{
    [TestCase(1, 1, 1)]
    [TestCase(2, 35, 3)]
    [TestCase(1, 16, 16)]
    [TestCase(3, 50, 33)]
    public void PlanesToRowsAndBack(int batch, int pixels, int channels)
    {
        RowShape shape = new(batch, pixels, channels);
        using NativeArray<float> planes = NativeArrays.Random(shape.Rows * channels, 1), rows = new(shape.Rows * (channels + 2), 77), back = new(planes.Length);
        using WorkerPool pool = new(2);
        Layout.ToRows(pool, shape, planes.Pointer, rows.Rows(channels + 2));
        for (int row = 0; row < shape.Rows; row++)
        {
            for (int c = 0; c < channels + 2; c++)
            {
                float expected = c < channels ? planes.Span[(row / pixels * channels + c) * pixels + row % pixels] : 77;
                Assert.That(rows.Span[row * (channels + 2) + c], Is.EqualTo(expected), $"row {row}, channel {c}");
            }
        }

        Layout.ToPlanes(pool, shape, rows.Rows(channels + 2), back.Pointer);
        Assert.That(back.ToArray(), Is.EqualTo(planes.ToArray()));
    }

    [Test]
    public void ConcatenationIsTwoCopiesAndSliceIsOne()
    {
        using NativeArray<float> first = NativeArrays.Random(2000 * 5, 1), second = NativeArrays.Random(2000 * 7, 2), both = new(2000 * 12), slice = new(2000 * 4);
        using WorkerPool pool = new(2);
        Layout.Copy(pool, new RowShape(2, 1000, 5), first.Rows(5), both.Rows(12));
        Layout.Copy(pool, new RowShape(2, 1000, 7), second.Rows(7), both.Rows(12).From(5));
        Layout.Copy(pool, new RowShape(2, 1000, 4), both.Rows(12).From(3), slice.Rows(4));
        for (int row = 0; row < 2000; row++)
        {
            float[] joined = [.. first.Span.Slice(row * 5, 5), .. second.Span.Slice(row * 7, 7)];
            Assert.That(both.Span.Slice(row * 12, 12).ToArray(), Is.EqualTo(joined), $"row {row}");
            Assert.That(slice.Span.Slice(row * 4, 4).ToArray(), Is.EqualTo(joined[3..7]), $"row {row}");
        }
    }

    [Test]
    public void GatherReadsTheNamedRowsAndRefusesOthers()
    {
        using NativeArray<float> table = NativeArrays.Random(5 * 3, 1), output = new(4 * 3);
        using NativeArray<int> indices = new([4, 0, 4, 2]);
        Layout.Gather(table.Rows(3), 5, indices.Pointer, 4, 3, output.Rows(3));
        Assert.That(output.ToArray(), Is.EqualTo((float[])[.. table.Span[12..], .. table.Span[..3], .. table.Span[12..], .. table.Span[6..9]]));
        foreach (int wrong in new[] { -1, 5, int.MaxValue })
        {
            indices.Span[1] = wrong;
            Assert.That(() => Layout.Gather(table.Rows(3), 5, indices.Pointer, 4, 3, output.Rows(3)), Throws.InstanceOf<ArgumentOutOfRangeException>(), $"{wrong}");
        }
    }
}
