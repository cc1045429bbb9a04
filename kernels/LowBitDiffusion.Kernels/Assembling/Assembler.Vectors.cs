namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>
/// The vector instructions, in EVEX encoding.
/// <code>
///   62 | R X B R' 0 m m m | W v v v v 1 p p | z L' L b V' a a a | opcode | ModRM …
///        register bits      second source     width, mask
/// </code>
/// R, X, B, R', V' and v are inverted; R'R extend ModRM.reg, XB a register in ModRM.rm, V' the second source. An 8-bit displacement counts in units
/// of the memory operand.
/// </summary>
internal sealed partial class Assembler
{
    /// <summary>Width of a vector as the encoding counts it.</summary>
    private const int Bits128 = 0, Bits512 = 2;

    /// <summary>Opcode maps.</summary>
    private const int Map0F = 1, Map0F38 = 2, Map0F3A = 3;

    /// <summary>Mandatory prefixes.</summary>
    private const int None = 0, P66 = 1, PF3 = 2, PF2 = 3;

    internal void Vmovups(Zmm target, Address source, Mask mask = default)
    {
        _listing?.Add($"vmovups {target}{Zeroing(mask)},{source}");
        Vector(None, Map0F, 0x10, target, default, source, mask);
    }

    internal void Vmovups(Address target, Zmm source, Mask mask = default)
    {
        _listing?.Add($"vmovups {target}{Merging(mask)},{source}");
        Vector(None, Map0F, 0x11, source, default, target, mask, zeroing: false);
    }

    internal void Vmovaps(Zmm target, Zmm source)
    {
        _listing?.Add($"vmovaps {target},{source}");
        Vector(None, Map0F, 0x28, target, default, source);
    }

    /// <summary>The low 128 bits.</summary>
    internal void Vmovups128(Address target, Zmm source)
    {
        _listing?.Add($"vmovups {target},x{source.ToString()[1..]}");
        Vector(None, Map0F, 0x11, source, default, target, default, width: Bits128, unit: 16);
    }

    /// <summary>The low 128 bits; the others become zero.</summary>
    internal void Vmovups128(Zmm target, Address source)
    {
        _listing?.Add($"vmovups x{target.ToString()[1..]},{source}");
        Vector(None, Map0F, 0x10, target, default, source, default, width: Bits128, unit: 16);
    }

    internal void Vpbroadcastd(Zmm target, Address source)
    {
        _listing?.Add($"vpbroadcastd {target},{source}");
        Vector(P66, Map0F38, 0x58, target, default, source, default, unit: 4);
    }

    internal void Vpbroadcastd(Zmm target, Gpr source)
    {
        _listing?.Add($"vpbroadcastd {target},{source.Name32()}");
        Vector(P66, Map0F38, 0x7C, target, default, new Zmm((int)source));
    }

    internal void Vpdpbusd(Zmm sum, Zmm unsigned, Zmm signed)
    {
        _listing?.Add($"vpdpbusd {sum},{unsigned},{signed}");
        Vector(P66, Map0F38, 0x50, sum, unsigned, signed);
    }

    /// <summary>The same four signed bytes for all lanes.</summary>
    internal void Vpdpbusd(Zmm sum, Zmm unsigned, Address signed)
    {
        _listing?.Add($"vpdpbusd {sum},{unsigned},dword bcst {signed}");
        Vector(P66, Map0F38, 0x50, sum, unsigned, signed, default, unit: 4, broadcast: true);
    }

    internal void Vpxord(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpxord {target},{left},{right}");
        Vector(P66, Map0F, 0xEF, target, left, right);
    }

    internal void Vpandd(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpandd {target},{left},{right}");
        Vector(P66, Map0F, 0xDB, target, left, right);
    }

    internal void Vpaddb(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpaddb {target},{left},{right}");
        Vector(P66, Map0F, 0xFC, target, left, right);
    }

    /// <summary>32-bit to 16-bit integers with signed saturation; in each 128 bits four of the left, then four of the right.</summary>
    internal void Vpackssdw(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpackssdw {target},{left},{right}");
        Vector(P66, Map0F, 0x6B, target, left, right);
    }

    /// <summary>16-bit integers to bytes with unsigned saturation; in each 128 bits eight of the left, then eight of the right.</summary>
    internal void Vpackuswb(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpackuswb {target},{left},{right}");
        Vector(P66, Map0F, 0x67, target, left, right);
    }

    /// <summary>The bytes of each 128 bits in the order that the right operand says.</summary>
    internal void Vpshufb(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vpshufb {target},{left},{right}");
        Vector(P66, Map0F38, 0x00, target, left, right);
    }

    /// <summary>16-bit elements of the source in the order that <paramref name="order"/> says.</summary>
    internal void Vpermw(Zmm target, Zmm order, Zmm source)
    {
        _listing?.Add($"vpermw {target},{order},{source}");
        Vector(P66, Map0F38, 0x8D, target, order, source, wide: true);
    }

    internal void Vpsrld(Zmm target, Zmm source, int count)
    {
        _listing?.Add($"vpsrld {target},{source},{count}");
        Shift(2, target, source, count);
    }

    internal void Vpsrad(Zmm target, Zmm source, int count)
    {
        _listing?.Add($"vpsrad {target},{source},{count}");
        Shift(4, target, source, count);
    }

    internal void Vcvtdq2ps(Zmm target, Zmm source)
    {
        _listing?.Add($"vcvtdq2ps {target},{source}");
        Vector(None, Map0F, 0x5B, target, default, source);
    }

    internal void Vmulps(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vmulps {target},{left},{right}");
        Vector(None, Map0F, 0x59, target, left, right);
    }

    internal void Vaddps(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vaddps {target},{left},{right}");
        Vector(None, Map0F, 0x58, target, left, right);
    }

    internal void Vaddps(Zmm target, Zmm left, Address right, Mask mask = default)
    {
        _listing?.Add($"vaddps {target}{Zeroing(mask)},{left},{right}");
        Vector(None, Map0F, 0x58, target, left, right, mask);
    }

    /// <summary>The low 16 bits of a general register. VEX encoding, as all instructions on masks.</summary>
    internal void Kmovw(Mask target, Gpr source)
    {
        _listing?.Add($"kmovw {target},{source.Name32()}");
        Bytes(0xC4, (byte)(0xC1 | (~High(source) & 1) << 5), 0x78, 0x92);
        Byte(0xC0 | (target.Number << 3) | ((int)source & 7));
    }

    internal void Vzeroupper()
    {
        _listing?.Add("vzeroupper");
        Bytes(0xC5, 0xF8, 0x77);
    }

    private static string Zeroing(Mask mask) => mask.Number == 0 ? "" : $"{{{mask}}}{{z}}";

    private static string Merging(Mask mask) => mask.Number == 0 ? "" : $"{{{mask}}}";

    private void Shift(int operation, Zmm target, Zmm source, int count)
    {
        // The target takes the place of the second source.
        Vector(P66, Map0F, 0x72, new Zmm(operation), target, source);
        Byte(count);
    }

    private void Vector(int prefix, int map, int opcode, Zmm reg, Zmm second, Zmm rm, bool wide = false)
    {
        Evex(prefix, map, reg, second, indexBit: rm.Number >> 4, baseBit: rm.Number >> 3, Bits512, default, zeroing: false, wide: wide);
        Byte(opcode);
        Byte(0xC0 | ((reg.Number & 7) << 3) | (rm.Number & 7));
    }

    private void Vector(
        int prefix, int map, int opcode, Zmm reg, Zmm second, Address rm, Mask mask, bool zeroing = true, int width = Bits512, int unit = 64, bool broadcast = false)
    {
        Evex(prefix, map, reg, second, High(rm.Index), High(rm.Base), width, mask, zeroing, broadcast);
        Byte(opcode);
        WriteAddress(reg.Number, rm, unit);
    }

    private void Evex(int prefix, int map, Zmm reg, Zmm second, int indexBit, int baseBit, int width, Mask mask, bool zeroing, bool broadcast = false, bool wide = false)
    {
        int z = zeroing && mask.Number != 0 ? 1 : 0, b = broadcast ? 1 : 0;
        Byte(0x62);
        Byte(Inverted(reg.Number >> 3, 7) | Inverted(indexBit, 6) | Inverted(baseBit, 5) | Inverted(reg.Number >> 4, 4) | map);
        Byte((wide ? 0x80 : 0) | ((~second.Number & 15) << 3) | 4 | prefix);
        Byte((z << 7) | (width << 5) | (b << 4) | Inverted(second.Number >> 4, 3) | mask.Number);
    }

    private static int Inverted(int value, int bit) => (~value & 1) << bit;
}
