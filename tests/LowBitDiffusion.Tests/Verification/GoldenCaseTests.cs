using System.Runtime.InteropServices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;
using LowBitDiffusion.Verification;

namespace LowBitDiffusion.Tests.Verification;

/// <summary>Verification finds what is wrong: differences, missing outputs, files that do not fit.</summary>
public sealed class GoldenCaseTests
{
    private static readonly string Folder = Repository.Golden("unet2d_attn_resnet");

    [Test]
    public void A_difference_beyond_the_stated_tolerance_does_not_pass()
    {
        using GoldenCase golden = GoldenCase.Open(Folder);

        IReadOnlyList<GoldenComparison> comparisons = golden.Run("io.safetensors", (graph, weights, inputs, onTap, cancellation) =>
        {
            IReadOnlyDictionary<string, float[]> outputs = GoldenExecutors.Reference(graph, weights, inputs, (name, value) => onTap(name, name == "mid_block" ? [.. value.Select(v => v * 1.001f)] : value), cancellation);
            return outputs.ToDictionary(output => output.Key, output => output.Value.Select((v, i) => i == 0 ? v + 1e-3f : v).ToArray());
        });

        Assert.That(comparisons.Where(comparison => !comparison.Passed).Select(comparison => comparison.Name), Is.EquivalentTo(new[] { "act.mid_block", "out.sample" }));
    }

    [Test]
    public void The_tolerance_is_the_index_s()
    {
        using GoldenCase golden = GoldenCase.Open(Folder);

        GoldenComparison output = golden.Run("io.safetensors", GoldenExecutors.Reference).Single(comparison => comparison.Name == "out.sample");

        Assert.That((output.MaxAbsTolerance, output.RelL2Tolerance), Is.EqualTo((5e-5, 3e-5)));
    }

    [Test]
    public void Without_an_index_the_tolerance_is_a_ten_thousandth_of_the_largest_value()
    {
        using TemporaryFolder folder = new();
        foreach (string file in Directory.GetFiles(Folder)) File.Copy(file, folder[Path.GetFileName(file)]);
        using GoldenCase golden = GoldenCase.Open(folder.Path);
        using SafeTensorsFile io = SafeTensorsFile.Open(folder["io.safetensors"]);

        GoldenComparison output = golden.Run("io.safetensors", GoldenExecutors.Reference).Single(comparison => comparison.Name == "out.sample");

        Assert.That(output.MaxAbsTolerance, Is.EqualTo(1e-4 * io.ReadSingles("out.sample").Max(Math.Abs)).Within(1e-12));
        Assert.That(output.Passed, Is.True);
    }

    [Test]
    public void One_timestep_serves_the_whole_batch()
    {
        using TemporaryFolder folder = new();
        foreach (string file in Directory.GetFiles(Repository.Golden("unet2d_ddpm_cifar"))) File.Copy(file, folder[Path.GetFileName(file)]);
        int timesteps = 0;
        Rewrite(folder["io.safetensors"], "in.timestep", [], [500]);
        using GoldenCase golden = GoldenCase.Open(folder.Path);

        golden.Run("io.safetensors", (graph, weights, inputs, onTap, cancellation) =>
        {
            timesteps = inputs["timestep"].Length;
            return GoldenExecutors.Reference(graph, weights, inputs, onTap, cancellation);
        });

        Assert.That(timesteps, Is.EqualTo(2));
    }

    [Test]
    public void An_output_that_the_network_does_not_have_is_named()
    {
        using TemporaryFolder folder = new();
        foreach (string file in Directory.GetFiles(Folder)) File.Copy(file, folder[Path.GetFileName(file)]);
        Rewrite(folder["io.safetensors"], "out.variance", [1], [0]);
        using GoldenCase golden = GoldenCase.Open(folder.Path);

        Assert.That(() => golden.Run("io.safetensors", GoldenExecutors.Reference), Throws.TypeOf<ModelFormatException>().With.Message.Contains("out.variance").And.Message.Contains("sample"));
    }

    [Test]
    public void An_input_that_the_network_does_not_have_is_named()
    {
        using TemporaryFolder folder = new();
        foreach (string file in Directory.GetFiles(Folder)) File.Copy(file, folder[Path.GetFileName(file)]);
        Rewrite(folder["io.safetensors"], "in.mask", [1], [0]);
        using GoldenCase golden = GoldenCase.Open(folder.Path);

        Assert.That(() => golden.Run("io.safetensors", GoldenExecutors.Reference), Throws.TypeOf<ModelFormatException>().With.Message.Contains("in.mask"));
    }

    [TestCase(new float[] { 1, 2 }, new float[] { 1, float.NaN }, false, TestName = "not a number")]
    [TestCase(new float[] { 1, 2 }, new float[] { 1 }, false, TestName = "another length")]
    [TestCase(new float[] { 0, 0 }, new float[] { 0, 0 }, true, TestName = "nothing but zeros")]
    [TestCase(new float[] { 0, 0 }, new float[] { 0, 1e-9f }, false, TestName = "something where zeros are expected")]
    [TestCase(new float[] { 100, 1 }, new float[] { 100, 1.009f }, true, TestName = "a difference small beside the largest value")]
    public void Passes(float[] expected, float[] found, bool passed) => Assert.That(GoldenComparison.Of("x", expected, found, null, null).Passed, Is.EqualTo(passed));

    private static void Rewrite(string file, string tensor, long[] shape, float[] values)
    {
        List<(TensorInfo Info, byte[] Bytes)> tensors = [(new TensorInfo(tensor, DType.F32, shape), MemoryMarshal.AsBytes(values.AsSpan()).ToArray())];
        using (SafeTensorsFile source = SafeTensorsFile.Open(file))
        {
            tensors.AddRange(source.Tensors.Values.Where(info => info.Name != tensor).Select(info => (info, source.ReadBytes(info.Name))));
        }

        SafeTensorsWriter.Write(file, tensors);
    }
}
