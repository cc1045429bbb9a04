namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>How a device's kernel walks an image along the words of <see cref="PackedColumns"/>.</summary>
/// <param name="Runs">For each phase of the walk and each word of K its distance in bytes from the first pixel under the kernel.</param>
/// <param name="Segments">For each segment the word where it ends, and which of the input's quantizers is its.</param>
/// <param name="Aligned">Whether all words lie at multiples of 4 bytes if the image does.</param>
internal sealed record WordWalk(int[] Runs, int[] Segments, bool Aligned)
{
    /// <summary>Walks an image.</summary>
    /// <param name="plan">Plan of the packed weights.</param>
    /// <param name="walk">Walk over the image.</param>
    /// <param name="inputRanges">For each segment, which of the input's quantizers is its.</param>
    internal static WordWalk Of(PackedPlan plan, ConvWalk walk, ReadOnlySpan<int> inputRanges)
    {
        int[] runs = new int[walk.Phases.Length * plan.Groups], segments = new int[2 * plan.Segments.Length];
        int at = 0;
        bool aligned = walk.Geometry.Channels % 4 == 0;
        foreach (ConvPhase phase in walk.Phases)
        {
            foreach (SegmentPlan segment in plan.Segments)
            {
                foreach (ConvRun pixel in phase.Runs(joined: false))
                {
                    for (int word = 0; word < segment.Groups; word++) runs[at++] = (int)pixel.Offset + segment.Start + (4 * word);
                }
            }
        }

        for (int s = 0; s < plan.Segments.Length; s++)
        {
            aligned &= plan.Segments[s].Start % 4 == 0;
            (segments[2 * s], segments[(2 * s) + 1]) = (s + 1 < plan.Segments.Length ? plan.Segments[s + 1].FirstGroup : plan.Groups, inputRanges[s]);
        }

        return new WordWalk(runs, segments, aligned);
    }
}
