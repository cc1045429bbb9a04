using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>How a matrix product is cut: a group of <c>Lanes × Lines</c> work items, each computing <c>Vector</c> columns of <c>Rows</c> rows.</summary>
/// <param name="Vector">Columns of an item: 4, 8 or 16.</param>
/// <param name="Lanes">Items beside each other; <c>Vector·Lanes</c> divides <see cref="MaxColumns"/>.</param>
/// <param name="Lines">Items above each other.</param>
/// <param name="Rows">Rows of an item.</param>
/// <param name="Local">Whether the group brings its rows of the input to local memory first.</param>
public readonly record struct MatrixTile(int Vector, int Lanes, int Lines, int Rows, bool Local)
{
    /// <summary>Columns of packed weights are filled up to a multiple of this, so that every tile reads the same packing.</summary>
    public const int MaxColumns = PackedColumns.Multiple;

    private const int Chunk = 16;

    /// <summary>Tiles worth trying on a kind of device, the usual one first.</summary>
    public static IReadOnlyList<MatrixTile> Candidates(DeviceKind kind) => kind == DeviceKind.Cpu
        ? [new(16, 1, 1, 8, false), new(8, 1, 1, 8, false)]
        : [new(4, 16, 8, 8, true), new(4, 16, 4, 4, true), new(4, 8, 16, 4, true), new(4, 16, 16, 8, true), new(4, 16, 8, 4, false)];

    /// <summary>Columns of a group.</summary>
    public int GroupColumns => Vector * Lanes;

    /// <summary>Rows of a group.</summary>
    public int GroupRows => Rows * Lines;

    /// <summary>The macros of the kernels' sources.</summary>
    internal string Options => $"-DV={Vector} -DLANES={Lanes} -DLINES={Lines} -DROWS={Rows}{(Local ? $" -DLOCAL_A -DCHUNK={Chunk}" : "")}";

    /// <summary>Columns with those that fill up.</summary>
    public static int Pad(int columns) => (columns + MaxColumns - 1) / MaxColumns * MaxColumns;

    /// <inheritdoc/>
    public override string ToString() => $"{Vector}×{Lanes} columns, {Rows}×{Lines} rows{(Local ? ", local" : "")}";

    internal ((long, long) Items, (int, int) Group) Range(int rows, int columns) =>
        (((long)(columns + GroupColumns - 1) / GroupColumns * Lanes, (long)(rows + GroupRows - 1) / GroupRows * Lines), (Lanes, Lines));
}

/// <summary>How four products of bytes are added.</summary>
public enum IntegerDot
{
    /// <summary>Multiplications and additions.</summary>
    Plain,

    /// <summary><c>cl_khr_integer_dot_product</c>.</summary>
    Khronos,

    /// <summary>NVIDIA's tensor cores, by <c>mma.sync</c> as inline assembly; <c>dp4a</c> where they are not used.</summary>
    NvidiaTensor,

    /// <summary>NVIDIA's <c>dp4a</c>, as inline assembly.</summary>
    Nvidia,

    /// <summary>Intel's <c>dp4a</c>, as its compiler offers it beside <c>cl_intel_dot_accumulate</c>.</summary>
    Intel,

    /// <summary>AMD's <c>v_dot4_i32_iu8</c>: unsigned by signed.</summary>
    AmdMixed,

    /// <summary>AMD's <c>v_dot4_i32_i8</c>: signed by signed, on inputs less 128.</summary>
    AmdSigned,
}

/// <summary>Which variants of the kernels a device runs.</summary>
/// <param name="Dot">How integer products add.</param>
/// <param name="IntegerTile">Tile of integer layers.</param>
/// <param name="FloatTile">Tile of float layers.</param>
public sealed record KernelChoice(IntegerDot Dot, MatrixTile IntegerTile, MatrixTile FloatTile)
{
    /// <summary>Warps of a group on tensor cores, each of 16 rows × 64 columns.</summary>
    internal const int Warps = 4;

    /// <summary>The program of integer layers: family and macros, and items and group of a layer.</summary>
    internal (string Family, string Options, ((long, long) Items, (int, int) Group) Range) Integers(MatrixTile tile, int rows, int columns)
    {
        if (Dot != IntegerDot.NvidiaTensor) return ("integer_matrix", $"{tile.Options} {Option(Dot)}", tile.Range(rows, columns));
        MatrixTile warps = new(2, 32, Warps, 16, Local: false);
        return ("tensor_matrix", $"-DV={warps.Vector} -DWARPS={Warps} {Option(Dot)}", warps.Range(rows, columns));
    }

    /// <summary>What runs on every device.</summary>
    public static KernelChoice Portable(OpenClDevice device) => new(IntegerDot.Plain, MatrixTile.Candidates(device.Kind)[0], MatrixTile.Candidates(device.Kind)[0]);

    /// <summary>Ways of adding products that a device's properties promise, the fastest first.</summary>
    public static IReadOnlyList<IntegerDot> Candidates(OpenClDevice device)
    {
        List<IntegerDot> dots = [];
        if (device.Extensions.Contains("cl_khr_integer_dot_product")) dots.Add(IntegerDot.Khronos);
        if (device.Extensions.Contains("cl_intel_dot_accumulate")) dots.Add(IntegerDot.Intel);
        if (device.Extensions.Contains("cl_nv_device_attribute_query")) dots.AddRange([IntegerDot.NvidiaTensor, IntegerDot.Nvidia]);
        if (device.Extensions.Contains("cl_amd_device_attribute_query")) dots.AddRange([IntegerDot.AmdMixed, IntegerDot.AmdSigned]);
        dots.Add(IntegerDot.Plain);
        return dots;
    }

    /// <summary>The macro of a way.</summary>
    internal static string Option(IntegerDot dot) => dot switch
    {
        IntegerDot.Khronos => "-DDOT_KHRONOS",
        IntegerDot.Nvidia or IntegerDot.NvidiaTensor => "-DDOT_NVIDIA",
        IntegerDot.Intel => "-DDOT_INTEL",
        IntegerDot.AmdMixed => "-DDOT_AMD_MIXED",
        IntegerDot.AmdSigned => "-DDOT_AMD_SIGNED",
        _ => "-DDOT_PLAIN",
    };
}
