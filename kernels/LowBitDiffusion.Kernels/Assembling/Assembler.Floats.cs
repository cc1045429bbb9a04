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
}
