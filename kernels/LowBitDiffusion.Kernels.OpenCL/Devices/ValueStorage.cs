using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>How values that pass from kernel to kernel lie in a device's memory. Kernels reckon in single precision either way.</summary>
public enum ValueStorage
{
    /// <summary>As single precision.</summary>
    Single,

    /// <summary>As float16, rounded to nearest; what is beyond its largest number, 65504, is that number.</summary>
    Half,
}

/// <summary>Values in memory.</summary>
public static class ValueStorages
{
    /// <summary>Bytes of a value.</summary>
    public static int Bytes(this ValueStorage storage) => storage == ValueStorage.Half ? 2 : sizeof(float);

    /// <summary>What is stored of numbers.</summary>
    public static byte[] Stored(this ValueStorage storage, ReadOnlySpan<float> values)
    {
        byte[] stored = new byte[values.Length * storage.Bytes()];
        if (storage == ValueStorage.Single)
        {
            MemoryMarshal.AsBytes(values).CopyTo(stored);
            return stored;
        }

        Span<Half> halves = MemoryMarshal.Cast<byte, Half>(stored.AsSpan());
        for (int i = 0; i < values.Length; i++) halves[i] = (Half)Math.Clamp(values[i], (float)Half.MinValue, (float)Half.MaxValue);
        return stored;
    }

    /// <summary>The numbers that are stored.</summary>
    public static float[] Numbers(this ValueStorage storage, ReadOnlySpan<byte> stored)
    {
        if (storage == ValueStorage.Single) return MemoryMarshal.Cast<byte, float>(stored).ToArray();
        ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(stored);
        float[] numbers = new float[halves.Length];
        for (int i = 0; i < numbers.Length; i++) numbers[i] = (float)halves[i];
        return numbers;
    }
}
