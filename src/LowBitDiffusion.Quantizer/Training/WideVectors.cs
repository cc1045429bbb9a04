using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>A function of up to three numbers in double precision, four at a time.</summary>
internal interface IWideFunction
{
    Vector256<double> Invoke(Vector256<double> a, Vector256<double> b, Vector256<double> c);
}

/// <summary>Loops over single-precision arrays that compute in double precision.</summary>
internal static class WideVectors
{
    /// <summary><c>result[i] = f(a[i], b[i], c[i])</c>; empty operands read as zero. The result may be one of the operands.</summary>
    public static void Map<TFunction>(ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> c, Span<float> result, TFunction function) where TFunction : struct, IWideFunction
    {
        int lanes = Vector256<float>.Count, i = 0;
        for (; i <= result.Length - lanes; i += lanes) Invoke(Load(a, i), Load(b, i), Load(c, i), function).CopyTo(result[i..]);
        if (i == result.Length) return;
        Span<float> last = stackalloc float[lanes];
        Invoke(LoadEnd(a, i, last), LoadEnd(b, i, last), LoadEnd(c, i, last), function).CopyTo(last);
        last[..(result.Length - i)].CopyTo(result[i..]);
    }

    private static Vector256<float> Invoke<TFunction>(Vector256<float> a, Vector256<float> b, Vector256<float> c, TFunction function) where TFunction : struct, IWideFunction
    {
        (Vector256<double> a0, Vector256<double> a1) = Vector256.Widen(a);
        (Vector256<double> b0, Vector256<double> b1) = Vector256.Widen(b);
        (Vector256<double> c0, Vector256<double> c1) = Vector256.Widen(c);
        return Vector256.Narrow(function.Invoke(a0, b0, c0), function.Invoke(a1, b1, c1));
    }

    private static Vector256<float> Load(ReadOnlySpan<float> values, int index) => values.IsEmpty ? default : Vector256.Create(values.Slice(index, Vector256<float>.Count));

    private static Vector256<float> LoadEnd(ReadOnlySpan<float> values, int index, Span<float> buffer)
    {
        if (values.IsEmpty) return default;
        buffer.Clear();
        values[index..].CopyTo(buffer);
        return Vector256.Create<float>(buffer);
    }
}
