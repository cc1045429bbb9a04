using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Packs a weight <c>[out, in, row, column]</c> into panels (<see cref="FloatConvolution.PackedFloatWeights"/>), for the layer itself or, exchanged, for the gradient of its input:
/// <code>
///   forward     panel[tap·in + c][column]  = w[out = column][c][tap]
///   exchanged   panel[tap·out + o][column] = w[o][in = column][taps − 1 − tap]
/// </code>
/// A piece is 16 rows of every tap of one panel: what is read and written stays in the first cache. Columns that fill the last vector are zero.
/// </summary>
[SkipLocalsInit]
internal readonly unsafe struct PackBody(float* weight, int outChannels, int inChannels, int taps, bool exchanged, float* packed, int lanes) : IParallelBody
{
    private const int Block = 16;
    private const int Stretch = 144;
    private const int MaxWidth = 32;

    private int Depth => exchanged ? outChannels : inChannels;

    private int Columns => exchanged ? inChannels : outChannels;

    private int Blocks => (Depth + Block - 1) / Block;

    /// <summary>How many pieces there are.</summary>
    public int Pieces => Panels.Count(Columns, lanes) * Blocks;

    public void Run(int index)
    {
        int panel = index / Blocks, first = index % Blocks * Block, last = Math.Min(first + Block, Depth), column = panel * 2 * lanes;
        int width = Panels.Vectors(panel, Columns, lanes) * lanes, columns = Math.Min(width, Columns - column);
        float* target = packed + (nint)column * Depth * taps;
        for (int row = first; columns < width && row < last; row++)
        {
            for (int tap = 0; tap < taps; tap++) new Span<float>(target + ((nint)tap * Depth + row) * width + columns, width - columns).Clear();
        }

        if (exchanged)
        {
            for (int o = first; o < last; o++)
            {
                float* source = weight + ((nint)o * inChannels + column) * taps;
                for (int tap = 0; tap < taps; tap++)
                {
                    float* to = target + ((nint)tap * Depth + o) * width;
                    float* from = source + taps - 1 - tap;
                    for (int i = 0; i < columns; i++) to[i] = from[i * taps];
                }
            }

            return;
        }

        // What a column has in these rows lies together, tap after tap: transposed a stretch at a time, then laid down row by row.
        float* stretch = stackalloc float[Stretch * MaxWidth];
        float* start = weight + ((nint)column * inChannels + first) * taps;
        for (int done = 0, c = first, tap = 0; c < last; done += Stretch)
        {
            int count = Math.Min(Stretch, (last - first) * taps - done);
            Matrices.Transpose(start + done, (nint)inChannels * taps, columns, count, stretch, MaxWidth);
            for (int k = 0; k < count; k++)
            {
                new ReadOnlySpan<float>(stretch + k * MaxWidth, columns).CopyTo(new Span<float>(target + ((nint)tap * Depth + c) * width, columns));
                if (++tap < taps) continue;
                tap = 0;
                c++;
            }
        }
    }
}
