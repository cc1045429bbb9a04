using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Assembling;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// The products of attention in 512-bit <c>vpdpbusd</c> or <c>vdpbf16ps</c>, for which .NET has no intrinsics: one assembled routine for each number of rows and each end.
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
///
///   weights and the first 7 outputs: a group's weights are computed while the units that multiply integers are busy with the group before
///     zmm0–13 sums, zmm14, 15 weights, zmm16–27 four keys at work, zmm28–30 polynomial, zmm31 order of bytes
/// </code>
/// In bfloat16 a group is two numbers, sums are floats and scores have no scale of their own; four keys are two groups of weights, in zmm12–15, behind 6 rows of sums.
/// Rows are keys for scores and channels for outputs, so queries stay in the lanes from one to the other and softmax needs nothing across lanes.
/// </summary>
internal sealed unsafe class Avx512VnniProduct : IDisposable
{
    private const int MaxRows = 12, Tile = Int8AttentionLayout.QueryTile;
    private const Gpr Vector = Gpr.R14, Offset = Gpr.Rbp, Arguments = Gpr.R15;

    /// <summary>The order in which 16 bytes are a square of four by four turned over, four times.</summary>
    private static readonly Vector512<byte> s_squares = Vector512.Create([.. Enumerable.Range(0, 64).Select(i => (byte)((4 * (i % 4)) + (i / 4 % 4)))]);

    /// <summary>The order in which two halves of 16-bit numbers are pairs.</summary>
    private static readonly Vector512<byte> s_pairs = Vector512.Create([.. Enumerable.Range(0, 32).Select(i => (ushort)((16 * (i % 2)) + (i / 2)))]).AsByte();

    private static readonly Gpr[] s_rows = [Gpr.Rax, Gpr.Rcx, Gpr.Rdx, Gpr.Rbx, Gpr.Rsi, Gpr.Rdi, Gpr.R8, Gpr.R9, Gpr.R10, Gpr.R11, Gpr.R12, Gpr.R13];

    private readonly bool _bf16;
    private readonly ExecutableMemory _code;
    private readonly int[] _entries;

    /// <summary>Assembles the routines.</summary>
    /// <param name="bf16">Whether they multiply bfloat16, for <see cref="Bf16Attention"/>; else bytes, for <see cref="Int8Attention"/>.</param>
    /// <exception cref="System.ComponentModel.Win32Exception">The system refuses executable memory.</exception>
    /// <exception cref="PlatformNotSupportedException">There is no way to executable memory on this system.</exception>
    internal Avx512VnniProduct(bool bf16)
    {
        _bf16 = bf16;
        Assembler assembler = new();
        _entries = Write(assembler, CallingConvention.Current, bf16);
        _code = new ExecutableMemory(assembler.Finish());
    }

    /// <summary>Machine code in words.</summary>
    internal IReadOnlyList<string> Listing
    {
        get
        {
            List<string> listing = [];
            _ = Write(new Assembler(listing), CallingConvention.Current, _bf16);
            return listing;
        }
    }

    /// <summary>The products, for kernels. Valid while this object lives.</summary>
    internal Routines Products => new(_code.Address, _entries, _bf16);

    /// <inheritdoc/>
    public void Dispose() => _code.Dispose();

    /// <summary>Writes all routines; gives where each begins.</summary>
    internal static int[] Write(Assembler code, CallingConvention convention, bool bf16)
    {
        int[] entries = new int[(2 * MaxRows) + WeighingRows(bf16)];
        for (int index = 0; index < entries.Length; index++)
        {
            int kind = index / MaxRows, rows = (index % MaxRows) + 1;
            code.Align(64);
            code.Remark($"{rows} rows of {(kind switch { 0 => "scores", 1 => "outputs", _ => "outputs with their weights" })}");
            entries[index] = code.Length;
            convention.WriteEntry(code, Arguments);
            if (kind < 2) WriteTiles(code, rows, scores: kind == 0, bf16);
            else WriteWeighing(code, rows, bf16);
            convention.WriteExit(code);
        }

        return entries;
    }

    private static int WeighingRows(bool bf16) => bf16 ? 6 : 7;

    private static Zmm Sum(int row, int half) => new((row * 2) + half);

    private static Zmm Unsigned(int half) => new(24 + half);

    private static Zmm PerQuery(int half) => new(26 + half);

    private static Zmm Signed(int row) => new(28 + (row % 4));

    private static void WriteTiles(Assembler code, int rows, bool scores, bool bf16)
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
                if (scores && !bf16) code.Vpbroadcastd(Sum(row, half), new Address(Gpr.Rcx, row * sizeof(int)));
                else code.Vpxord(Sum(row, half), Sum(row, half), Sum(row, half));
            }
        }

        WriteRowPointers(code, rows, At(&layout->Rows), At(&layout->RowStride));
        code.Mov(Vector, At(&layout->Vectors));
        code.Mov32(Offset, 0);
        code.Align(64);
        code.Bind(group);
        for (int half = 0; half < 2; half++) code.Vmovups(Unsigned(half), new Address(Vector, half * 64));
        for (int row = 0; row < rows; row++)
        {
            code.Vpbroadcastd(Signed(row), new Address(s_rows[row], Offset, 0));
            for (int half = 0; half < 2; half++)
            {
                if (bf16) code.Vdpbf16ps(Sum(row, half), Unsigned(half), Signed(row));
                else code.Vpdpbusd(Sum(row, half), Unsigned(half), Signed(row));
            }
        }

        code.Add(Vector, Tile * 4);
        code.Add(Offset, At(&layout->GroupStride));
        code.Cmp(Offset, At(&layout->RowEnd));
        code.Jump(Condition.Less, group);

        // The last row's pointer, one row further, is the next tile's first.
        code.Add(s_rows[rows - 1], At(&layout->RowStride));
        code.Mov(At(&layout->Rows), s_rows[rows - 1]);
        code.Mov(Gpr.Rax, At(&layout->Output));
        if (!scores)
        {
            WriteOutputs(code, rows, bf16);
        }
        else
        {
            code.Mov(Gpr.Rcx, At(&layout->Scales));
            for (int row = 0; row < rows; row++)
            {
                if (!bf16) code.Vpbroadcastd(Signed(row), new Address(Gpr.Rcx, row * sizeof(float)));
                for (int half = 0; half < 2; half++)
                {
                    if (!bf16)
                    {
                        code.Vcvtdq2ps(Sum(row, half), Sum(row, half));
                        code.Vmulps(Sum(row, half), Sum(row, half), Signed(row));
                    }

                    code.Vmaxps(PerQuery(half), PerQuery(half), Sum(row, half));
                    code.Vmovups(OutputOf(row, half), Sum(row, half));
                }
            }

            code.Add(At(&layout->Scales), rows * sizeof(float));
            code.Add(At(&layout->Starts), rows * sizeof(int));
        }

        code.Add(At(&layout->Output), rows * Tile * sizeof(float));
        code.Dec(At(&layout->Count));
        code.Jump(Condition.NotEqual, tile);
        if (!scores) return;
        code.Mov(Gpr.Rax, At(&layout->Queries));
        for (int half = 0; half < 2; half++) code.Vmovups(new Address(Gpr.Rax, half * 64), PerQuery(half));
    }

    /// <summary>
    /// One tile of outputs whose weights are computed, and stored for the other tiles: while a group's weights are made of floats, the group before is multiplied. The
    /// processor looks only some hundred instructions ahead, so the four keys of a group and the two kinds of work alternate instruction by instruction.
    /// </summary>
    private static void WriteWeighing(Assembler code, int rows, bool bf16)
    {
        const Gpr Scores = Gpr.R13, Factors = Gpr.R12, Offsets = Gpr.R11, Next = Gpr.R10, Second = Gpr.R9;
        ByteProductArguments fields;
        ByteProductArguments* layout = &fields;
        Address At(void* field) => new(Arguments, (int)((byte*)field - (byte*)layout));
        int groups = bf16 ? 2 : 1;
        Zmm Weights(int half, int group = 0) => new(16 - (2 * groups) + (half * groups) + group);
        static Zmm X(int key) => new(16 + key);
        static Zmm R(int key) => new(20 + key);
        static Zmm P(int key) => new(24 + key);
        static Zmm Coefficient(int degree) => new(28 + degree);
        Zmm order = new(31);
        Label group = code.NewLabel(), last = code.NewLabel();

        code.Mov(Factors, At(&layout->Factors));
        code.Mov(Offsets, At(&layout->Offsets));
        for (int degree = 0; degree < 3; degree++) code.Vpbroadcastd(Coefficient(degree), At(&layout->Polynomial0 + degree));
        code.Vmovups(order, At(&layout->Order));
        for (int sum = 0; sum < 2 * rows; sum++) code.Vpxord(new Zmm(sum), new Zmm(sum), new Zmm(sum));
        WriteRowPointers(code, rows, At(&layout->Rows), At(&layout->RowStride));
        code.Mov(Vector, At(&layout->Vectors));
        code.Mov(Scores, At(&layout->Scores));
        code.Mov32(Offset, 0);
        for (int half = 0; half < 2; half++) Alternate(Weigh(half), []);
        code.Mov(Second, At(&layout->GroupStride));
        code.Mov32(Next, 0);
        for (int i = 0; i < groups; i++) code.Add(Next, At(&layout->GroupStride));
        code.Cmp(Next, At(&layout->RowEnd));
        code.Jump(Condition.NotLess, last);
        code.Align(64);
        code.Bind(group);
        code.Add(Scores, 4 * Tile * sizeof(float));
        code.Add(Vector, groups * Tile * 4);
        for (int half = 0; half < 2; half++) Alternate(Weigh(half), Multiply(half));
        code.Mov(Offset, Next);
        code.Mov(Second, Next);
        code.Add(Second, At(&layout->GroupStride));
        for (int i = 0; i < groups; i++) code.Add(Next, At(&layout->GroupStride));
        code.Cmp(Next, At(&layout->RowEnd));
        code.Jump(Condition.Less, group);
        code.Bind(last);
        for (int half = 0; half < 2; half++) Alternate([], Multiply(half));

        code.Add(s_rows[rows - 1], At(&layout->RowStride));
        code.Mov(At(&layout->Rows), s_rows[rows - 1]);
        code.Mov(Gpr.Rax, At(&layout->Queries));
        for (int half = 0; half < 2; half++) code.Vmovups(PerQuery(half), new Address(Gpr.Rax, half * 64));
        code.Mov(Gpr.Rax, At(&layout->Output));
        WriteOutputs(code, rows, bf16);
        code.Add(At(&layout->Output), rows * Tile * sizeof(float));

        List<Action> Weigh(int half)
        {
            List<Action> work = [];
            void ForKeys(Action<int> step)
            {
                for (int key = 0; key < 4; key++)
                {
                    int k = key;
                    work.Add(() => step(k));
                }
            }

            Zmm factor = P(3);
            work.Add(() => code.Vmovups(factor, new Address(Factors, half * 64)));
            ForKeys(key => code.Vmovups(X(key), new Address(Scores, ((key * Tile) + (half * 16)) * sizeof(float))));
            ForKeys(key => code.Vfmadd213ps(X(key), factor, new Address(Offsets, half * 64)));
            ForKeys(key => code.Vreduceps(R(key), X(key)));
            ForKeys(key => code.Vpbroadcastd(P(key), At(&layout->Polynomial0 + 3)));
            for (int degree = 2; degree >= 0; degree--)
            {
                int d = degree;
                ForKeys(key => code.Vfmadd213ps(P(key), R(key), Coefficient(d)));
            }

            ForKeys(key => code.Vscalefps(P(key), P(key), X(key)));
            if (bf16)
            {
                for (int pair = 0; pair < 2; pair++)
                {
                    int group = pair;
                    work.Add(() => code.Vcvtne2ps2bf16(P(2 * group), P((2 * group) + 1), P(2 * group)));
                }

                for (int pair = 0; pair < 2; pair++)
                {
                    int group = pair;
                    work.Add(() => code.Vpermw(Weights(half, group), order, P(2 * group)));
                    work.Add(() => code.Vmovups(new Address(Vector, (group * Tile * 4) + (half * 64)), Weights(half, group)));
                }

                return work;
            }

            ForKeys(key => code.Vcvtps2dq(P(key), P(key)));
            work.Add(() => code.Vpackssdw(P(0), P(0), P(1)));
            work.Add(() => code.Vpackssdw(P(2), P(2), P(3)));
            work.Add(() => code.Vpackuswb(P(0), P(0), P(2)));
            work.Add(() => code.Vpshufb(Weights(half), P(0), order));
            work.Add(() => code.Vmovups(new Address(Vector, half * 64), Weights(half)));
            return work;
        }

        List<Action> Multiply(int half)
        {
            List<Action> work = [];
            for (int group = 0; group < groups; group++)
            {
                for (int row = 0; row < rows; row++)
                {
                    (int r, int g) = (row, group);
                    if (!bf16) work.Add(() => code.Vpdpbusd(Sum(r, half), Weights(half), new Address(s_rows[r], Offset, 0)));
                    else work.Add(() => code.Vdpbf16ps(Sum(r, half), Weights(half, g), new Address(s_rows[r], g == 0 ? Offset : Second, 0)));
                }
            }

            return work;
        }

        void Alternate(List<Action> many, List<Action> few)
        {
            // All of the few are written before the last of the many, which replace the weights.
            int done = 0, replacing = bf16 ? 4 : 2;
            for (int i = 0; i < many.Count; i++)
            {
                for (; done < few.Count && done * (many.Count - replacing) <= i * few.Count; done++) few[done]();
                many[i]();
            }

            for (; done < few.Count; done++) few[done]();
        }
    }

    private static void WriteRowPointers(Assembler code, int rows, Address first, Address stride)
    {
        code.Mov(s_rows[0], first);
        for (int row = 1; row < rows; row++)
        {
            code.Mov(s_rows[row], s_rows[row - 1]);
            code.Add(s_rows[row], stride);
        }
    }

    /// <summary>What is stored, times the query's factor, plus the sums.</summary>
    private static void WriteOutputs(Assembler code, int rows, bool bf16)
    {
        for (int row = 0; row < rows; row++)
        {
            for (int half = 0; half < 2; half++)
            {
                if (!bf16) code.Vcvtdq2ps(Sum(row, half), Sum(row, half));
                code.Vfmadd231ps(Sum(row, half), PerQuery(half), OutputOf(row, half));
                code.Vmovups(OutputOf(row, half), Sum(row, half));
            }
        }
    }

    private static Address OutputOf(int row, int half) => new(Gpr.Rax, (row * Tile * sizeof(float)) + (half * 64));

    /// <summary>Calls the routines: first the tiles with one row more, then the others.</summary>
    internal readonly struct Routines(nint code, int[] entries, bool bf16) : IByteProduct
    {
        /// <inheritdoc/>
        public void Score(ref ByteProductArguments arguments) => Run(ref arguments, 0);

        /// <inheritdoc/>
        public void WeighAndMix(ref ByteProductArguments arguments)
        {
            int rows = (int)arguments.Count, weighing = Math.Min(rows, WeighingRows(bf16));
            arguments.Order = bf16 ? s_pairs : s_squares;
            arguments.Polynomial0 = WeightPolynomial.Coefficients[0];
            arguments.Polynomial1 = WeightPolynomial.Coefficients[1];
            arguments.Polynomial2 = WeightPolynomial.Coefficients[2];
            arguments.Polynomial3 = WeightPolynomial.Coefficients[3];
            Call(ref arguments, 1, entries[(2 * MaxRows) + weighing - 1]);
            if (rows == weighing) return;
            arguments.Count = rows - weighing;
            Run(ref arguments, MaxRows);
        }

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
