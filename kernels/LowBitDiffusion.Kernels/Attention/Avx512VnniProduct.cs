using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Assembling;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// The products of attention in 512-bit <c>vpdpbusd</c>, for which .NET has no intrinsics: one assembled routine for each number of rows and each end.
/// <code>
///                    queries 0–15    queries 16–31        zmm24, zmm25: unsigned bytes [group][32][4]
///   row 0 (bytes)      sum 0,0          sum 0,1           zmm0,  zmm1
///   …                  …                …
///   row 11             sum 11,0         sum 11,1          zmm22, zmm23
///   └ zmm28–31 in turn: four signed bytes of a row in all lanes
///
///   per group: 2 loads, 12 broadcasts, 24 vpdpbusd
///   scores:  sums begin with a number per row; end: to float, times the row's scale, maxima in zmm26, zmm27, store
///   outputs: sums begin with 0;                end: to float, plus what is stored times the query's factor in zmm26, zmm27, store
/// </code>
/// Rows are keys for scores and channels for outputs, so queries stay in the lanes from one to the other and softmax needs nothing across lanes.
/// </summary>
internal sealed unsafe class Avx512VnniProduct : IDisposable
{
    private const int MaxRows = 12, Tile = Int8AttentionLayout.QueryTile;
    private const Gpr Vector = Gpr.R14, Offset = Gpr.Rbp, Arguments = Gpr.R15;

    private static readonly Gpr[] s_rows = [Gpr.Rax, Gpr.Rcx, Gpr.Rdx, Gpr.Rbx, Gpr.Rsi, Gpr.Rdi, Gpr.R8, Gpr.R9, Gpr.R10, Gpr.R11, Gpr.R12, Gpr.R13];

    private readonly ExecutableMemory _code;
    private readonly int[] _entries;

    /// <summary>Assembles the routines.</summary>
    /// <exception cref="System.ComponentModel.Win32Exception">The system refuses executable memory.</exception>
    /// <exception cref="PlatformNotSupportedException">There is no way to executable memory on this system.</exception>
    internal Avx512VnniProduct()
    {
        Assembler assembler = new();
        _entries = Write(assembler, CallingConvention.Current);
        _code = new ExecutableMemory(assembler.Finish());
    }

    /// <summary>Machine code in words.</summary>
    internal static IReadOnlyList<string> Listing
    {
        get
        {
            List<string> listing = [];
            _ = Write(new Assembler(listing), CallingConvention.Current);
            return listing;
        }
    }

    /// <summary>The products, for kernels. Valid while this object lives.</summary>
    internal Routines Products => new(_code.Address, _entries);

    /// <inheritdoc/>
    public void Dispose() => _code.Dispose();

    /// <summary>Writes all routines; gives where each begins.</summary>
    internal static int[] Write(Assembler code, CallingConvention convention)
    {
        int[] entries = new int[2 * MaxRows];
        for (int index = 0; index < entries.Length; index++)
        {
            bool scores = index < MaxRows;
            code.Align(64);
            code.Remark($"{(index % MaxRows) + 1} rows of {(scores ? "scores" : "outputs")}");
            entries[index] = code.Length;
            convention.WriteEntry(code, Arguments);
            WriteTiles(code, (index % MaxRows) + 1, scores);
            convention.WriteExit(code);
        }

        return entries;
    }

    private static Zmm Sum(int row, int half) => new((row * 2) + half);

    private static Zmm Unsigned(int half) => new(24 + half);

    private static Zmm PerQuery(int half) => new(26 + half);

    private static Zmm Signed(int row) => new(28 + (row % 4));

    private static void WriteTiles(Assembler code, int rows, bool scores)
    {
        // Only the distances between the fields are used.
        ByteProductArguments fields;
        ByteProductArguments* layout = &fields;
        Address At(void* field) => new(Arguments, (int)((byte*)field - (byte*)layout));
        Label tile = code.NewLabel(), group = code.NewLabel();

        code.Mov(Gpr.Rax, At(&layout->Queries));
        for (int half = 0; half < 2; half++) code.Vmovups(PerQuery(half), new Address(Gpr.Rax, half * 64));

        code.Bind(tile);
        code.Mov(Gpr.Rcx, At(&layout->Starts));
        for (int row = 0; row < rows; row++)
        {
            for (int half = 0; half < 2; half++)
            {
                if (scores) code.Vpbroadcastd(Sum(row, half), new Address(Gpr.Rcx, row * sizeof(int)));
                else code.Vpxord(Sum(row, half), Sum(row, half), Sum(row, half));
            }
        }

        code.Mov(s_rows[0], At(&layout->Rows));
        for (int row = 1; row < rows; row++)
        {
            code.Mov(s_rows[row], s_rows[row - 1]);
            code.Add(s_rows[row], At(&layout->RowStride));
        }

        code.Mov(Vector, At(&layout->Vectors));
        code.Mov32(Offset, 0);
        code.Align(64);
        code.Bind(group);
        for (int half = 0; half < 2; half++) code.Vmovups(Unsigned(half), new Address(Vector, half * 64));
        for (int row = 0; row < rows; row++)
        {
            code.Vpbroadcastd(Signed(row), new Address(s_rows[row], Offset, 0));
            for (int half = 0; half < 2; half++) code.Vpdpbusd(Sum(row, half), Unsigned(half), Signed(row));
        }

        code.Add(Vector, Tile * 4);
        code.Add(Offset, At(&layout->GroupStride));
        code.Cmp(Offset, At(&layout->RowEnd));
        code.Jump(Condition.Less, group);

        // The last row's pointer, one row further, is the next tile's first.
        code.Add(s_rows[rows - 1], At(&layout->RowStride));
        code.Mov(At(&layout->Rows), s_rows[rows - 1]);
        code.Mov(Gpr.Rax, At(&layout->Output));
        if (scores) code.Mov(Gpr.Rcx, At(&layout->Scales));
        for (int row = 0; row < rows; row++)
        {
            if (scores) code.Vpbroadcastd(Signed(row), new Address(Gpr.Rcx, row * sizeof(float)));
            for (int half = 0; half < 2; half++)
            {
                Address target = new(Gpr.Rax, (row * Tile * sizeof(float)) + (half * 64));
                code.Vcvtdq2ps(Sum(row, half), Sum(row, half));
                if (scores)
                {
                    code.Vmulps(Sum(row, half), Sum(row, half), Signed(row));
                    code.Vmaxps(PerQuery(half), PerQuery(half), Sum(row, half));
                }
                else
                {
                    code.Vfmadd231ps(Sum(row, half), PerQuery(half), target);
                }

                code.Vmovups(target, Sum(row, half));
            }
        }

        code.Add(At(&layout->Output), rows * Tile * sizeof(float));
        if (scores)
        {
            code.Add(At(&layout->Scales), rows * sizeof(float));
            code.Add(At(&layout->Starts), rows * sizeof(int));
        }

        code.Dec(At(&layout->Count));
        code.Jump(Condition.NotEqual, tile);
        if (!scores) return;
        code.Mov(Gpr.Rax, At(&layout->Queries));
        for (int half = 0; half < 2; half++) code.Vmovups(new Address(Gpr.Rax, half * 64), PerQuery(half));
    }

    /// <summary>Calls the routines: first the tiles with one row more, then the others.</summary>
    internal readonly struct Routines(nint code, int[] entries) : IByteProduct
    {
        /// <inheritdoc/>
        public void Score(ref ByteProductArguments arguments) => Run(ref arguments, 0);

        /// <inheritdoc/>
        public void Mix(ref ByteProductArguments arguments) => Run(ref arguments, MaxRows);

        private void Run(ref ByteProductArguments arguments, int firstEntry)
        {
            int rows = (int)arguments.Count, tiles = (rows + MaxRows - 1) / MaxRows;
            (int shortRows, int longTiles) = Math.DivRem(rows, tiles);
            if (longTiles > 0) Call(ref arguments, longTiles, entries[firstEntry + shortRows]);
            if (tiles > longTiles) Call(ref arguments, tiles - longTiles, entries[firstEntry + shortRows - 1]);
        }

        private void Call(ref ByteProductArguments arguments, int tiles, int entry)
        {
            arguments.Count = tiles;
            ((delegate* unmanaged<ByteProductArguments*, void>)(code + entry))((ByteProductArguments*)Unsafe.AsPointer(ref arguments));
        }
    }
}
