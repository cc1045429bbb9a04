using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Sums in double precision over a vector of some width. The square of a float is exact in double precision, so fused or not does not
/// matter.</summary>
internal unsafe interface IWide<TVector> where TVector : struct
{
    /// <summary>Lanes.</summary>
    static abstract int Count { get; }

    /// <summary>Loads floats and widens them.</summary>
    static abstract TVector Widen(float* source);

    /// <summary>Unaligned load.</summary>
    static abstract TVector Load(double* source);

    /// <summary>Unaligned store.</summary>
    static abstract void Store(double* destination, TVector value);

    /// <summary>x + y.</summary>
    static abstract TVector Add(TVector x, TVector y);

    /// <summary>x + y².</summary>
    static abstract TVector AddSquare(TVector x, TVector y);
}

/// <summary>Work written over the width of a vector of doubles.</summary>
internal interface IWideJob
{
    /// <summary>Does it.</summary>
    void Run<TWide, TVector>() where TWide : struct, IWide<TVector> where TVector : struct;
}

/// <summary>One lane.</summary>
internal readonly unsafe struct Wide1 : IWide<double>
{
    /// <inheritdoc/>
    public static int Count => 1;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Widen(float* source) => *source;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Load(double* source) => *source;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, double value) => *destination = value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Add(double x, double y) => x + y;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double AddSquare(double x, double y) => x + y * y;
}

/// <summary>Two lanes, in portable vectors.</summary>
internal readonly unsafe struct Wide128 : IWide<Vector128<double>>
{
    /// <inheritdoc/>
    public static int Count => 2;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<double> Widen(float* source) => Vector128.Create((double)source[0], source[1]);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<double> Load(double* source) => Vector128.Load(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, Vector128<double> value) => value.Store(destination);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<double> Add(Vector128<double> x, Vector128<double> y) => x + y;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<double> AddSquare(Vector128<double> x, Vector128<double> y) => x + y * y;
}

/// <summary>Four lanes.</summary>
internal readonly unsafe struct Wide256 : IWide<Vector256<double>>
{
    /// <inheritdoc/>
    public static int Count => 4;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<double> Widen(float* source) => Avx.ConvertToVector256Double(Sse.LoadVector128(source));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<double> Load(double* source) => Avx.LoadVector256(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, Vector256<double> value) => Avx.Store(destination, value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<double> Add(Vector256<double> x, Vector256<double> y) => Avx.Add(x, y);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<double> AddSquare(Vector256<double> x, Vector256<double> y) => Fma.MultiplyAdd(y, y, x);
}

/// <summary>Eight lanes.</summary>
internal readonly unsafe struct Wide512 : IWide<Vector512<double>>
{
    /// <inheritdoc/>
    public static int Count => 8;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<double> Widen(float* source) => Avx512F.ConvertToVector512Double(Avx.LoadVector256(source));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<double> Load(double* source) => Avx512F.LoadVector512(source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, Vector512<double> value) => Avx512F.Store(destination, value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<double> Add(Vector512<double> x, Vector512<double> y) => Avx512F.Add(x, y);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<double> AddSquare(Vector512<double> x, Vector512<double> y) => Avx512F.FusedMultiplyAdd(y, y, x);
}
