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
        int groups = queue.Context.Device.ComputeUnits * GroupsPerUnit, items = groups * tile.Lanes * tile.Lines;
        using DeviceBuffer output = queue.Context.Allocate((long)items * tile.Vector * sizeof(int));
        for (int rounds = 64; ; rounds *= 2)
        {
            long start = Stopwatch.GetTimestamp();
            queue.Call("integer_matrix", $"{tile.Options} {KernelChoice.Option(choice.Dot)}", "peak").Memory(output.At(0)).Value(rounds)
                .Run(((long)groups * tile.Lanes, tile.Lines), (tile.Lanes, tile.Lines));
            queue.Wait();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (seconds >= LeastSeconds && rounds > 64) return 2.0 * 4 * tile.Vector * tile.Rows * items * rounds / seconds;
        }
    }
}
