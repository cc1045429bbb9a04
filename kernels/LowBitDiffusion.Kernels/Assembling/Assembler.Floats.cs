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
}
