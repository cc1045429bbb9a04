using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Copies the pixels of an image into a larger one of zeros: pixel (y, x) goes to <c>(Top + y·Step, Left + x·Step)</c>; what falls outside is dropped (the last rows of an image whose padding the kernel
/// never reached have no place in the gradient of the input). A piece is a row of the larger image, zeros included, so that its memory need not be cleared before.
/// </summary>
internal readonly unsafe struct SpreadBody : IParallelBody
{
    public required float* Source { get; init; }

    public required int Height { get; init; }

    public required int Width { get; init; }

    public required int Channels { get; init; }

    public required float* Target { get; init; }

    public required int TargetHeight { get; init; }

    public required int TargetWidth { get; init; }

    public required int Top { get; init; }

    public required int Left { get; init; }

    public required int Step { get; init; }

    public void Run(int index)
    {
        int image = index / TargetHeight, shifted = index % TargetHeight - Top, row = shifted / Step;
        Span<float> target = new(Target + (nint)index * TargetWidth * Channels, TargetWidth * Channels);
        if (shifted < 0 || shifted % Step != 0 || row >= Height)
        {
            target.Clear();
            return;
        }

        ReadOnlySpan<float> source = new(Source + ((nint)image * Height + row) * Width * Channels, Width * Channels);
        if (Step == 1 && Left >= 0 && Left + Width <= TargetWidth)
        {
            int start = Left * Channels;
            target[..start].Clear();
            source.CopyTo(target[start..]);
            target[(start + source.Length)..].Clear();
            return;
        }

        target.Clear();
        for (int x = 0; x < Width; x++)
        {
            int column = Left + x * Step;
            if (column >= 0 && column < TargetWidth) source.Slice(x * Channels, Channels).CopyTo(target[(column * Channels)..]);
        }
    }
}
