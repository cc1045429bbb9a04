using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;

namespace LowBitDiffusion.Kernels.OpenCL.Checking;

/// <summary>Every float16 read, and everything that rounding to float16 could get wrong written: ties, their neighbours, what is too large.</summary>
internal static class HalfCase
{
    private const int Channels = 256;

    /// <summary>Runs it and says what is wrong, or null.</summary>
    public static string? Fault(OpenClContext context)
    {
        using DeviceQueue queue = context.CreateQueue(values: ValueStorage.Half);
        using DeviceArena arena = new(context);
        ushort[] halves = [.. Enumerable.Range(0, 1 << 16).Select(i => (ushort)i)];
        float[] expected = ValueStorage.Half.Numbers(MemoryMarshal.AsBytes<ushort>(halves)), found = new float[halves.Length];
        DeviceSlice floats = arena.Take(found.Length * sizeof(float));
        DeviceElements.ToFloats(queue, new RowShape(1, halves.Length / Channels, Channels), Rows(arena.Put<ushort>(queue, halves)), Rows(floats));
        found = queue.Download<float>(floats, found.Length);
        for (int i = 0; i < found.Length; i++)
        {
            if (BitConverter.SingleToInt32Bits(found[i]) != BitConverter.SingleToInt32Bits(expected[i]) && !(float.IsNaN(found[i]) && float.IsNaN(expected[i])))
                return FormattableString.Invariant($"float16 0x{i:X4} is read as {found[i]:R}, it is {expected[i]:R}");
        }

        float[] numbers = [.. expected.Where(float.IsFinite).SelectMany(Around)];
        byte[] stored = ValueStorage.Half.Stored(numbers);
        DeviceSlice values = arena.Take(stored.Length);
        DeviceElements.ToValues(queue, new RowShape(1, numbers.Length / Channels, Channels), Rows(arena.Put<float>(queue, numbers)), Rows(values));
        byte[] written = queue.Download<byte>(values, stored.Length);
        for (int i = 0; i < numbers.Length; i++)
        {
            ushort is16 = BitConverter.ToUInt16(written, 2 * i), should = BitConverter.ToUInt16(stored, 2 * i);
            if (is16 != should) return FormattableString.Invariant($"{numbers[i]:R} is written as float16 0x{is16:X4}, it is 0x{should:X4}");
        }

        return null;

        // The number, the tie above it, and that tie's neighbours; above the largest number ties are too large.
        static float[] Around(float x)
        {
            float tie = (x + (float)Half.BitIncrement((Half)x)) / 2;
            tie = float.IsFinite(tie) ? tie : 2 * x;
            return [x, tie, MathF.BitDecrement(tie), MathF.BitIncrement(tie)];
        }

        static DeviceRows Rows(DeviceSlice place) => new(place, Channels, Channels);
    }
}
