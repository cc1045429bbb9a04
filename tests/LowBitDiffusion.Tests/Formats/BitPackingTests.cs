using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Codes are packed least significant bit first, row by row, and come back as they were.</summary>
[TestFixture]
public sealed class BitPackingTests
{
    [TestCase(2, new byte[] { 1, 2, 3, 0, 2 }, new byte[] { 0b00_11_10_01, 0b10 })]
    [TestCase(3, new byte[] { 1, 2, 3, 4, 5, 6, 7, 0 }, new byte[] { 0b11_010_001, 0b0_101_100_0, 0b000_111_11 })]
    [TestCase(4, new byte[] { 1, 2, 15 }, new byte[] { 0x21, 0x0f })]
    [TestCase(5, new byte[] { 31, 0, 21 }, new byte[] { 0b000_11111, 0b0_10101_00 })]
    [TestCase(8, new byte[] { 200, 3 }, new byte[] { 200, 3 })]
    public void A_row_is_packed_from_the_least_significant_bit(int bits, byte[] codes, byte[] packed)
        => Assert.That(BitPacking.Pack(codes, codes.Length, bits), Is.EqualTo(packed));

    [Test]
    public void Every_row_starts_at_a_byte()
        => Assert.That(BitPacking.Pack([1, 2, 3, 4, 5, 6], 3, 4), Is.EqualTo(new byte[] { 0x21, 0x03, 0x54, 0x06 }));

    [Test]
    public void Unpacking_undoes_packing([Range(2, 8)] int bits, [Range(1, 41)] int depth)
    {
        byte[] codes = [.. Enumerable.Range(0, 3 * depth).Select(i => (byte)((i * 31 + depth) & ((1 << bits) - 1)))];
        byte[] packed = BitPacking.Pack(codes, depth, bits);
        byte[] found = new byte[codes.Length];
        BitPacking.Unpack(packed, found, depth, bits);
        Assert.That(packed, Has.Length.EqualTo(3 * BitPacking.RowBytes(depth, bits)));
        Assert.That(found, Is.EqualTo(codes));
    }

    [Test]
    public void Unpacking_undoes_packing_of_any_codes()
    {
        Gen<(int, byte[])> rows = from bits in Gen.Choose(2, 8) from codes in Gen.Choose(0, (1 << bits) - 1).Select(code => (byte)code).NonEmptyListOf() select (bits, codes.ToArray());
        Prop.ForAll(rows.ToArbitrary(), row =>
        {
            byte[] found = new byte[row.Item2.Length];
            BitPacking.Unpack(BitPacking.Pack(row.Item2, found.Length, row.Item1), found, found.Length, row.Item1);
            return found.SequenceEqual(row.Item2);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(300).WithReplay(20240229, 7));
    }

    [Test]
    public void Codes_and_lengths_that_do_not_fit_are_refused()
    {
        Assert.That(() => BitPacking.Pack([16], 1, 4), Throws.ArgumentException.With.Message.Contains("16 does not fit in 4 bits"));
        Assert.That(() => BitPacking.Pack([1, 2, 3], 2, 4), Throws.ArgumentException);
        Assert.That(() => BitPacking.Pack([1], 1, 9), Throws.ArgumentException);
        Assert.That(() => BitPacking.Pack([1], 1, 1), Throws.ArgumentException);
        Assert.That(() => BitPacking.Unpack(new byte[2], new byte[3], 3, 8), Throws.ArgumentException);
    }
}
