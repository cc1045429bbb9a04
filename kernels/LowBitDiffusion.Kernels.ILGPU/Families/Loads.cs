using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>How four codes of the input are read.</summary>
internal interface IInputWords
{
    /// <summary>The four bytes from a place.</summary>
    static abstract uint Load(ArrayView<byte> input, int at);
}

/// <summary>All words lie at multiples of four bytes.</summary>
internal readonly struct AlignedInput : IInputWords
{
    public static uint Load(ArrayView<byte> input, int at) => input.Cast<uint>()[at >> 2];
}

/// <summary>Words lie anywhere.</summary>
internal readonly struct AnyInput : IInputWords
{
    public static uint Load(ArrayView<byte> input, int at) => input[at] | ((uint)input[at + 1] << 8) | ((uint)input[at + 2] << 16) | ((uint)input[at + 3] << 24);
}

/// <summary>How four codes of a column are read.</summary>
internal interface IWeightWords
{
    /// <summary>What a column's codes of a segment count from, or 0.</summary>
    static abstract uint Base(in LayerViews views, int at);

    /// <summary>The word at a place, as signed bytes.</summary>
    static abstract uint Load(in LayerViews views, int at, uint lowest);
}

/// <summary>A byte a code.</summary>
internal readonly struct ByteWeights : IWeightWords
{
    public static uint Base(in LayerViews views, int at) => 0;

    public static uint Load(in LayerViews views, int at, uint lowest) => views.Words[at];
}

/// <summary>Half a byte a code: n + lowest + 128 carries nothing over, and turning over the highest bit takes the 128 away.</summary>
internal readonly struct NibbleWeights : IWeightWords
{
    public static uint Base(in LayerViews views, int at) => views.Bases[at];

    public static uint Load(in LayerViews views, int at, uint lowest)
    {
        uint n = views.Nibbles[at];
        return (((n & 0x000Fu) | ((n & 0x00F0u) << 4) | ((n & 0x0F00u) << 8) | ((n & 0xF000u) << 12)) + lowest) ^ 0x80808080u;
    }
}
