using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace LowBitDiffusion.Kernels.Tests.Golden;

/// <summary>A float tensor of a golden case.</summary>
internal sealed record GoldenTensor(int[] Shape, float[] Data);

/// <summary>Reads trusted test files only; the library's reader with its checks lives elsewhere.</summary>
internal static class SafeTensors
{
    public static Dictionary<string, GoldenTensor> Read(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        int header = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        using JsonDocument json = JsonDocument.Parse(file.AsMemory(8, header));
        Dictionary<string, GoldenTensor> tensors = [];
        foreach (JsonProperty entry in json.RootElement.EnumerateObject().Where(e => e.Name != "__metadata__"))
        {
            Assert.That(entry.Value.GetProperty("dtype").GetString(), Is.EqualTo("F32"), $"{path}: {entry.Name}");
            int[] offsets = [.. entry.Value.GetProperty("data_offsets").EnumerateArray().Select(o => o.GetInt32())];
            int[] shape = [.. entry.Value.GetProperty("shape").EnumerateArray().Select(o => o.GetInt32())];
            tensors[entry.Name] = new GoldenTensor(shape, MemoryMarshal.Cast<byte, float>(file.AsSpan(8 + header + offsets[0], offsets[1] - offsets[0])).ToArray());
        }

        return tensors;
    }
}
