using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Tests.Quantizers;

/// <summary>Tables of one grid of timesteps serve another.</summary>
internal sealed class TimestepRegriddingTests
{
    [Test]
    public void Entries_of_common_timesteps_are_taken_as_they_are()
    {
        float[] hundred = [.. Enumerable.Range(0, 100).Select(i => 10f * i)], twenty = [.. Enumerable.Range(0, 20).Select(i => 50f * i)];
        TimestepTable table = new(hundred, [.. hundred.Select(t => 0.01f + t / 1e4f)], [.. Enumerable.Range(0, 100).Select(i => i % 16)], 1, 4);
        TimestepTable fewer = TimestepRegridding.To(table, twenty);
        foreach (float timestep in twenty) Assert.That(fewer.At(timestep), Is.EqualTo(table.At(timestep)), $"timestep {timestep}");
    }

    [Test]
    public void Between_entries_lies_a_line_and_beyond_them_the_last()
    {
        TimestepTable table = new([100, 200], [1, 10, 3, 20], [2, 4, 6, 4], 2, 4);
        TimestepTable other = TimestepRegridding.To(table, [0, 125, 150, 400]);
        Assert.That(other.Timesteps.ToArray(), Is.EqualTo(new float[] { 0, 125, 150, 400 }));
        Assert.That(other.Scales.ToArray(), Is.EqualTo(new float[] { 1, 10, 1.5f, 12.5f, 2, 15, 3, 20 }), "steps of two segments");
        Assert.That(other.ZeroPoints.ToArray(), Is.EqualTo(new[] { 2, 4, 3, 4, 4, 4, 6, 4 }), "zero points of two segments");
    }

    [Test]
    public void More_timesteps_and_back_change_nothing()
    {
        TimestepTable table = new([0, 50, 100], [1, 2, 4], [0, 5, 9], 1, 4);
        TimestepTable back = TimestepRegridding.To(TimestepRegridding.To(table, [0, 10, 50, 60, 90, 100]), [0, 50, 100]);
        Assert.That(back.Scales.ToArray(), Is.EqualTo(table.Scales.ToArray()));
        Assert.That(back.ZeroPoints.ToArray(), Is.EqualTo(table.ZeroPoints.ToArray()));
    }

    [Test]
    public void One_entry_serves_all() => Assert.That(TimestepRegridding.To(new TimestepTable([0], [1], [0], 1, 4), [1, 2]).IsStatic);
}
