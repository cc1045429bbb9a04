using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Verification;

/// <summary>The executors that golden cases are run with.</summary>
public static class GoldenExecutors
{
    /// <summary>The slow and obvious one.</summary>
    public static GoldenExecutor Reference { get; } = (graph, weights, inputs, onTap, cancellationToken) =>
        ReferenceExecutor.Run(graph, weights, inputs, onTap: (tap, _, value) => onTap(tap, value), cancellationToken: cancellationToken);

    /// <summary>The planned one. It is run twice: fused as in production for the outputs, and with every module's output stored for the captures; both give the outputs.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="kernels">Kernels; null for the fastest.</param>
    /// <param name="device">Where the plan runs; null for the processor.</param>
    public static GoldenExecutor Planned(WorkerPool pool, KernelTable? kernels = null, ComputeDevice? device = null) => (graph, weights, inputs, onTap, cancellationToken) =>
    {
        using PackedModel model = new(weights, kernels ?? KernelTable.Best);
        using DeviceModel? onDevice = device is null ? null : new(device, weights);
        ILookup<Node, string> names = graph.Taps.ToLookup(t => t.Value, t => t.Key);
        using (PlannedNetwork open = new(PlanCompiler.Compile(model, graph, graph.Taps.Values, pool.Threads), model, pool, null, cancellationToken, onDevice))
        {
            open.Observer = (node, rows) =>
            {
                float[] value = ToGraphLayout(node.Shape, rows);
                foreach (string name in names[node]) onTap(name, value);
            };
            open.Run(inputs, progress: null, cancellationToken);
        }

        using PlannedNetwork fused = new(PlanCompiler.Compile(model, graph, [], pool.Threads), model, pool, null, cancellationToken, onDevice);
        return fused.Run(inputs, progress: null, cancellationToken);
    };

    private static float[] ToGraphLayout(TensorShape shape, ReadOnlySpan<float> rows)
    {
        float[] value = rows.ToArray();
        if (shape.Rank != 4) return value;
        int channels = shape[1], positions = shape.Positions;
        for (int n = 0; n < shape[0]; n++)
        {
            for (int p = 0; p < positions; p++)
            {
                for (int c = 0; c < channels; c++) value[(n * channels + c) * positions + p] = rows[(n * positions + p) * channels + c];
            }
        }

        return value;
    }
}
