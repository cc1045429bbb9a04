using LowBitDiffusion.Execution;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>A planned network in a sampling loop: scales by timestep value, everything prepared beforehand, nothing allocated in a step.</summary>
[NonParallelizable]
public sealed class PlannedNetworkTests
{
    [Test]
    public void The_same_timestep_gets_the_same_scales_whatever_the_number_of_steps()
    {
        // With 20 steps the timesteps are 950, 900 … 0; with 10 every other one of them; with 50 they are 20 apart: 900, 800 … are in all three.
        using DiffusionFixture model = new("fashion-unet-w4a8");
        Dictionary<float, float[]> predictions = [];
        foreach (int steps in new[] { 20, 10, 50 })
        {
            float[] timesteps = [.. Enumerable.Range(0, steps).Select(i => (float)((steps - 1 - i) * (1000 / steps)))];
            model.Network.Prepare(timesteps, model.Conditions);
            for (int step = 0; step < steps; step++)
            {
                if (timesteps[step] % 100 != 0) continue;
                float[] prediction = new float[model.Network.PredictionLength];
                model.Network.Predict(step, model.Sample, prediction);
                if (!predictions.TryAdd(timesteps[step], prediction))
                    Assert.That(prediction, Is.EqualTo(predictions[timesteps[step]]), $"timestep {timesteps[step]} of {steps} steps");
            }
        }

        Assert.That(predictions, Has.Count.EqualTo(10));
        Assert.That(predictions[0], Is.Not.EqualTo(predictions[900]));
    }

    [Test]
    public void A_step_allocates_nothing([Values("fashion-unet", "fashion-unet-w4a8")] string name)
    {
        using DiffusionFixture model = new(name);
        float[] prediction = new float[model.Network.PredictionLength];
        model.Network.Prepare([900, 500, 0], model.Conditions);
        for (int step = 0; step < 3; step++) model.Network.Predict(step, model.Sample, prediction);

        long bytes = Allocation.Of(() =>
        {
            for (int step = 0; step < 3; step++) model.Network.Predict(step, model.Sample, prediction);
        });

        Assert.That(bytes, Is.Zero, "bytes of three steps");
    }

    [Test]
    public void Time_projections_are_not_computed_in_the_loop()
    {
        using DiffusionFixture model = new("fashion-unet-w4a8");
        model.Network.Prepare([900], model.Conditions);
        model.Network.Profile = true;
        model.Network.Predict(0, model.Sample, new float[model.Network.PredictionLength]);

        Assert.That(model.Network.TakeTimings().Select(t => t.Name), Has.None.Contains("time_emb"), "layers run in a step");
    }

    [Test]
    public void Loading_tells_of_ever_more_layers_from_one_thread_at_a_time()
    {
        Watcher<double> watcher = new(pause: TimeSpan.FromMilliseconds(1));
        using (DiffusionModel.Load(Repository.Model("fashion-unet-w4a8"), new() { Threads = 4 }, watcher, default))
        {
            Assert.That(watcher.Reports, Is.Ordered.Ascending);
            Assert.That(watcher.Reports, Has.Count.GreaterThan(50));
            Assert.That(watcher.Reports[^1], Is.EqualTo(1).Within(1e-9));
            Assert.That(watcher.Overlapping, Is.Zero, "reports at the same time");
        }
    }

    [Test]
    public void Loading_tells_nothing_after_it_was_stopped()
    {
        using CancellationTokenSource stop = new();
        Watcher<double> watcher = new(_ => stop.Cancel(), pause: TimeSpan.FromMilliseconds(1));

        Assert.That(() => DiffusionModel.Load(Repository.Model("fashion-unet-w4a8"), new() { Threads = 4 }, watcher, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(watcher.Reports, Has.Count.EqualTo(1));
    }

    [Test]
    public void A_missing_input_is_named()
    {
        using DiffusionFixture model = new("fashion-unet");

        Assert.That(() => model.Network.Prepare([1], new Dictionary<string, float[]>()), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("class_labels"));
        Assert.That(() => model.Network.Prepare([1], new Dictionary<string, float[]> { ["class_labels"] = [1, 2, 3] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("found 3"));
        Assert.That(() => model.Network.Prepare([1], new Dictionary<string, float[]> { ["class_labels"] = [99] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("found 99"));
    }

    /// <summary>One image of a model in <c>models/</c>.</summary>
    private sealed class DiffusionFixture : IDisposable
    {
        private readonly DiffusionModel _model;
        private readonly ModelComponent.Lease _lease;

        public DiffusionFixture(string name)
        {
            _model = DiffusionModel.Load(Repository.Model(name), new() { Threads = 2 }, null, default);
            _lease = _model.Denoiser.Rent(_model.Denoiser.Network.NativeInputs(1));
            Sample = RandomModel.Normal(new Random(3), Network.SampleLength);
        }

        public PlannedNetwork Network => _lease.Network;

        public float[] Sample { get; }

        public Dictionary<string, float[]> Conditions { get; } = new() { ["class_labels"] = [4] };

        public void Dispose()
        {
            _lease.Dispose();
            _model.Dispose();
        }
    }
}
