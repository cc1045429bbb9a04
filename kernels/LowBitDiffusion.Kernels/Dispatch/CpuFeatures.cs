using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Dispatch;

/// <summary>Which instruction sets this process may use: what the processor and the system offer less what the runtime was told to leave alone.</summary>
/// <param name="Vector128">128-bit vectors of any kind.</param>
/// <param name="Avx2">AVX2.</param>
/// <param name="AvxVnni">AVX-VNNI (256 bit).</param>
/// <param name="Avx512BW">AVX-512 F, BW and VL.</param>
/// <param name="Avx512Vnni">AVX-512 VNNI besides these.</param>
public sealed record CpuFeatures(bool Vector128, bool Avx2, bool AvxVnni, bool Avx512BW, bool Avx512Vnni)
{
    /// <summary>Asks the runtime and, for what it does not name, the processor.</summary>
    public static CpuFeatures Detect()
    {
        // Vector512.IsHardwareAccelerated is false where the runtime merely deems 512 bits slow: IsSupported is the question.
        bool avx512 = System.Runtime.Intrinsics.X86.Avx512BW.IsSupported && System.Runtime.Intrinsics.X86.Avx512BW.VL.IsSupported;
        bool vnni = avx512 && X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;
        return new CpuFeatures(
            System.Runtime.Intrinsics.Vector128.IsHardwareAccelerated, System.Runtime.Intrinsics.X86.Avx2.IsSupported,
            System.Runtime.Intrinsics.X86.AvxVnni.IsSupported, avx512, vnni);
    }

    /// <summary>Whether kernels of <paramref name="set"/> can run.</summary>
    public bool Supports(InstructionSet set) => set switch
    {
        InstructionSet.Scalar => true,
        InstructionSet.Vector128 => Vector128,
        InstructionSet.Avx2 => Avx2,
        InstructionSet.AvxVnni => AvxVnni,
        InstructionSet.Avx512BW => Avx512BW,
        InstructionSet.Avx512Vnni => Avx512Vnni,
        _ => false,
    };
}
