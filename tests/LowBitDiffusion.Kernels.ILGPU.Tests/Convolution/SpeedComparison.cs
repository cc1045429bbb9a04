using System.Diagnostics;
using ILGPU;
using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Devices;
using LowBitDiffusion.Kernels.ILGPU.Families;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.Tests.Convolution;
using OpenCLFamilies = LowBitDiffusion.Kernels.OpenCL.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Convolution;

/// <summary>The same layer by OpenCL C and by ILGPU on the machine's first OpenCL device, in turn; prints the times. Measures, and tests nothing.</summary>
[Explicit]
public sealed class SpeedComparison
{
    [TestCase(CodeRange.Full)]
    [TestCase(CodeRange.FourBit)]
    public void A_convolution_of_320_channels(CodeRange codes)
    {
        QuantizedConvCase definition = new("speed", 320, 320) { Image = (32, 32), Kernel = (3, 3), Padding = (1, 1, 1, 1), Codes = codes };
        QuantizedConvProblem problem = new(definition);
        float[] quantizer = [1 / problem.InputScales[0], problem.InputScales[0], problem.ZeroPoints[0]];
        double[] best = [double.MaxValue, double.MaxValue];
        using OpenClContext context = new(OpenClDevice.All(out _)[0]);
        using DeviceQueue queue = context.CreateQueue();
        using DeviceArena arena = new(context);
        DeviceSlice input = arena.Put(queue, problem.Input), numbers = arena.Put<float>(queue, quantizer), bias = arena.Put<float>(queue, problem.Bias), output = arena.Put<float>(queue, problem.Output());
        OpenCLFamilies.IntegerMatrix matrix = new(
            queue, arena, definition.Geometry, OpenCLFamilies.IntegerWeights.Load(queue, arena, problem.Codes, definition.Shape, definition.Ranges, problem.WeightScales), [0], 1);

        IlgpuDevice device = TestDevices.Of(AcceleratorType.OpenCL);
        using DeviceMemory memory = new(device);
        using IntegerWeights weights = IntegerWeights.Load(device, problem.Codes, definition.Shape, definition.Ranges, problem.WeightScales);
        using IntegerMatrix layer = new(device, definition.Geometry, weights, [0], 1);
        ArrayView<byte> image = memory.PutCodes(problem.Input.ToArray());
        ArrayView<float> ranges = memory.Put(quantizer), sums = memory.Put(problem.Output()), added = memory.Put(problem.Bias!);

        for (int i = 0; i < 6; i++)
        {
            Time(0, () => matrix.Enqueue(queue, OpenCLFamilies.KernelChoice.Portable(context.Device), input, numbers, new(bias, default, 0, default, 0, 1, output, 320)), queue.Wait);
            Time(1, () => layer.Enqueue(IntegerVariant.Plain, image, ranges, new MatrixEpilogue(added, default, 0, default, 0, 1, sums, 320)), device.Wait);
        }

        IntegerMatrixTests.SameBits(device.Download(sums), queue.Download<float>(output, (int)sums.Length), "both");
        TestContext.Out.WriteLine(FormattableString.Invariant($"{codes}: OpenCL C {best[0] * 1000:F1} ms, ILGPU {best[1] * 1000:F1} ms, ratio {best[1] / best[0]:F2}"));

        void Time(int which, Action enqueue, Action wait)
        {
            long start = Stopwatch.GetTimestamp();
            enqueue();
            wait();
            best[which] = Math.Min(best[which], Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
    }
}
