using LowBitDiffusion.Kernels.Convolution;

namespace LowBitDiffusion.Kernels.Tests.Convolution;

/// <summary>A convolution's pieces cover it once and keep all threads busy to the end.</summary>
[Category("Kernels")]
public sealed class TileScheduleTests
{
    [Test]
    public void Pieces_cover_every_row_and_panel_once(
        [Values(1, 5, 16, 77, 784, 4096)] int rows, [Values(1, 2, 10, 40)] int panels, [Values(1, 2, 3, 8, 64)] int threads)
    {
        TileSchedule schedule = new(ConvGeometry.Linear(rows, 320, 32 * panels), panels, rowsPerTile: 12, threads);
        int[] done = new int[rows * panels];

        for (int piece = 0; piece < schedule.Pieces; piece++)
        {
            (int firstRow, int rowEnd, int firstPanel, int panelEnd) = schedule[piece];
            Assert.That(rowEnd - firstRow, Is.InRange(1, TileSchedule.MaxBlockRows), "rows of a piece");
            for (int row = firstRow; row < rowEnd; row++)
            {
                for (int panel = firstPanel; panel < panelEnd; panel++) done[(row * panels) + panel]++;
            }
        }

        Assert.That(done, Is.All.EqualTo(1));
    }

    [TestCase(66, 320, 320, 3, TestName = "Two_threads_finish_together(64×64, 320 to 320)")]
    [TestCase(34, 640, 640, 3, TestName = "Two_threads_finish_together(32×32, 640 to 640)")]
    [TestCase(18, 1280, 1280, 3, TestName = "Two_threads_finish_together(16×16, 1280 to 1280)")]
    [TestCase(10, 1280, 1280, 3, TestName = "Two_threads_finish_together(8×8, 1280 to 1280)")]
    [TestCase(64, 320, 320, 1, TestName = "Two_threads_finish_together(4096 rows, 320 to 320)")]
    [TestCase(32, 640, 5120, 1, TestName = "Two_threads_finish_together(1024 rows, 640 to 5120)")]
    [TestCase(30, 32, 32, 3, TestName = "Two_threads_finish_together(28×28, 32 to 32)")]
    [TestCase(4, 512, 512, 1, TestName = "Two_threads_finish_together(16 rows, 512 to 512)")]
    public void Two_threads_finish_together(int size, int channels, int outChannels, int kernel)
    {
        ConvGeometry geometry = new(1, size, size, channels, outChannels, kernel, kernel, 1);
        TileSchedule schedule = new(geometry, outChannels / 32, rowsPerTile: 12, threads: 2);
        long[] busy = new long[2];

        // Who is free takes the next piece.
        for (int piece = 0; piece < schedule.Pieces; piece++)
        {
            (int firstRow, int rowEnd, int firstPanel, int panelEnd) = schedule[piece];
            busy[busy[0] <= busy[1] ? 0 : 1] += (long)(rowEnd - firstRow) * (panelEnd - firstPanel);
        }

        Assert.That(busy.Max(), Is.LessThanOrEqualTo(busy.Sum() / 2 * 1.03));
    }
}
