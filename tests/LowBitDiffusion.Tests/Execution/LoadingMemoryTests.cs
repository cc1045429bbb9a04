using LowBitDiffusion.Execution;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Formats;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>Loading takes what the plan foretold: no second copy of the weights stays behind, neither on the managed heap nor outside of it.</summary>
[NonParallelizable]
public sealed class LoadingMemoryTests
{
    [TestCase("f32")]
    [TestCase("w8a8")]
    [TestCase("w4a8")]
    public void Weights_of_a_file_are_packed_without_managed_copies(string precision)
    {
        using TemporaryFolder folder = new();
        RandomModelFolder.Write("ddpm-cifar10", folder["model"], new RandomModelOptions { Precision = precision });
        using ComponentFolder files = ModelFolder.Open(folder["model"]).OpenComponent("unet");
        INetwork network = NetworkRegistry.Create(files.Config);
        IReadOnlyDictionary<string, TensorShape> inputs = network.NativeInputs(1);
        using WorkerPool pool = new(2);
        using PreparedModel model = new(network, ModelLoader.Open(files, network, inputs));
        PlanMemory estimate = model.Estimate(inputs, pool.Threads);
        long live = NativeBuffer.LiveBytes, managed = GC.GetTotalAllocatedBytes(precise: true);

        using PlannedNetwork planned = model.Compile(inputs, pool);

        managed = GC.GetTotalAllocatedBytes(precise: true) - managed;
        live = NativeBuffer.LiveBytes - live;
        // A copy of the codes would take a byte for each.
        long parameters = network.Build(inputs).Parameters.Sum(parameter => parameter.Shape.Elements);
        Assert.That(managed, Is.LessThan(parameters / 2), $"managed bytes allocated for {parameters} parameters");
        Assert.That(live, Is.EqualTo(estimate.Weights + estimate.Activations(1)).Within(2).Percent, "native bytes that stay");
    }

    [Test]
    public void The_whole_process_is_foretold_with_what_it_has_already()
    {
        MemoryEstimate estimate = new([("weights", 100), ("activations", 20)]);

        Assert.That(estimate.Runtime, Is.GreaterThan(10 << 20), "a process of this runtime has more");
        Assert.That(estimate.Process, Is.EqualTo(120 + estimate.Runtime));
    }
}
