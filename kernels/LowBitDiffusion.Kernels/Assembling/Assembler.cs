using System.Buffers.Binary;

namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>
/// Writes x86-64 machine code: exactly the instructions that the kernels need, named as in the manuals (Intel SDM volume 2, AMD APM volumes 3–5).
/// This part holds the general instructions; all of them are 64 bits wide unless the name says otherwise.
/// <code>
///   REX   0100 W R X B          R, X, B: fourth bit of the register in ModRM.reg, of the index, of the base
///   ModRM mod reg rm            mod 0, 1, 2: memory with no, 8-bit, 32-bit displacement; 3: register; rm 4: SIB follows
///   SIB   scale index base      index 4: none
/// </code>
/// </summary>
internal sealed partial class Assembler
{
    private readonly List<string>? _listing;
    private readonly List<int> _labels = [];
    private readonly List<(int Position, Label Target)> _jumps = [];
    private byte[] _code = new byte[4096];

    /// <summary>Starts with no code.</summary>
    /// <param name="listing">Where each instruction is written in words too, or null.</param>
    internal Assembler(List<string>? listing = null) => _listing = listing;

    /// <summary>Bytes written so far.</summary>
    internal int Length { get; private set; }

    /// <summary>The code, with all jumps resolved. It may be placed anywhere.</summary>
    internal ReadOnlySpan<byte> Finish()
    {
        foreach ((int position, Label target) in _jumps)
        {
            BinaryPrimitives.WriteInt32LittleEndian(_code.AsSpan(position), _labels[target.Number] - (position + 4));
        }

        _jumps.Clear();
        return _code.AsSpan(0, Length);
    }

    internal Label NewLabel()
    {
        _labels.Add(-1);
        return new Label(_labels.Count - 1);
    }

    internal void Bind(Label label)
    {
        _listing?.Add($"{label}:");
        _labels[label.Number] = Length;
    }

    /// <summary>A remark in the listing.</summary>
    internal void Remark(string text) => _listing?.Add($"; {text}");

    /// <summary>Fills up with no-operations to a multiple of <paramref name="bytes"/>.</summary>
    internal void Align(int bytes)
    {
        _listing?.Add($"align {bytes}");
        for (int missing = (bytes - (Length % bytes)) % bytes; missing > 0;)
        {
            // 66… 0F 1F 00: a no-operation of up to eight bytes takes one slot of the decoder.
            int size = Math.Min(missing, 8);
            if (size < 3)
            {
                for (int i = 1; i < size; i++) Byte(0x66);
                Byte(0x90);
            }
            else
            {
                for (int i = 3; i < size; i++) Byte(0x66);
                Bytes(0x0F, 0x1F, 0x00);
            }

            missing -= size;
        }
    }

    internal void Mov(Gpr target, Address source)
    {
        _listing?.Add($"mov {target.Name()},{source}");
        General(0x8B, (int)target, source);
    }

    internal void Mov(Address target, Gpr source)
    {
        _listing?.Add($"mov {target},{source.Name()}");
        General(0x89, (int)source, target);
    }

    internal void Mov(Gpr target, Gpr source)
    {
        _listing?.Add($"mov {target.Name()},{source.Name()}");
        General(0x8B, (int)target, source);
    }

    internal void Mov32(Gpr target, int value)
    {
        _listing?.Add($"mov {target.Name32()},{value}");
        if (target >= Gpr.R8) Byte(0x41);
        Byte(0xB8 + ((int)target & 7));
        Int32(value);
    }

    /// <summary>A 32-bit number, extended with zeros.</summary>
    internal void Mov32(Gpr target, Address source)
    {
        _listing?.Add($"mov {target.Name32()},{source}");
        int rex = 0x40 | ((int)target >> 3 << 2) | (High(source.Index) << 1) | High(source.Base);
        if (rex != 0x40) Byte(rex);
        Byte(0x8B);
        WriteAddress((int)target, source, displacementUnit: 1);
    }

    internal void Add(Gpr target, Gpr source)
    {
        _listing?.Add($"add {target.Name()},{source.Name()}");
        General(0x03, (int)target, source);
    }

    internal void Add(Gpr target, Address source)
    {
        _listing?.Add($"add {target.Name()},{source}");
        General(0x03, (int)target, source);
    }

    internal void Add(Gpr target, int value)
    {
        _listing?.Add($"add {target.Name()},{value}");
        bool small = value is >= sbyte.MinValue and <= sbyte.MaxValue;
        General(small ? 0x83 : 0x81, 0, target);
        Immediate(value, small);
    }

    internal void Add(Address target, int value)
    {
        _listing?.Add($"add qword ptr {target},{value}");
        bool small = value is >= sbyte.MinValue and <= sbyte.MaxValue;
        General(small ? 0x83 : 0x81, 0, target);
        Immediate(value, small);
    }

    internal void Imul(Gpr target, Address source)
    {
        _listing?.Add($"imul {target.Name()},{source}");
        General(0x0F, (int)target, source, secondOpcode: 0xAF);
    }

    internal void Dec(Address target)
    {
        _listing?.Add($"dec qword ptr {target}");
        General(0xFF, 1, target);
    }

    internal void Cmp(Gpr left, Address right)
    {
        _listing?.Add($"cmp {left.Name()},{right}");
        General(0x3B, (int)left, right);
    }

    internal void Test(Gpr left, Gpr right)
    {
        _listing?.Add($"test {left.Name()},{right.Name()}");
        General(0x85, (int)left, right);
    }

    internal void Push(Gpr register)
    {
        _listing?.Add($"push {register.Name()}");
        Stack(0x50, register);
    }

    internal void Pop(Gpr register)
    {
        _listing?.Add($"pop {register.Name()}");
        Stack(0x58, register);
    }

    internal void Ret()
    {
        _listing?.Add("ret");
        Byte(0xC3);
    }

    internal void Prefetcht0(Address address)
    {
        _listing?.Add($"prefetcht0 {address}");
        Prefetch(0x18, 1, address);
    }

    internal void Prefetchw(Address address)
    {
        _listing?.Add($"prefetchw {address}");
        Prefetch(0x0D, 1, address);
    }

    internal void Jmp(Label target)
    {
        _listing?.Add($"jmp {target}");
        Byte(0xE9);
        Jump(target);
    }

    internal void Jump(Condition condition, Label target)
    {
        _listing?.Add($"j{(condition switch { Condition.Equal => "e", Condition.NotEqual => "ne", Condition.Less => "l", _ => "ge" })} {target}");
        Bytes(0x0F, (byte)(0x80 + condition));
        Jump(target);
    }

    private void Jump(Label target)
    {
        _jumps.Add((Length, target));
        Int32(0);
    }

    private void Stack(int opcode, Gpr register)
    {
        if (register >= Gpr.R8) Byte(0x41);
        Byte(opcode + ((int)register & 7));
    }

    private void Prefetch(int opcode, int operation, Address address)
    {
        int rex = 0x40 | (High(address.Index) << 1) | High(address.Base);
        if (rex != 0x40) Byte(rex);
        Bytes(0x0F, (byte)opcode);
        WriteAddress(operation, address, displacementUnit: 1);
    }

    private void General(int opcode, int reg, Address memory, int secondOpcode = -1)
    {
        Byte(0x48 | (reg >> 3 << 2) | (High(memory.Index) << 1) | High(memory.Base));
        Byte(opcode);
        if (secondOpcode >= 0) Byte(secondOpcode);
        WriteAddress(reg, memory, displacementUnit: 1);
    }

    private void General(int opcode, int reg, Gpr rm)
    {
        Byte(0x48 | (reg >> 3 << 2) | High(rm));
        Byte(opcode);
        Byte(0xC0 | ((reg & 7) << 3) | ((int)rm & 7));
    }

    /// <summary>ModRM, SIB and displacement of a memory operand; an 8-bit displacement counts in units (1, except for EVEX).</summary>
    private void WriteAddress(int reg, Address memory, int displacementUnit)
    {
        (int units, int rest) = Math.DivRem(memory.Displacement, displacementUnit);
        bool small = rest == 0 && units is >= sbyte.MinValue and <= sbyte.MaxValue;
        // Base rbp and r13 have no form without displacement.
        int mod = memory.Displacement == 0 && ((int)memory.Base & 7) != 5 ? 0 : small ? 1 : 2;
        bool needsSib = memory.Index is not null || ((int)memory.Base & 7) == 4;
        Byte((mod << 6) | ((reg & 7) << 3) | (needsSib ? 4 : (int)memory.Base & 7));
        if (needsSib) Byte((((int)(memory.Index ?? Gpr.Rsp) & 7) << 3) | ((int)memory.Base & 7));
        if (mod == 1) Byte(units);
        if (mod == 2) Int32(memory.Displacement);
    }

    private static int High(Gpr? register) => register is { } number ? (int)number >> 3 : 0;

    private void Immediate(int value, bool small)
    {
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    private void Int32(int value)
    {
        for (int i = 0; i < 4; i++) Byte(value >> (8 * i));
    }

    private void Bytes(params ReadOnlySpan<byte> values)
    {
        foreach (byte value in values) Byte(value);
    }

    private void Byte(int value)
    {
        if (Length == _code.Length) Array.Resize(ref _code, _code.Length * 2);
        _code[Length++] = (byte)value;
    }
}
