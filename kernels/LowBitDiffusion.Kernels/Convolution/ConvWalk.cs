using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Consecutive pixels under a kernel that are consecutive in memory. Assembled kernels read it there.</summary>
internal readonly struct ConvRun(nint offset, nint pixels)
{
    /// <summary>From the first pixel under the kernel, in elements.</summary>
    public readonly nint Offset = offset;

    /// <summary>How many, at least 1.</summary>
    public readonly nint Pixels = pixels;
}

/// <summary>
/// How kernels walk over images: which rows of the output are computed together, and what they read. For a convolution over an image as it is stored, that is all rows and
/// <code>
///   one run of KernelWidth pixels for each kernel row
/// </code>
/// Behind an upsampling, neighbouring pixels under the kernel may be one and the same in memory, by a pattern that depends on where the kernel stands. Rows of the output are put in an order in which
/// those with the same pattern follow each other: a <em>phase</em>. Nothing is copied and no weights are added up, so the sums are those of the upsampled image.
/// <code>
///   stored  b 0 1 2 …      seen  b 0 0 1 1 2 2 …      three columns of kernel see      x even   stored i, i + 1, i + 1      runs [i, i + 1] [i + 1]
///                                                                                      x odd    stored i, i,     i + 1      runs [i] [i, i + 1]
/// </code>
/// Twice as many rows and columns are four phases; where sizes are odd, the last row and column, which see the border, are phases of their own. Kernels take the runs from a table, so a phase costs them nothing.
/// </summary>
public sealed class ConvWalk
{
    /// <summary>Prepares the walk.</summary>
    /// <param name="geometry">Shapes.</param>
    /// <exception cref="ArgumentException">What is seen of an upsampled axis is not the image's size.</exception>
    public ConvWalk(in ConvGeometry geometry)
    {
        if ((geometry.Vertical?.Seen ?? geometry.Height) != geometry.Height || (geometry.Horizontal?.Seen ?? geometry.Width) != geometry.Width)
        {
            throw new ArgumentException($"upsampled axes do not have the size of the image: {geometry}", nameof(geometry));
        }

        Geometry = geometry;
        List<ConvPhase> phases = [];
        int row = 0;
        List<AxisPhase> columns = AxisPhase.Cut(geometry.OutWidth, geometry.KernelWidth, geometry.Stride, geometry.Horizontal);
        foreach (AxisPhase vertical in AxisPhase.Cut(geometry.OutHeight, geometry.KernelHeight, geometry.Stride, geometry.Vertical))
        {
            foreach (AxisPhase horizontal in columns)
            {
                phases.Add(new ConvPhase(geometry, row, vertical, horizontal));
                row = phases[^1].RowEnd;
            }
        }

        Phases = [.. phases];
    }

    /// <summary>Shapes.</summary>
    public ConvGeometry Geometry { get; }

    /// <summary>Rows of the output by what they read; one follows the other.</summary>
    internal ConvPhase[] Phases { get; }

    /// <summary>Finds the pixels of consecutive rows of the walk. Divisions are made for a phase's first row alone: for small layers they would take as long as the products.</summary>
    /// <param name="input">The image in memory.</param>
    /// <param name="first">First row.</param>
    /// <param name="end">End of the rows.</param>
    /// <param name="pixels">For each row, the first pixel under the kernel. Filled.</param>
    /// <param name="places">For each row, which of the output's rows it is: pixels counted over the batch. Filled.</param>
    internal unsafe void Locate<TElement>(TElement* input, int first, int end, TElement** pixels, int* places) where TElement : unmanaged
    {
        foreach (ConvPhase phase in Phases)
        {
            PhaseMap map = phase.Map;
            int row = Math.Max(first, phase.FirstRow), count = Math.Min(end, phase.RowEnd) - row;
            if (count <= 0) continue;
            (int image, int within) = Math.DivRem(row - phase.FirstRow, map.PerImage);
            (int y, int x) = Math.DivRem(within, map.PerLine);
            while (count > 0)
            {
                TElement* pixel = input + map.From + (image * map.FromImage) + (y * map.FromLine) + (x * map.FromStep);
                int place = map.To + (image * map.ToImage) + (y * map.ToLine) + (x * map.ToStep), along = Math.Min(count, map.PerLine - x);
                for (int i = 0; i < along; i++, pixel += map.FromStep, place += map.ToStep)
                {
                    *pixels++ = pixel;
                    *places++ = place;
                }

                count -= along;
                x = 0;
                if (++y * map.PerLine < map.PerImage) continue;
                y = 0;
                image++;
            }
        }
    }
}

/// <summary>
/// Where the rows of a phase lie: row r is pixel x = r mod PerLine of line y = ⌊r/PerLine⌋ mod (PerImage/PerLine) of image ⌊r/PerImage⌋, and
/// <code>
///   reads from    From + image·FromImage + y·FromLine + x·FromStep     elements of the input
///   is            To   + image·ToImage   + y·ToLine   + x·ToStep       row of the output
/// </code>
/// </summary>
internal readonly struct PhaseMap
{
    internal PhaseMap(in ConvGeometry geometry, AxisPhase vertical, AxisPhase horizontal)
    {
        nint line = (nint)geometry.StoredWidth * geometry.Channels;
        (PerImage, PerLine) = (vertical.Count * horizontal.Count, horizontal.Count);
        (From, FromImage, FromLine, FromStep) = (
            (vertical.Stored * line) + ((nint)horizontal.Stored * geometry.Channels), geometry.StoredHeight * line, vertical.StoredStep * line, (nint)horizontal.StoredStep * geometry.Channels);
        (To, ToImage, ToLine, ToStep) = (
            (vertical.First * geometry.OutWidth) + horizontal.First, geometry.OutHeight * geometry.OutWidth, vertical.Step * geometry.OutWidth, horizontal.Step);
    }

    internal int PerImage { get; }

    internal int PerLine { get; }

    internal nint From { get; }

    internal nint FromImage { get; }

    internal nint FromLine { get; }

    internal nint FromStep { get; }

    internal int To { get; }

    internal int ToImage { get; }

    internal int ToLine { get; }

    internal int ToStep { get; }
}

/// <summary>Rows of the output that read alike: some lines of every image times some columns, image by image.</summary>
internal sealed unsafe class ConvPhase
{
    private readonly ConvRun[] _pixels;
    private readonly ConvRun[] _runs;

    internal ConvPhase(in ConvGeometry geometry, int firstRow, AxisPhase vertical, AxisPhase horizontal)
    {
        FirstRow = firstRow;
        Map = new PhaseMap(geometry, vertical, horizontal);
        RowEnd = firstRow + (geometry.Batch * vertical.Count * horizontal.Count);
        _pixels = GC.AllocateUninitializedArray<ConvRun>(geometry.KernelHeight * geometry.KernelWidth, pinned: true);
        List<ConvRun> runs = [];
        for (int tap = 0; tap < _pixels.Length; tap++)
        {
            (int y, int x) = Math.DivRem(tap, geometry.KernelWidth);
            nint offset = (((nint)vertical.Taps[y] * geometry.StoredWidth) + horizontal.Taps[x]) * geometry.Channels;
            _pixels[tap] = new ConvRun(offset, 1);
            if (runs.Count > 0 && runs[^1].Offset + (runs[^1].Pixels * geometry.Channels) == offset) runs[^1] = new ConvRun(runs[^1].Offset, runs[^1].Pixels + 1);
            else runs.Add(_pixels[tap]);
        }

        _runs = GC.AllocateUninitializedArray<ConvRun>(runs.Count, pinned: true);
        runs.CopyTo(_runs);
    }

    /// <summary>First row of the walk.</summary>
    internal int FirstRow { get; }

    /// <summary>End of its rows.</summary>
    internal int RowEnd { get; }

    /// <summary>How many.</summary>
    internal int Rows => RowEnd - FirstRow;

    /// <summary>Where they lie.</summary>
    internal PhaseMap Map { get; }

    /// <summary>What lies under the kernel, in its order: as few runs as can be, or each pixel by itself.</summary>
    internal ReadOnlySpan<ConvRun> Runs(bool joined) => joined ? _runs : _pixels;

    /// <summary>The same in pinned memory, kept by the walk.</summary>
    internal ConvRun* PinnedRuns(bool joined) => (ConvRun*)Unsafe.AsPointer(ref (joined ? _runs : _pixels)[0]);
}

/// <summary>Positions along an axis of the output, evenly apart, whose kernel positions lie alike in memory, and evenly apart there too.</summary>
internal sealed class AxisPhase
{
    private AxisPhase(int first, int stored, int[] taps) => (First, Stored, Taps) = (first, stored, taps);

    /// <summary>First position of the output.</summary>
    internal int First { get; }

    /// <summary>Distance of the positions.</summary>
    internal int Step { get; private set; }

    /// <summary>How many positions.</summary>
    internal int Count { get; private set; } = 1;

    /// <summary>What the first reads first.</summary>
    internal int Stored { get; }

    /// <summary>Distance of what they read first.</summary>
    internal int StoredStep { get; private set; }

    /// <summary>Distance of what each kernel position reads from the first.</summary>
    internal int[] Taps { get; }

    /// <summary>Cuts an axis of the output.</summary>
    internal static List<AxisPhase> Cut(int outputs, int kernel, int stride, UpsampledAxis? axis)
    {
        List<AxisPhase> phases = [];
        int[] taps = new int[kernel];
        for (int position = 0; position < outputs; position++)
        {
            int stored = At(axis, position * stride), phase = 0;
            for (int tap = 0; tap < kernel; tap++) taps[tap] = At(axis, (position * stride) + tap) - stored;
            while (phase < phases.Count && !phases[phase].Continue(position, stored, taps)) phase++;
            if (phase == phases.Count) phases.Add(new AxisPhase(position, stored, [.. taps]));
        }

        return phases;
    }

    private static int At(UpsampledAxis? axis, int position) => axis?.At(position) ?? position;

    /// <summary>Takes a position in, if it is the next.</summary>
    private bool Continue(int position, int stored, int[] taps)
    {
        int step = Count > 1 ? Step : position - First, storedStep = Count > 1 ? StoredStep : stored - Stored;
        if (storedStep == 0 || position != First + (Count * step) || stored != Stored + (Count * storedStep) || !taps.AsSpan().SequenceEqual(Taps)) return false;
        (Step, StoredStep) = (step, storedStep);
        Count++;
        return true;
    }
}
