using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>The trained models in <c>models/</c>, stored in F16, draw what PyTorch and diffusers draw with the original F32 weights.</summary>
public sealed class FashionReferenceTests
{
    private const float Guidance = 1.25f;

    [Test]
    public void Pictures_are_those_of_diffusers([Values("fashion-unet", "fashion-dit")] string name, [Values(10, 20, 50)] int steps)
    {
        using DiffusionModel model = DiffusionModel.Load(Repository.Model(name), new PipelineOptions(), null, default);
        using SafeTensorsFile reference = SafeTensorsFile.Open(Path.Combine(Repository.Model(name), "reference.safetensors"));
        float[] labels = reference.ReadSingles("in.labels"), sample = reference.ReadSingles("in.noise"), expected = reference.ReadSingles($"out.steps{steps}.image");

        using ModelComponent.Lease lease = model.Denoiser.Rent(model.Denoiser.Network.NativeInputs(2 * labels.Length));
        using Denoiser denoiser = new(lease.Network, labels.Length, Guidance, twoPasses: false, dropVariance: false);
        IScheduler scheduler = SchedulerFactory.Create(model.Scheduler, new SamplingRun(steps, labels.Length, sample.Length));
        float[] prediction = new float[sample.Length];
        float[] conditions = [.. labels, .. Enumerable.Repeat((float)model.Description.NullLabel!.Value, labels.Length)];
        denoiser.Prepare([.. scheduler.Timesteps], _ => new Dictionary<string, float[]> { ["class_labels"] = conditions }, default);
        for (int call = 0; call < scheduler.Timesteps.Count; call++)
        {
            denoiser.Predict(call, sample, prediction, default);
            scheduler.Step(call, prediction, sample, NoiseGenerators.Create(NoiseSource.TorchCpu, 0));
        }

        // In [−1, 1] a pixel step is 2/255 = 0.0078. F16 weights move pictures by less than that on average.
        double mean = expected.Zip(sample, (a, b) => Math.Abs(Math.Clamp(a, -1, 1) - Math.Clamp(b, -1, 1))).Average();
        double largest = expected.Zip(sample, (a, b) => Math.Abs(Math.Clamp(a, -1, 1) - Math.Clamp(b, -1, 1))).Max();
        TestContext.Out.WriteLine($"mean {mean:g3}, largest {largest:g3}");
        Assert.That(mean, Is.LessThan(0.002));
        Assert.That(largest, Is.LessThan(0.1));
    }

    [Test]
    public void Noise_of_a_seed_is_that_of_torch([Values("fashion-unet", "fashion-dit")] string name, [Values(0, 1, 2)] int seed)
    {
        using SafeTensorsFile reference = SafeTensorsFile.Open(Path.Combine(Repository.Model(name), "reference.safetensors"));
        float[] expected = reference.ReadSingles($"in.noise_seed{seed}"), found = new float[expected.Length];

        NoiseGenerators.Create(NoiseSource.TorchCpu, (ulong)seed).FillNormal(found);

        Assert.That(found, Is.EqualTo(expected).Within(1e-6f));
    }
}
