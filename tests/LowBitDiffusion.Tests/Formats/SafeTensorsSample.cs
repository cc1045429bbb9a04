using System.Buffers.Binary;
using System.Text;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Safetensors files made by hand, so that the reader is not tested with what the writer believes.</summary>
internal static class SafeTensorsSample
{
    /// <summary>A length, a header as given, and data.</summary>
    public static byte[] File(string header, int dataLength) => File(Encoding.UTF8.GetBytes(header), [.. Enumerable.Range(0, dataLength).Select(i => (byte)i)]);

    public static byte[] File(byte[] header, byte[] data, ulong? length = null)
    {
        byte[] prefix = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, length ?? (ulong)header.Length);
        return [.. prefix, .. header, .. data];
    }

    /// <summary>Three tensors, listed in another order than their data, and a text.</summary>
    public static byte[] Valid => File("""
        {"__metadata__":{"format":"pt"},
         "b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},
         "a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
         "c":{"dtype":"F16","shape":[],"data_offsets":[28,30]},
         "empty":{"dtype":"I64","shape":[0,7],"data_offsets":[4,4]}}
        """, 30);
}
