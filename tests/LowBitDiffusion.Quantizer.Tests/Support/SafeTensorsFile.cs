using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>Reads a well-formed file of the fixtures: F32, I32 and I8.</summary>
internal sealed class SafeTensorsFile : ITensorSource
{
    private readonly byte[] _bytes;
    private readonly Dictionary<string, TensorInfo> _tensors = [];
    private readonly Dictionary<string, Range> _ranges = [];

    public SafeTensorsFile(string path)
    {
        Origin = path;
        _bytes = File.ReadAllBytes(path);
        int header = (int)BinaryPrimitives.ReadUInt64LittleEndian(_bytes);
        using JsonDocument document = JsonDocument.Parse(_bytes.AsMemory(8, header));
        foreach (JsonProperty tensor in document.RootElement.EnumerateObject().Where(t => t.Name != "__metadata__"))
        {
            int[] offsets = [.. tensor.Value.GetProperty("data_offsets").EnumerateArray().Select(o => 8 + header + o.GetInt32())];
            _ranges[tensor.Name] = offsets[0]..offsets[1];
            _tensors[tensor.Name] = new TensorInfo(tensor.Name, Enum.Parse<DType>(tensor.Value.GetProperty("dtype").GetString()!), [.. tensor.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64())]);
        }
    }

    public string Origin { get; }

    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    public byte[] ReadBytes(string name) => _bytes[_ranges[name]];

    public float[] ReadSingles(string name) => _tensors[name].DType switch
    {
        DType.F32 => MemoryMarshal.Cast<byte, float>(ReadBytes(name)).ToArray(),
        DType.I32 => Array.ConvertAll(MemoryMarshal.Cast<byte, int>(ReadBytes(name)).ToArray(), i => (float)i),
        DType.I8 => Array.ConvertAll(ReadBytes(name), b => (float)(sbyte)b),
        DType other => throw new NotSupportedException($"{Origin}: '{name}': {other}"),
    };

    public void Dispose()
    {
    }
}
