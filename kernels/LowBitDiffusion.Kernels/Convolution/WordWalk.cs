namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>How a device's kernel walks an image along the words of <see cref="PackedColumns"/>.</summary>
/// <param name="Runs">For each word of K its distance in bytes from a pixel's corner.</param>
/// <param name="Segments">For each segment the word where it ends, and which of the input's quantizers is its.</param>
/// <param name="Aligned">Whether all words lie at multiples of 4 bytes if the image does.</param>
internal sealed record WordWalk(int[] Runs, int[] Segments, bool Aligned)
{
    /// <summary>Walks an image.</summary>
    /// <param name="plan">Plan of the packed weights.</param>
    /// <param name="geometry">Shapes.</param>
    /// <param name="inputRanges">For each segment, which of the input's quantizers is its.</param>
    internal static WordWalk Of(PackedPlan plan, in ConvGeometry geometry, ReadOnlySpan<int> inputRanges)
    {
        int[] runs = new int[plan.Groups], segments = new int[2 * plan.Segments.Length];
        int at = 0;
        bool aligned = geometry.Channels % 4 == 0;
        for (int s = 0; s < plan.Segments.Length; s++)
        {
            SegmentPlan segment = plan.Segments[s];
            aligned &= segment.Start % 4 == 0;
            for (int row = 0; row < geometry.KernelHeight; row++)
            {
                for (int run = 0; run < segment.Columns; run++)
                {
                    for (int word = 0; word < segment.Groups; word++) runs[at++] = (((row * geometry.Width) + run) * geometry.Channels) + segment.Start + (4 * word);
                }
            }

            (segments[2 * s], segments[(2 * s) + 1]) = (at, inputRanges[s]);
        }

        return new WordWalk(runs, segments, aligned);
    }
}
