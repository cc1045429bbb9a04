using System.Reflection;
using ILGPU;
using ILGPU.Backends.OpenCL;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using Register = ILGPU.Backends.RegisterAllocator<ILGPU.Backends.PTX.PTXRegisterKind>.HardwareRegister;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>
/// Instructions that C# has no word for. The bodies say what they compute, and run where ILGPU runs kernels as .NET code; in PTX a call is the instruction itself. ILGPU's inline assembly would pass
/// results through memory.
/// </summary>
internal static class CudaInstructions
{
    /// <summary>Adds the products of four unsigned and four signed bytes: <c>dp4a.u32.s32</c>, from sm_61.</summary>
    [IntrinsicImplementation]
    internal static int Dp4a(uint a, uint b, int sum) => PlainProducts.Add(a, b, sum);

    /// <summary>A product of a warp, see <see cref="IWarpProducts"/>: <c>mma.sync.m16n8k32</c>, from sm_80.</summary>
    [IntrinsicImplementation]
    internal static IntQuad Mma(WordQuad a, uint b, uint further, IntQuad sums)
    {
        // [words 0 … 7 of a row][row 0 … 15], then [words 0 … 7 of a column][column 0 … 7]
        ArrayView<uint> shared = SharedMemory.Allocate<uint>(8 * (16 + 8));
        ArrayView<uint> inputs = shared.SubView(0, 8 * 16), weights = shared.SubView(8 * 16);
        int g = Warp.LaneIdx / 4, t = Warp.LaneIdx % 4;
        (inputs[(t * 16) + g], inputs[(t * 16) + g + 8], inputs[((t + 4) * 16) + g], inputs[((t + 4) * 16) + g + 8]) = (a.X, a.Y, a.Z, a.W);
        (weights[(t * 8) + g], weights[((t + 4) * 8) + g]) = (b, further);
        Warp.Barrier();
        IntQuad result = new(Sum(g, 2 * t, sums.X), Sum(g, (2 * t) + 1, sums.Y), Sum(g + 8, 2 * t, sums.Z), Sum(g + 8, (2 * t) + 1, sums.W));
        Warp.Barrier();
        return result;

        int Sum(int row, int column, int sum)
        {
            for (int k = 0; k < 8; k++) sum = PlainProducts.Add(inputs[(k * 16) + row], weights[(k * 8) + column], sum);
            return sum;
        }
    }

    /// <summary>A product that is rounded before anything is added to it: <c>mul.rn</c>, which, unlike <c>mul</c>, is never fused with an addition.</summary>
    [IntrinsicImplementation]
    internal static float Product(float a, float b) => a * b;

    /// <summary>Tells a context of them, before it has a device.</summary>
    internal static void Register(Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        RegisterPtx(nameof(Dp4a), nameof(EmitDp4a));
        RegisterPtx(nameof(Mma), nameof(EmitMma));
        RegisterPtx(nameof(Product), nameof(EmitProduct));
        manager.RegisterMethod(Method(nameof(Product)), new CLIntrinsic(Method(nameof(PlainProduct)), IntrinsicImplementationMode.Redirect));

        void RegisterPtx(string instruction, string emit) =>
            manager.RegisterMethod(Method(instruction), new PTXIntrinsic(Method(emit), IntrinsicImplementationMode.GenerateCode));
    }

    private static MethodInfo Method(string name) => typeof(CudaInstructions).GetMethod(name, BindingFlags.Static | BindingFlags.NonPublic)!;

    private static float PlainProduct(float a, float b) => a * b;

    private static void EmitDp4a(PTXBackend backend, PTXCodeGenerator code, Value call) => Emit("dp4a.u32.s32", code, call);

    private static void EmitProduct(PTXBackend backend, PTXCodeGenerator code, Value call) => Emit("mul.rn.f32", code, call);

    private static void Emit(string instruction, PTXCodeGenerator code, Value call)
    {
        Register[] operands = [.. Enumerable.Range(0, call.Count).SelectMany(i => Operands(code, call[i]))];
        using PTXCodeGenerator.CommandEmitter command = code.BeginCommand(instruction);
        command.AppendArgument(code.AllocateHardware(call));
        foreach (Register operand in operands) command.AppendArgument(operand);
    }

    private static void EmitMma(PTXBackend backend, PTXCodeGenerator code, Value call)
    {
        Register[] a = Operands(code, call[0]), b = [.. Operands(code, call[1]), .. Operands(code, call[2])], sums = Operands(code, call[3]);
        Register[] results = Fields(code.Allocate(call), field => (Register)field);
        using PTXCodeGenerator.CommandEmitter command = code.BeginCommand("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32");
        foreach (Register[] operand in (Register[][])[results, a, b, sums]) command.AppendVectorArgument(operand);
    }

    // The fields of a structure lie in registers of their own, and may be constants, which these instructions do not take.
    private static Register[] Operands(PTXCodeGenerator code, Value value) =>
        Fields(code.Load(value), field => code.EnsureHardwareRegister((PTXRegisterAllocator.PrimitiveRegister)field));

    private static Register[] Fields(PTXRegisterAllocator.Register register, Func<PTXRegisterAllocator.Register, Register> field) =>
        register is PTXRegisterAllocator.CompoundRegister compound ? [.. compound.Children.Select(field)] : [field(register)];
}
