using LowBitDiffusion.Kernels.Assembling;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// Describes the AVX-512 VNNI kernel: tiles of up to 12 rows × 32 output channels, one machine-code routine for each
/// <see cref="VnniTileVariant"/>, from the input's bytes to the finished floats.
/// <code>
///                weights0: channels 0–15   weights1: channels 16–31      zmm24, zmm25   [K/4][32 channels][4]
///   input row 0      sum 0,0                  sum 0,1                    zmm0,  zmm1
///   …                …                        …
///   input row 11     sum 11,0                 sum 11,1                   zmm22, zmm23
///   └ zmm26–31 in turn: four bytes of a row in all lanes
///
///   per group of four in K:  2 loads of weights, 12 broadcasts, 24 vpdpbusd; four groups a round
/// </code>
/// Rows are addressed as [row pointer + offset], with 12 pointers in general registers and one offset for all, so that the rows of a tile may lie
/// anywhere: tiles need not respect the ends of image rows, and the input is never copied.
/// <code>
///   nibbles: [K/4][16 bytes-of-two-channels][4]   v = 16·u[c+16] + u[c],   w = u + lowest
///            weights0 = (v and 0F) + lowest0       weights1 = (v shr 4 and 0F) + lowest1       zmm29–31 hold both lowest and 0F, zmm26–28 take turns
/// </code>
/// After each segment: value = float(S − z·W)·(d·dw), added to the earlier segments' values; after the last, <see cref="ConvEpilogue"/>. Values of
/// several segments need registers too, so such tiles have at most 6 rows: zmm0–11 hold sums, zmm12–23 values.
/// </summary>
internal sealed unsafe class Avx512VnniTile
{
    internal const int MaxRows = 12;
    internal const int PanelWidth = 32;

    /// <summary>Most rows of a tile with several segments: half of the registers hold sums, half the values of earlier segments.</summary>
    internal const int MaxRowsOfSegments = MaxRows / 2;

    private const int GroupsPerRound = 4;

    /// <summary>Distance in bytes from the codes in use to those fetched into the first-level cache.</summary>
    private const int FetchAhead = 512;

    private const Gpr Codes = Gpr.R14, Offset = Gpr.Rbp, Arguments = Gpr.R15;

    /// <summary>Row pointers while sums are made; free for other use before and after.</summary>
    private static readonly Gpr[] s_rows =
        [Gpr.Rax, Gpr.Rcx, Gpr.Rdx, Gpr.Rbx, Gpr.Rsi, Gpr.Rdi, Gpr.R8, Gpr.R9, Gpr.R10, Gpr.R11, Gpr.R12, Gpr.R13];

    private static readonly Mask[] s_channels = [new(1), new(2)];

    private readonly Assembler _code;
    private readonly VnniTileArguments* _arguments;
    private readonly int _rows;
    private readonly int _halves;
    private readonly bool _nibbles;

    private Avx512VnniTile(Assembler code, VnniTileArguments* arguments, VnniTileVariant variant)
    {
        _code = code;
        _arguments = arguments;
        (_rows, _halves, _nibbles) = variant;
    }

    /// <summary>Writes the routine <c>void tile(VnniTileArguments*)</c>.</summary>
    /// <param name="code">Where to.</param>
    /// <param name="convention">How it will be called.</param>
    /// <param name="variant">Which of the routines.</param>
    internal static void Write(Assembler code, CallingConvention convention, VnniTileVariant variant)
    {
        // Only the distances between the fields are used.
        VnniTileArguments arguments;
        convention.WriteEntry(code, Arguments);
        new Avx512VnniTile(code, &arguments, variant).WriteTiles();
        convention.WriteExit(code);
    }

    private static Zmm Sum(int row, int half) => new((row * 2) + half);

    /// <summary>Where the values of all segments so far are kept: in registers of their own, or, with a single segment, where the sums were.</summary>
    private Zmm Value(int row, int half) => KeepsValues ? new Zmm((MaxRowsOfSegments * 2) + (row * 2) + half) : Sum(row, half);

    private bool KeepsValues => _rows <= MaxRowsOfSegments;

    private static Zmm Weights(int half) => new(24 + half);

    /// <summary>A register for a row's input; the nibble kernel needs the last three of them.</summary>
    private Zmm Input(int row) => new(26 + (row % (_nibbles ? 3 : 6)));

    /// <summary>The lowest code of each of the half's channels, in all four bytes.</summary>
    private static Zmm Lowest(int half) => new(29 + half);

    private static Zmm LowNibbles => new(31);

    /// <summary>A field of the arguments.</summary>
    private Address At(void* field) => Field(Arguments, _arguments, field);

    private static Address Field(Gpr pointer, void* layout, void* field) => new(pointer, (int)((byte*)field - (byte*)layout));

    private void Copy(void* from, void* to, Gpr via = Gpr.Rax)
    {
        _code.Mov(via, At(from));
        _code.Mov(At(to), via);
    }

    private void ForEachSum(Action<int, int> write)
    {
        for (int row = 0; row < _rows; row++)
        {
            for (int half = 0; half < _halves; half++) write(row, half);
        }
    }

    private void WriteTiles()
    {
        Label tile = _code.NewLabel(), segment = _code.NewLabel();
        for (int half = 0; half < _halves; half++)
        {
            _code.Mov32(Gpr.Rax, At((ushort*)&_arguments->Channels + half));
            _code.Kmovw(s_channels[half], Gpr.Rax);
        }

        if (_nibbles)
        {
            _code.Mov32(Gpr.Rax, 0x0F0F0F0F);
            _code.Vpbroadcastd(LowNibbles, Gpr.Rax);
        }

        _code.Bind(tile);
        Copy(&_arguments->Segments, &_arguments->Segment);
        Copy(&_arguments->SegmentCount, &_arguments->SegmentsLeft);
        _code.Mov(Codes, At(&_arguments->Codes));
        WritePrefetch();

        _code.Bind(segment);
        WriteSums();
        WriteDequantization();
        _code.Dec(At(&_arguments->SegmentsLeft));
        _code.Jump(Condition.NotEqual, segment);
        WriteEpilogue();
        _code.Add(At(&_arguments->Rows), _rows * sizeof(byte*));
        _code.Dec(At(&_arguments->Tiles));
        _code.Jump(Condition.NotEqual, tile);
    }

    /// <summary>Asks for the tile's part of the output and of the residual while there is still much to do: large ones lie far away when they are needed.</summary>
    private void WritePrefetch()
    {
        _code.Remark("the output's lines");
        _code.Mov(Gpr.Rax, At(&_arguments->Output));
        ForEachRow(&_arguments->OutputRows, (row, offset) =>
        {
            for (int half = 0; half < _halves; half++) _code.Prefetchw(new Address(Gpr.Rax, offset, half * 64));
        });

        _code.Remark("the residual's lines");
        Label noResidual = Unless(&_arguments->Residual, Gpr.Rax);
        ForEachRow(&_arguments->ResidualRows, (row, offset) =>
        {
            for (int half = 0; half < _halves; half++) _code.Prefetcht0(new Address(Gpr.Rax, offset, half * 64));
        });
        _code.Bind(noResidual);
    }

    /// <summary>The sums of one segment: runs × groups of four.</summary>
    private void WriteSums()
    {
        Label run = _code.NewLabel();
        WriteSegment();
        _code.Remark("row pointers");
        _code.Mov(Offset, At(&_arguments->Rows));
        for (int row = 0; row < _rows; row++) _code.Mov(s_rows[row], new Address(Offset, row * sizeof(byte*)));

        // The rows take all registers but one: from here on the notes are kept in memory.
        _code.Bind(run);
        WriteRun();
        _code.Add(At(&_arguments->Run), sizeof(ConvRun));
        _code.Dec(At(&_arguments->RunsLeft));
        _code.Jump(Condition.NotEqual, run);
    }

    /// <summary>What the segment says: where it lies, what nibbles are distances from, and where all rows' sums start: −z·W.</summary>
    private void WriteSegment()
    {
        VnniSegment segment;
        _code.Remark("a segment");
        _code.Mov(Gpr.Rax, At(&_arguments->Segment));
        _code.Mov(Gpr.Rcx, Field(Gpr.Rax, &segment, &segment.Start));
        _code.Mov(At(&_arguments->SegmentStart), Gpr.Rcx);
        _code.Mov(Gpr.Rcx, Field(Gpr.Rax, &segment, &segment.PixelLength));
        _code.Mov(At(&_arguments->PixelLength), Gpr.Rcx);
        Copy(&_arguments->Runs, &_arguments->Run, via: Gpr.Rcx);
        Copy(&_arguments->RunCount, &_arguments->RunsLeft, via: Gpr.Rcx);
        for (int half = 0; half < _halves; half++)
        {
            if (_nibbles) _code.Vmovups(Lowest(half), Field(Gpr.Rax, &segment, segment.Lowest + (half * 64)));
            _code.Vmovups(Sum(0, half), Field(Gpr.Rax, &segment, segment.FirstSums + (half * 16)));
        }

        for (int row = 1; row < _rows; row++)
        {
            for (int half = 0; half < _halves; half++) _code.Vmovaps(Sum(row, half), Sum(0, half));
        }
    }

    /// <summary>One run of consecutive input bytes: rounds of four groups, then single groups.</summary>
    private void WriteRun()
    {
        Label round = _code.NewLabel(), rest = _code.NewLabel(), single = _code.NewLabel(), done = _code.NewLabel();
        _code.Remark("a run");
        ConvRun plan;
        _code.Mov(Offset, At(&_arguments->Run));
        _code.Mov(Offset, Field(Offset, &plan, &plan.Offset));
        _code.Add(Offset, At(&_arguments->SegmentStart));
        _code.Mov(At(&_arguments->RunOffset), Offset);
        _code.Mov(Offset, At(&_arguments->Run));
        _code.Mov(Offset, Field(Offset, &plan, &plan.Pixels));
        _code.Imul(Offset, At(&_arguments->PixelLength));
        _code.Add(Offset, At(&_arguments->RunOffset));
        _code.Mov(At(&_arguments->RunEnd), Offset);
        _code.Add(Offset, -4 * (GroupsPerRound - 1));
        _code.Mov(At(&_arguments->RoundsEnd), Offset);
        _code.Mov(Offset, At(&_arguments->RunOffset));
        _code.Cmp(Offset, At(&_arguments->RoundsEnd));
        _code.Jump(Condition.NotLess, rest);

        _code.Align(64);
        _code.Bind(round);
        for (int group = 0; group < GroupsPerRound; group++) WriteGroup(group);
        AdvanceGroups(GroupsPerRound);
        _code.Cmp(Offset, At(&_arguments->RoundsEnd));
        _code.Jump(Condition.Less, round);

        _code.Bind(rest);
        _code.Cmp(Offset, At(&_arguments->RunEnd));
        _code.Jump(Condition.NotLess, done);
        _code.Bind(single);
        WriteGroup(0);
        AdvanceGroups(1);
        _code.Cmp(Offset, At(&_arguments->RunEnd));
        _code.Jump(Condition.Less, single);
        _code.Bind(done);
    }

    private void AdvanceGroups(int count)
    {
        _code.Add(Offset, 4 * count);
        _code.Add(Codes, GroupBytes * count);
    }

    /// <summary>Four bytes of K of all rows times 32 channels.</summary>
    private void WriteGroup(int group)
    {
        if (_nibbles)
        {
            _code.Vmovups(Weights(1), new Address(Codes, group * GroupBytes));
            _code.Vpandd(Weights(0), Weights(1), LowNibbles);
            _code.Vpaddb(Weights(0), Weights(0), Lowest(0));
            if (_halves == 2)
            {
                _code.Vpsrld(Weights(1), Weights(1), 4);
                _code.Vpandd(Weights(1), Weights(1), LowNibbles);
                _code.Vpaddb(Weights(1), Weights(1), Lowest(1));
            }
        }
        else
        {
            for (int half = 0; half < _halves; half++) _code.Vmovups(Weights(half), new Address(Codes, (group * GroupBytes) + (half * 64)));
        }

        // Free where the processor fetches streams into its first-level cache by itself, a gain where it stops at the second.
        for (int line = 0; line < GroupBytes; line += 64) _code.Prefetcht0(new Address(Codes, (group * GroupBytes) + line + FetchAhead));
        for (int row = 0; row < _rows; row++)
        {
            _code.Vpbroadcastd(Input(row), new Address(s_rows[row], Offset, 4 * group));
            for (int half = 0; half < _halves; half++) _code.Vpdpbusd(Sum(row, half), Input(row), Weights(half));
        }
    }

    /// <summary>float(S − z·W)·(d·dw), plus the earlier segments' values.</summary>
    private void WriteDequantization()
    {
        Zmm[] scales = [new(26), new(27)];
        _code.Remark("dequantization");
        VnniSegment segment;
        _code.Mov(Gpr.Rax, At(&_arguments->Segment));
        for (int half = 0; half < _halves; half++) _code.Vmovups(scales[half], Field(Gpr.Rax, &segment, segment.Factors + (half * 16)));
        ForEachSum((row, half) => _code.Vcvtdq2ps(Sum(row, half), Sum(row, half)));
        ForEachSum((row, half) => _code.Vmulps(Sum(row, half), Sum(row, half), scales[half]));

        if (KeepsValues)
        {
            Label first = _code.NewLabel(), added = _code.NewLabel();
            _code.Mov(Gpr.Rcx, At(&_arguments->SegmentsLeft));
            _code.Cmp(Gpr.Rcx, At(&_arguments->SegmentCount));
            _code.Jump(Condition.Equal, first);
            ForEachSum((row, half) => _code.Vaddps(Value(row, half), Value(row, half), Sum(row, half)));
            _code.Jmp(added);
            _code.Bind(first);
            ForEachSum((row, half) => _code.Vmovaps(Value(row, half), Sum(row, half)));
            _code.Bind(added);
        }

        _code.Add(At(&_arguments->Segment), sizeof(VnniSegment));
    }

    /// <summary>Bias, image vector, residual, factor, store: each with a mask, since the last panel may reach over the end of a row.</summary>
    private void WriteEpilogue()
    {
        _code.Remark("epilogue");
        Label noBias = Unless(&_arguments->Bias, Gpr.Rax);
        for (int half = 0; half < _halves; half++) _code.Vmovups(Weights(half), new Address(Gpr.Rax, half * 64), s_channels[half]);
        ForEachSum((row, half) => _code.Vaddps(Value(row, half), Value(row, half), Weights(half)));
        _code.Bind(noBias);

        Label noVector = Unless(&_arguments->ImageVectorRows, Gpr.Rax);
        _code.Mov(Gpr.Rdx, At(&_arguments->PanelOffset));
        for (int row = 0; row < _rows; row++)
        {
            _code.Mov(Gpr.Rcx, new Address(Gpr.Rax, row * sizeof(float*)));
            AddFrom(Gpr.Rcx, Gpr.Rdx, row);
        }

        _code.Add(At(&_arguments->ImageVectorRows), _rows * sizeof(float*));
        _code.Bind(noVector);

        Label noResidual = Unless(&_arguments->Residual, Gpr.Rax);
        ForEachRow(&_arguments->ResidualRows, (row, offset) => AddFrom(Gpr.Rax, offset, row));
        _code.Add(At(&_arguments->ResidualRows), _rows * sizeof(nint));
        _code.Bind(noResidual);

        _code.Vpbroadcastd(Weights(0), At(&_arguments->OutputScale));
        ForEachSum((row, half) => _code.Vmulps(Value(row, half), Value(row, half), Weights(0)));

        _code.Mov(Gpr.Rax, At(&_arguments->Output));
        ForEachRow(&_arguments->OutputRows, (row, offset) =>
        {
            for (int half = 0; half < _halves; half++) _code.Vmovups(new Address(Gpr.Rax, offset, half * 64), Value(row, half), s_channels[half]);
        });
        _code.Add(At(&_arguments->OutputRows), _rows * sizeof(nint));
    }

    private void AddFrom(Gpr address, Gpr offset, int row)
    {
        for (int half = 0; half < _halves; half++)
        {
            _code.Vaddps(Value(row, half), Value(row, half), new Address(address, offset, half * 64), s_channels[half]);
        }
    }

    /// <summary>Writes something for each row of the tile, whose offset is read from a table into a register.</summary>
    private void ForEachRow(void* table, Action<int, Gpr> write)
    {
        _code.Mov(Gpr.Rcx, At(table));
        for (int row = 0; row < _rows; row++)
        {
            _code.Mov(Gpr.Rdx, new Address(Gpr.Rcx, row * sizeof(nint)));
            write(row, Gpr.Rdx);
        }
    }

    /// <summary>Loads a pointer; where it is null, jumps to the label that is returned.</summary>
    private Label Unless(void* pointer, Gpr register)
    {
        Label absent = _code.NewLabel();
        _code.Mov(register, At(pointer));
        _code.Test(register, register);
        _code.Jump(Condition.Equal, absent);
        return absent;
    }

    private int GroupBytes => _nibbles ? PanelWidth * 2 : PanelWidth * 4;
}
