using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// Packs one head's keys and values as right-hand sides of the two products. Columns that fill up a vector are zero.
/// <code>
///   keys:    panel of 2 vectors of keys,     element (channel, key)       for q kᵀ
///   values:  panel of 2 vectors of channels, element (key, channel)       for p v
/// </code>
/// </summary>
internal readonly unsafe struct AttentionPackBody<TSimd, TVector>(AttentionJob job, AttentionScratch layout, float* keys, float* values) : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
{
    private int KeyPanels => Panels.Count(job.Keys, TSimd.Count);

    /// <summary>One piece per head and panel of keys.</summary>
    public int Pieces => job.Batch * job.Heads * KeyPanels;

    /// <inheritdoc/>
    public void Run(int index)
    {
        int head = index / KeyPanels, panel = index % KeyPanels, first = panel * 2 * TSimd.Count;
        int width = Panels.Vectors(panel, job.Keys, TSimd.Count) * TSimd.Count, count = Math.Min(width, job.Keys - first);
        nint row = (nint)(head / job.Heads) * job.Keys + first;
        PackKeys(keys + head * layout.KeyLength + (nint)first * job.HeadWidth, row, head % job.Heads * job.HeadWidth, width, count);
        PackValues(values + head * layout.ValueLength, first, row, head % job.Heads * job.ValueWidth, count);
    }

    private void PackKeys(float* panel, nint row, int firstChannel, int width, int count)
    {
        if (count < width) new Span<float>(panel, width * job.HeadWidth).Clear();
        for (int key = 0; key < count; key++)
        {
            float* source = job.Key.Row(row + key) + firstChannel;
            for (int channel = 0; channel < job.HeadWidth; channel++) panel[channel * width + key] = source[channel];
        }
    }

    private void PackValues(float* head, int firstKey, nint row, int firstChannel, int count)
    {
        for (int panel = 0; panel < Panels.Count(job.ValueWidth, TSimd.Count); panel++)
        {
            int channel = panel * 2 * TSimd.Count, width = Panels.Vectors(panel, job.ValueWidth, TSimd.Count) * TSimd.Count;
            int channels = Math.Min(width, job.ValueWidth - channel);
            float* target = head + (nint)channel * job.Keys + (nint)firstKey * width;
            for (int key = 0; key < count; key++, target += width)
            {
                new ReadOnlySpan<float>(job.Value.Row(row + key) + firstChannel + channel, channels).CopyTo(new Span<float>(target, channels));
                new Span<float>(target + channels, width - channels).Clear();
            }
        }
    }
}
