using System.Diagnostics;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>What a device's products of bytes reach on registers alone: what kernels are measured against.</summary>
public static class PeakProducts
{
    private const int GroupsPerUnit = 64;
    private const double LeastSeconds = 0.1;

    /// <summary>Integer operations per second, two for each product that is added.</summary>
    public static double OperationsPerSecond(DeviceQueue queue, KernelChoice choice)
    {
        MatrixTile tile = choice.IntegerTile;
        int groups = queue.Context.Device.ComputeUnits * GroupsPerUnit;
        (string family, string options, (_, (int X, int Y) group)) = choice.Integers(tile, 1, 1);

        // Products of an item in a round: a warp has eight tiles of 16 × 8 × 32.
        double products = choice.Dot == IntegerDot.NvidiaTensor ? 8.0 * 16 * 8 * 32 / 32 : 4.0 * tile.Vector * tile.Rows;
        int items = groups * group.X * group.Y;
        using DeviceBuffer output = queue.Context.Allocate((long)items * Math.Max(tile.Vector, 4) * sizeof(int));
        for (int rounds = 64; ; rounds *= 2)
        {
            long start = Stopwatch.GetTimestamp();
            queue.Call(family, options, "peak").Memory(output.At(0)).Value(rounds).Run(((long)groups * group.X, group.Y), group);
            queue.Wait();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (seconds >= LeastSeconds && rounds > 64) return 2 * products * items * rounds / seconds;
        }
    }
}
