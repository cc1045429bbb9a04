using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>The computation of a pipeline written down once, plainly: the reference executor, DDIM in double precision, one image, two calls for guidance. Shares nothing with the pipelines.</summary>
internal sealed class StraightLine(string model)
{
    /// <summary>Runs a network of the folder.</summary>
    public IReadOnlyDictionary<string, float[]> Run(string component, params (string Name, TensorShape Shape, float[] Values)[] inputs)
    {
        using ComponentFolder files = ComponentFolder.Open(Path.Combine(model, component));
        INetwork network = NetworkRegistry.Create(files.Config);
        Graph graph = network.Build(inputs.ToDictionary(input => input.Name, input => input.Shape));
        return ReferenceExecutor.Run(graph, ModelLoader.Open(files, network, network.NativeInputs(1)), inputs.ToDictionary(input => input.Name, input => input.Values));
    }

    /// <summary>Noise as torch draws it.</summary>
    public static float[] Noise(ulong seed, int length)
    {
        float[] noise = new float[length];
        NoiseGenerators.Create(NoiseSource.TorchCpu, seed).FillNormal(noise);
        return noise;
    }

    /// <summary>DDIM with Stable Diffusion's schedule, from one of its steps on.</summary>
    /// <param name="sample">The sample at the first step.</param>
    /// <param name="steps">Steps of the whole run.</param>
    /// <param name="predict">The noise in a sample at a timestep.</param>
    /// <param name="first">The first step that is done.</param>
    public static float[] Ddim(float[] sample, int steps, Func<float[], int, float[]> predict, int first = 0)
    {
        int stride = 1000 / steps;
        for (int i = first; i < steps; i++)
        {
            int t = (steps - 1 - i) * stride + 1;
            double now = AlphaBar(t), next = AlphaBar(Math.Max(t - stride, 0));
            float[] noise = predict(sample, t);
            sample = [.. sample.Zip(noise, (x, e) => (float)(Math.Sqrt(next) * (x - Math.Sqrt(1 - now) * e) / Math.Sqrt(now) + Math.Sqrt(1 - next) * e))];
        }

        return sample;
    }

    /// <summary>ᾱ of a timestep.</summary>
    public static double AlphaBar(int timestep)
    {
        double product = 1;
        for (int t = 0; t <= timestep; t++)
        {
            double root = Math.Sqrt(0.00085) + (Math.Sqrt(0.012) - Math.Sqrt(0.00085)) * t / 999;
            product *= 1 - root * root;
        }

        return product;
    }

    /// <summary>Largest difference relative to the largest value.</summary>
    public static double Error(float[] expected, float[] found)
    {
        Assert.That(found, Has.Length.EqualTo(expected.Length));
        double error = expected.Zip(found, (a, b) => Math.Abs((double)a - b)).Max() / expected.Max(Math.Abs);
        TestContext.Out.WriteLine($"relative error {error:g3}");
        return error;
    }
}
