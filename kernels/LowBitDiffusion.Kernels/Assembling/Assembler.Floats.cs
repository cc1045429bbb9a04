namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>Arithmetic on floats beyond that of a convolution's epilogue.</summary>
internal sealed partial class Assembler
{
    internal void Vmaxps(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vmaxps {target},{left},{right}");
        Vector(None, Map0F, 0x5F, target, left, right);
    }

    /// <summary>target = left·right + target, rounded once.</summary>
    internal void Vfmadd231ps(Zmm target, Zmm left, Address right)
    {
        _listing?.Add($"vfmadd231ps {target},{left},{right}");
        Vector(P66, Map0F38, 0xB8, target, left, right, default);
    }

    /// <summary>target = target·left + right, rounded once.</summary>
    internal void Vfmadd213ps(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vfmadd213ps {target},{left},{right}");
        Vector(P66, Map0F38, 0xA8, target, left, right);
    }

    /// <summary>target = target·left + right, rounded once.</summary>
    internal void Vfmadd213ps(Zmm target, Zmm left, Address right)
    {
        _listing?.Add($"vfmadd213ps {target},{left},{right}");
        Vector(P66, Map0F38, 0xA8, target, left, right, default);
    }

    /// <summary>target = source − ⌊source⌋.</summary>
    internal void Vreduceps(Zmm target, Zmm source)
    {
        const int RoundDown = 1;
        _listing?.Add($"vreduceps {target},{source},{RoundDown}");
        Vector(P66, Map0F3A, 0x56, target, default, source);
        Byte(RoundDown);
    }

    /// <summary>target = left·2^⌊right⌋.</summary>
    internal void Vscalefps(Zmm target, Zmm left, Zmm right)
    {
        _listing?.Add($"vscalefps {target},{left},{right}");
        Vector(P66, Map0F38, 0x2C, target, left, right);
    }

    /// <summary>The nearest integers, halves to even.</summary>
    internal void Vcvtps2dq(Zmm target, Zmm source)
    {
        _listing?.Add($"vcvtps2dq {target},{source}");
        Vector(P66, Map0F, 0x5B, target, default, source);
    }

    /// <summary>sum + left.high·right.high, rounded, + left.low·right.low, rounded; halves of a lane are bfloat16.</summary>
    internal void Vdpbf16ps(Zmm sum, Zmm left, Zmm right)
    {
        _listing?.Add($"vdpbf16ps {sum},{left},{right}");
        Vector(PF3, Map0F38, 0x52, sum, left, right);
    }

    /// <summary>As with vectors, the same two bfloat16 for all lanes.</summary>
    internal void Vdpbf16ps(Zmm sum, Zmm left, Address right)
    {
        _listing?.Add($"vdpbf16ps {sum},{left},dword bcst {right}");
        Vector(PF3, Map0F38, 0x52, sum, left, right, default, unit: 4, broadcast: true);
    }

    /// <summary>Rounded to bfloat16: the right operand in the low half of the target, the left in the high half.</summary>
    internal void Vcvtne2ps2bf16(Zmm target, Zmm high, Zmm low)
    {
        _listing?.Add($"vcvtne2ps2bf16 {target},{high},{low}");
        Vector(PF2, Map0F38, 0x72, target, high, low);
    }
}
