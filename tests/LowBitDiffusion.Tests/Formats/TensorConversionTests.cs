using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Every code of the small float types becomes the number its bits say.</summary>
[TestFixture]
public sealed class TensorConversionTests
{
    [TestCase(DType.F16, 16, 5, 10, true)]
    [TestCase(DType.BF16, 16, 8, 7, true)]
    [TestCase(DType.F8E5M2, 8, 5, 2, true)]
    [TestCase(DType.F8E4M3, 8, 4, 3, false)]
    public void Every_code_is_exact(DType type, int bits, int exponentBits, int mantissaBits, bool hasInfinity)
    {
        int count = 1 << bits;
        byte[] bytes = bits == 8 ? [.. Enumerable.Range(0, count).Select(i => (byte)i)] : [.. Enumerable.Range(0, count).SelectMany(i => BitConverter.GetBytes((ushort)i))];
        float[] found = new float[count];
        TensorConversion.ToSingles(type, bytes, found);
        for (int code = 0; code < count; code++)
        {
            double expected = Reference(code, bits, exponentBits, mantissaBits, hasInfinity);
            if (double.IsNaN(expected)) Assert.That(found[code], Is.NaN, $"code {code:x}");
            else Assert.That(BitConverter.DoubleToInt64Bits(found[code]), Is.EqualTo(BitConverter.DoubleToInt64Bits(expected)), $"code {code:x}: expected {expected}, found {found[code]}");
        }
    }

    [TestCase(0)]
    [TestCase(1)]
    [TestCase(7)]
    [TestCase(33)]
    public void The_rest_of_a_vector_is_converted_like_the_vector(int count)
    {
        float[] values = [.. Enumerable.Range(0, count).Select(i => i - 16.5f)];
        float[] found = new float[count];
        TensorConversion.ToSingles(DType.F16, TensorConversion.FromSingles(DType.F16, values), found);
        Assert.That(found, Is.EqualTo(values));
    }

    private static IEnumerable<TestCaseData> Numbers()
    {
        yield return new TestCaseData(DType.Bool, new byte[] { 0, 1 }, new float[] { 0, 1 });
        yield return new TestCaseData(DType.U8, new byte[] { 0, 255 }, new float[] { 0, 255 });
        yield return new TestCaseData(DType.I8, new byte[] { 0x80, 0x7f }, new float[] { -128, 127 });
        yield return new TestCaseData(DType.I16, Bytes<short>([-32768, 7], BitConverter.GetBytes), new float[] { -32768, 7 });
        yield return new TestCaseData(DType.U16, Bytes<ushort>([65535, 7], BitConverter.GetBytes), new float[] { 65535, 7 });
        yield return new TestCaseData(DType.I32, Bytes<int>([-1, 16777217], BitConverter.GetBytes), new float[] { -1, 16777216 });
        yield return new TestCaseData(DType.U32, Bytes<uint>([uint.MaxValue], BitConverter.GetBytes), new float[] { 4294967296 });
        yield return new TestCaseData(DType.I64, Bytes<long>([long.MinValue, 999], BitConverter.GetBytes), new float[] { -9223372036854775808f, 999 });
        yield return new TestCaseData(DType.U64, Bytes<ulong>([ulong.MaxValue], BitConverter.GetBytes), new float[] { 18446744073709551616f });
        yield return new TestCaseData(DType.F32, Bytes<float>([-0.1f, float.PositiveInfinity], BitConverter.GetBytes), new[] { -0.1f, float.PositiveInfinity });
        yield return new TestCaseData(DType.F64, Bytes<double>([0.1, 1e300], BitConverter.GetBytes), new[] { 0.1f, float.PositiveInfinity });
    }

    [TestCaseSource(nameof(Numbers))]
    public void Other_types_become_the_nearest_number(DType type, byte[] bytes, float[] expected)
    {
        float[] found = new float[expected.Length];
        TensorConversion.ToSingles(type, bytes, found);
        Assert.That(found, Is.EqualTo(expected));
    }

    [TestCase(1f, 0x3f80, TestName = "exact")]
    [TestCase(1.00390625f, 0x3f80, TestName = "tie to even, down")]
    [TestCase(1.01171875f, 0x3f82, TestName = "tie to even, up")]
    [TestCase(1.0039064f, 0x3f81, TestName = "above the tie")]
    [TestCase(float.MaxValue, 0x7f80, TestName = "too large")]
    [TestCase(float.NegativeInfinity, 0xff80, TestName = "infinite")]
    [TestCase(float.NaN, 0xffc0, TestName = "not a number")]
    public void BF16_is_rounded_to_the_nearest(float value, int expected)
        => Assert.That(BitConverter.ToUInt16(TensorConversion.FromSingles(DType.BF16, [value])), Is.EqualTo(expected));

    [TestCase(DType.F16)]
    [TestCase(DType.BF16)]
    public void Every_number_of_the_type_survives_a_round_trip(DType type)
    {
        byte[] bytes = [.. Enumerable.Range(0, 65536).SelectMany(i => BitConverter.GetBytes((ushort)i))];
        float[] values = new float[65536], again = new float[65536];
        TensorConversion.ToSingles(type, bytes, values);
        TensorConversion.ToSingles(type, TensorConversion.FromSingles(type, values), again);
        Assert.That(again, Is.EqualTo(values));
    }

    [Test]
    public void Lengths_that_do_not_fit_and_types_without_numbers_are_refused()
    {
        Assert.That(() => TensorConversion.ToSingles(DType.F16, new byte[3], new float[2]), Throws.ArgumentException);
        Assert.That(() => TensorConversion.ToSingles(DType.Unknown, [], []), Throws.ArgumentException);
        Assert.That(() => TensorConversion.FromSingles(DType.I8, [1f]), Throws.ArgumentException);
    }

    private static byte[] Bytes<T>(T[] values, Func<T, byte[]> bytes) => [.. values.SelectMany(bytes)];

    /// <summary>The definition: sign, exponent and mantissa, in double precision.</summary>
    private static double Reference(int code, int bits, int exponentBits, int mantissaBits, bool hasInfinity)
    {
        int sign = code >> (bits - 1), exponent = (code >> mantissaBits) & ((1 << exponentBits) - 1), mantissa = code & ((1 << mantissaBits) - 1);
        int bias = (1 << (exponentBits - 1)) - 1, allOnes = (1 << exponentBits) - 1;
        double magnitude = exponent == 0 ? mantissa * Math.Pow(2, 1 - bias - mantissaBits) : (1 + mantissa * Math.Pow(2, -mantissaBits)) * Math.Pow(2, exponent - bias);
        if (exponent == allOnes && hasInfinity) magnitude = mantissa == 0 ? double.PositiveInfinity : double.NaN;
        if (exponent == allOnes && !hasInfinity && mantissa == (1 << mantissaBits) - 1) magnitude = double.NaN;
        return sign == 0 ? magnitude : -magnitude;
    }
}
