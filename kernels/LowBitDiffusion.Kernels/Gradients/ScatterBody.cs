using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Copies the pixels of an image into a larger, zeroed one: pixel (y, x) goes to <c>(Top + y·Step, Left + x·Step)</c>; what falls outside is dropped (the last rows of an image
/// whose padding the kernel never reached have no place in the gradient of the input). A piece is a row.
/// </summary>
internal readonly unsafe struct ScatterBody : IParallelBody
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
        int image = index / Height, targetRow = Top + index % Height * Step;
        if (targetRow < 0 || targetRow >= TargetHeight) return;
        float* source = Source + (nint)index * Width * Channels, target = Target + ((nint)image * TargetHeight + targetRow) * TargetWidth * Channels;
        if (Step == 1 && Left >= 0 && Left + Width <= TargetWidth)
        {
            Copy(source, target + (nint)Left * Channels, Width * Channels);
            return;
        }

        for (int x = 0; x < Width; x++)
        {
            int column = Left + x * Step;
            if (column >= 0 && column < TargetWidth) Copy(source + (nint)x * Channels, target + (nint)column * Channels, Channels);
        }
    }

    private static void Copy(float* source, float* target, int count) => new ReadOnlySpan<float>(source, count).CopyTo(new Span<float>(target, count));
}
