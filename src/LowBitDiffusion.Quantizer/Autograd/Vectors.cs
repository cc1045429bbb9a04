using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>A function of up to three numbers, eight at a time; a struct, so that loops are compiled for it.</summary>
internal interface IFunction
{
    Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c);
}

/// <summary>Loops over arrays in vectors of eight.</summary>
internal static class Vectors
{
    /// <summary>Elements of a chunk: enough work to be worth handing to a thread.</summary>
    public const int Grain = 1 << 14;

    /// <summary><c>result[i] = f(a[i], b[i], c[i])</c>; empty operands read as zero. The result may be one of the operands.</summary>
    public static void Map<TFunction>(ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> c, Span<float> result, TFunction function) where TFunction : struct, IFunction
    {
        int lanes = Vector256<float>.Count, i = 0;
        for (; i <= result.Length - lanes; i += lanes)
            function.Invoke(Load(a, i), Load(b, i), Load(c, i)).CopyTo(result[i..]);
        if (i == result.Length) return;
        Span<float> last = stackalloc float[lanes];
        function.Invoke(LoadEnd(a, i, last), LoadEnd(b, i, last), LoadEnd(c, i, last)).CopyTo(last);
        last[..(result.Length - i)].CopyTo(result[i..]);
    }

    /// <summary><see cref="Map{TFunction}(ReadOnlySpan{float}, ReadOnlySpan{float}, ReadOnlySpan{float}, Span{float}, TFunction)"/> by all threads into a new array.</summary>
    public static float[] Map<TFunction>(this WorkerPool pool, float[] a, float[]? b, float[]? c, TFunction function) where TFunction : struct, IFunction
    {
        float[] result = Allocate(a.Length);
        pool.Chunks(a.Length, Grain, (start, end) => Map(a.AsSpan(start..end), Part(b, start, end), Part(c, start, end), result.AsSpan(start..end), function));
        return result;
    }

    /// <summary>Hands out ranges whose borders depend on <paramref name="count"/> and <paramref name="size"/> alone: sums per range are the same for any number of threads.</summary>
    public static void Chunks(this WorkerPool pool, int count, int size, Action<int, int> body) => pool.For((count + size - 1) / size, new ChunkBody(count, size, body));

    /// <summary>An array that is about to be overwritten.</summary>
    public static float[] Allocate(long length) => PassMemory.Current?.Take(checked((int)length)) ?? GC.AllocateUninitializedArray<float>(checked((int)length));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Load(ReadOnlySpan<float> values, int index) => values.IsEmpty ? default : Vector256.Create(values.Slice(index, Vector256<float>.Count));

    private static Vector256<float> LoadEnd(ReadOnlySpan<float> values, int index, Span<float> buffer)
    {
        if (values.IsEmpty) return default;
        buffer.Clear();
        values[index..].CopyTo(buffer);
        return Vector256.Create<float>(buffer);
    }

    private static ReadOnlySpan<float> Part(float[]? values, int start, int end) => values is null ? default : values.AsSpan(start..end);

    private readonly struct ChunkBody(int count, int size, Action<int, int> body) : IParallelBody
    {
        public void Run(int index) => body(index * size, Math.Min(count, (index + 1) * size));
    }
}

/// <summary>a + b.</summary>
internal readonly struct Sum : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a + b;
}

/// <summary>a·b.</summary>
internal readonly struct Product : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * b;
}

/// <summary>a/b.</summary>
internal readonly struct Quotient : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a / b;
}

/// <summary>a·b + c, rounded twice.</summary>
internal readonly struct ProductPlus : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * b + c;
}

/// <summary>factor·a + offset.</summary>
internal readonly struct Line(float factor, float offset) : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * factor + Vector256.Create(offset);
}
