using LowBitDiffusion.Kernels.Assembling;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>What an assembled tile kernel is given. Every field takes eight bytes; those at the end are its own notes.</summary>
internal unsafe struct VnniTileArguments
{
    /// <summary>For each row of all tiles, its first input pixel. Advances with the tiles, as <see cref="Residual"/>, <see cref="Output"/>, <see cref="ImageVectorRows"/>.</summary>
    public byte** Rows;

    /// <summary>Tiles below one another, all of the kernel's number of rows.</summary>
    public nint Tiles;

    /// <summary>Packed codes of the panel.</summary>
    public byte* Codes;

    public SegmentPlan* Segments;
    public nint SegmentCount;
    public nint KernelRows;

    /// <summary>Distance of the kernel rows in the input, in bytes.</summary>
    public nint KernelRowStep;

    /// <summary>Distance of the pixels of the input in bytes.</summary>
    public nint ColumnStep;

    /// <summary>Σ w of the panel's channels in the first segment.</summary>
    public int* WeightSums;

    public float* WeightScales;

    /// <summary>From one segment's weight sums or scales to the next's, in bytes.</summary>
    public nint SegmentStep;

    public byte* ZeroPoints;
    public float* InputScales;

    /// <summary>Room for the values of a tile between its segments.</summary>
    public float* Values;

    /// <summary>Bias of the panel's channels, or null.</summary>
    public float* Bias;

    /// <summary>For each row, the image vector of its image, or null.</summary>
    public float** ImageVectorRows;

    /// <summary>Offset of the panel in a row of an image vector, in bytes.</summary>
    public nint PanelOffset;

    public float* Residual;

    /// <summary>In bytes.</summary>
    public nint ResidualStride;

    /// <summary>The factor, in the low four bytes.</summary>
    public nint OutputScale;

    public float* Output;

    /// <summary>In bytes.</summary>
    public nint OutputStride;

    /// <summary>One bit for each of the panel's 32 channels that exists.</summary>
    public nint Channels;

    // The kernel's notes.
    public SegmentPlan* Segment;
    public nint SegmentsLeft;
    public int* SegmentSums;
    public float* SegmentScales;
    public byte* SegmentZeroPoint;
    public float* SegmentInputScale;
    public nint KernelRowsLeft;
    public nint ColumnsLeft;
    public nint Columns;
    public nint RowOffset;
    public nint RunOffset;
    public nint RunLength;
    public nint RunEnd;
    public nint RoundsEnd;
}

/// <summary>
/// Describes the AVX-512 VNNI kernel: tiles of up to 12 rows × 32 output channels, one machine-code routine for each number of rows and each
/// storage of weights, from the input's bytes to the finished floats.
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
///   nibbles: [K/4][16 bytes-of-two-channels][4]   v = 16·w[c+16] + (w[c] mod 16)
///            weights1 = v and F0 = 16·w[c+16]      weights0 = (v shl 4) and F0 = 16·w[c]       sums are shifted back at the end, exactly
/// </code>
/// After each segment: value = float(S − z·W)·(d·dw), added to the earlier segments' in memory; after the last, <see cref="ConvEpilogue"/>.
/// </summary>
internal sealed unsafe class Avx512VnniTile
{
    internal const int MaxRows = 12;
    internal const int PanelWidth = 32;

    private const int GroupsPerRound = 4;
    private const Gpr Codes = Gpr.R14, Offset = Gpr.Rbp, Arguments = Gpr.R15;

    /// <summary>Row pointers while sums are made; free for other use before and after.</summary>
    private static readonly Gpr[] s_rows =
        [Gpr.Rax, Gpr.Rcx, Gpr.Rdx, Gpr.Rbx, Gpr.Rsi, Gpr.Rdi, Gpr.R8, Gpr.R9, Gpr.R10, Gpr.R11, Gpr.R12, Gpr.R13];

    private static readonly Mask[] s_channels = [new(1), new(2)];

    private readonly Assembler _code;
    private readonly VnniTileArguments* _arguments;
    private readonly int _rows;
    private readonly bool _nibbles;

    private Avx512VnniTile(Assembler code, VnniTileArguments* arguments, int rows, bool nibbles)
    {
        _code = code;
        _arguments = arguments;
        _rows = rows;
        _nibbles = nibbles;
    }

    /// <summary>Writes the routine <c>void tile(VnniTileArguments*)</c>.</summary>
    /// <param name="code">Where to.</param>
    /// <param name="convention">How it will be called.</param>
    /// <param name="rows">Rows of a tile, 1 … <see cref="MaxRows"/>.</param>
    /// <param name="nibbles">Whether two codes share a byte.</param>
    internal static void Write(Assembler code, CallingConvention convention, int rows, bool nibbles)
    {
        // Only the distances between the fields are used.
        VnniTileArguments arguments;
        convention.WriteEntry(code, Arguments);
        new Avx512VnniTile(code, &arguments, rows, nibbles).WriteTiles();
        convention.WriteExit(code);
    }

    private static Zmm Sum(int row, int half) => new((row * 2) + half);

    private static Zmm Weights(int half) => new(24 + half);

    /// <summary>A register for a row's input; the nibble kernel needs the last two of them.</summary>
    private Zmm Input(int row) => new(26 + (row % (_nibbles ? 4 : 6)));

    private static Zmm PackedCodes => new(30);

    private static Zmm HighNibbles => new(31);

    /// <summary>A field of the arguments.</summary>
    private Address At(void* field) => Field(Arguments, _arguments, field);

    private static Address Field(Gpr pointer, void* layout, void* field) => new(pointer, (int)((byte*)field - (byte*)layout));

    private void Copy(void* from, void* to, Gpr via = Gpr.Rax)
    {
        _code.Mov(via, At(from));
        _code.Mov(At(to), via);
    }

    private void Advance(void* field, void* step, Gpr via)
    {
        _code.Mov(via, At(field));
        _code.Add(via, At(step));
        _code.Mov(At(field), via);
    }

    private void ForEachSum(Action<int, int> write)
    {
        for (int row = 0; row < _rows; row++)
        {
            for (int half = 0; half < 2; half++) write(row, half);
        }
    }

    private void WriteTiles()
    {
        Label tile = _code.NewLabel(), segment = _code.NewLabel(), finished = _code.NewLabel();
        for (int half = 0; half < 2; half++)
        {
            _code.Mov32(Gpr.Rax, At((ushort*)&_arguments->Channels + half));
            _code.Kmovw(s_channels[half], Gpr.Rax);
        }

        if (_nibbles)
        {
            _code.Mov32(Gpr.Rax, unchecked((int)0xF0F0F0F0));
            _code.Vpbroadcastd(HighNibbles, Gpr.Rax);
        }

        _code.Bind(tile);
        Copy(&_arguments->Segments, &_arguments->Segment);
        Copy(&_arguments->SegmentCount, &_arguments->SegmentsLeft);
        Copy(&_arguments->WeightSums, &_arguments->SegmentSums);
        Copy(&_arguments->WeightScales, &_arguments->SegmentScales);
        Copy(&_arguments->ZeroPoints, &_arguments->SegmentZeroPoint);
        Copy(&_arguments->InputScales, &_arguments->SegmentInputScale);
        _code.Mov(Codes, At(&_arguments->Codes));

        _code.Bind(segment);
        WriteSums();
        WriteDequantization();
        _code.Dec(At(&_arguments->SegmentsLeft));
        _code.Jump(Condition.Equal, finished);
        _code.Mov(Gpr.Rax, At(&_arguments->Values));
        ForEachSum((row, half) => _code.Vmovups(new Address(Gpr.Rax, ((row * 2) + half) * 64), Sum(row, half)));
        _code.Jmp(segment);

        _code.Bind(finished);
        WriteEpilogue();
        _code.Add(At(&_arguments->Rows), _rows * sizeof(byte*));
        _code.Dec(At(&_arguments->Tiles));
        _code.Jump(Condition.NotEqual, tile);
    }

    /// <summary>The sums of one segment: kernel rows × runs × groups of four.</summary>
    private void WriteSums()
    {
        Label kernelRow = _code.NewLabel(), run = _code.NewLabel();
        ReadSegment();
        _code.Mov(Offset, At(&_arguments->Rows));
        for (int row = 0; row < _rows; row++) _code.Mov(s_rows[row], new Address(Offset, row * sizeof(byte*)));
        ForEachSum((row, half) => _code.Vpxord(Sum(row, half), Sum(row, half), Sum(row, half)));

        // The rows take all registers but one: from here on the notes are kept in memory.
        _code.Bind(kernelRow);
        Copy(&_arguments->Columns, &_arguments->ColumnsLeft, via: Offset);
        Copy(&_arguments->RowOffset, &_arguments->RunOffset, via: Offset);
        _code.Bind(run);
        WriteRun();
        Advance(&_arguments->RunOffset, &_arguments->ColumnStep, via: Offset);
        _code.Dec(At(&_arguments->ColumnsLeft));
        _code.Jump(Condition.NotEqual, run);
        Advance(&_arguments->RowOffset, &_arguments->KernelRowStep, via: Offset);
        _code.Dec(At(&_arguments->KernelRowsLeft));
        _code.Jump(Condition.NotEqual, kernelRow);
        if (_nibbles) ForEachSum((row, half) => _code.Vpsrad(Sum(row, half), Sum(row, half), 4));
    }

    private void ReadSegment()
    {
        SegmentPlan plan;
        _code.Mov(Gpr.Rcx, At(&_arguments->Segment));
        _code.Mov32(Gpr.Rax, Field(Gpr.Rcx, &plan, &plan.Start));
        _code.Mov(At(&_arguments->RowOffset), Gpr.Rax);
        _code.Mov32(Gpr.Rax, Field(Gpr.Rcx, &plan, &plan.Columns));
        _code.Mov(At(&_arguments->Columns), Gpr.Rax);
        _code.Mov32(Gpr.Rax, Field(Gpr.Rcx, &plan, &plan.Groups));
        _code.Add(Gpr.Rax, Gpr.Rax);
        _code.Add(Gpr.Rax, Gpr.Rax);
        _code.Mov(At(&_arguments->RunLength), Gpr.Rax);
        _code.Add(At(&_arguments->Segment), sizeof(SegmentPlan));
        Copy(&_arguments->KernelRows, &_arguments->KernelRowsLeft);
    }

    /// <summary>One run of consecutive input bytes: rounds of four groups, then single groups.</summary>
    private void WriteRun()
    {
        Label round = _code.NewLabel(), rest = _code.NewLabel(), single = _code.NewLabel(), done = _code.NewLabel();
        _code.Mov(Offset, At(&_arguments->RunOffset));
        _code.Add(Offset, At(&_arguments->RunLength));
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
            _code.Vmovups(PackedCodes, new Address(Codes, group * GroupBytes));
            _code.Vpslld(Weights(0), PackedCodes, 4);
            _code.Vpandd(Weights(1), PackedCodes, HighNibbles);
            _code.Vpandd(Weights(0), Weights(0), HighNibbles);
        }
        else
        {
            for (int half = 0; half < 2; half++) _code.Vmovups(Weights(half), new Address(Codes, (group * GroupBytes) + (half * 64)));
        }

        for (int row = 0; row < _rows; row++)
        {
            _code.Vpbroadcastd(Input(row), new Address(s_rows[row], Offset, 4 * group));
            for (int half = 0; half < 2; half++) _code.Vpdpbusd(Sum(row, half), Input(row), Weights(half));
        }
    }

    /// <summary>float(S − z·W)·(d·dw), plus the earlier segments' values.</summary>
    private void WriteDequantization()
    {
        Zmm[] corrections = [new(24), new(25)], scales = [new(26), new(27)];
        _code.Mov(Gpr.Rax, At(&_arguments->SegmentZeroPoint));
        _code.Movzx8(Gpr.Rcx, new Address(Gpr.Rax));
        _code.Mov(Gpr.Rdx, At(&_arguments->SegmentInputScale));
        _code.Mov(Gpr.Rbx, At(&_arguments->SegmentSums));
        _code.Mov(Gpr.Rsi, At(&_arguments->SegmentScales));
        for (int half = 0; half < 2; half++)
        {
            _code.Vpbroadcastd(corrections[half], Gpr.Rcx);
            _code.Vpmulld(corrections[half], corrections[half], new Address(Gpr.Rbx, half * 64));
            _code.Vpbroadcastd(scales[half], new Address(Gpr.Rdx));
            _code.Vmulps(scales[half], scales[half], new Address(Gpr.Rsi, half * 64));
        }

        ForEachSum((row, half) => _code.Vpsubd(Sum(row, half), Sum(row, half), corrections[half]));
        ForEachSum((row, half) => _code.Vcvtdq2ps(Sum(row, half), Sum(row, half)));
        ForEachSum((row, half) => _code.Vmulps(Sum(row, half), Sum(row, half), scales[half]));

        Label first = _code.NewLabel();
        _code.Mov(Gpr.Rcx, At(&_arguments->SegmentsLeft));
        _code.Cmp(Gpr.Rcx, At(&_arguments->SegmentCount));
        _code.Jump(Condition.Equal, first);
        _code.Mov(Gpr.Rcx, At(&_arguments->Values));
        ForEachSum((row, half) => _code.Vaddps(Sum(row, half), Sum(row, half), new Address(Gpr.Rcx, ((row * 2) + half) * 64)));
        _code.Bind(first);

        _code.Add(At(&_arguments->SegmentZeroPoint), sizeof(byte));
        _code.Add(At(&_arguments->SegmentInputScale), sizeof(float));
        Advance(&_arguments->SegmentSums, &_arguments->SegmentStep, via: Gpr.Rax);
        Advance(&_arguments->SegmentScales, &_arguments->SegmentStep, via: Gpr.Rax);
    }

    /// <summary>Bias, image vector, residual, factor, store: each with a mask, since the last panel may reach over the end of a row.</summary>
    private void WriteEpilogue()
    {
        Label noBias = Unless(&_arguments->Bias, Gpr.Rax);
        for (int half = 0; half < 2; half++) _code.Vmovups(Weights(half), new Address(Gpr.Rax, half * 64), s_channels[half]);
        ForEachSum((row, half) => _code.Vaddps(Sum(row, half), Sum(row, half), Weights(half)));
        _code.Bind(noBias);

        Label noVector = Unless(&_arguments->ImageVectorRows, Gpr.Rax);
        for (int row = 0; row < _rows; row++)
        {
            _code.Mov(Gpr.Rcx, new Address(Gpr.Rax, row * sizeof(float*)));
            _code.Add(Gpr.Rcx, At(&_arguments->PanelOffset));
            AddFrom(Gpr.Rcx, row);
        }

        _code.Add(At(&_arguments->ImageVectorRows), _rows * sizeof(float*));
        _code.Bind(noVector);

        Label noResidual = Unless(&_arguments->Residual, Gpr.Rax);
        for (int row = 0; row < _rows; row++)
        {
            AddFrom(Gpr.Rax, row);
            _code.Add(Gpr.Rax, At(&_arguments->ResidualStride));
        }

        _code.Mov(At(&_arguments->Residual), Gpr.Rax);
        _code.Bind(noResidual);

        _code.Vpbroadcastd(Weights(0), At(&_arguments->OutputScale));
        ForEachSum((row, half) => _code.Vmulps(Sum(row, half), Sum(row, half), Weights(0)));

        _code.Mov(Gpr.Rax, At(&_arguments->Output));
        for (int row = 0; row < _rows; row++)
        {
            for (int half = 0; half < 2; half++) _code.Vmovups(new Address(Gpr.Rax, half * 64), Sum(row, half), s_channels[half]);
            _code.Add(Gpr.Rax, At(&_arguments->OutputStride));
        }

        _code.Mov(At(&_arguments->Output), Gpr.Rax);
    }

    private void AddFrom(Gpr address, int row)
    {
        for (int half = 0; half < 2; half++)
        {
            _code.Vaddps(Sum(row, half), Sum(row, half), new Address(address, half * 64), s_channels[half]);
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
