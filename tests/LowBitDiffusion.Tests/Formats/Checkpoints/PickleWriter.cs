using System.Buffers.Binary;
using System.Text;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>Writes pickles of protocol 2 instruction by instruction, well-formed or not.</summary>
internal sealed class PickleWriter
{
    private readonly MemoryStream _bytes = new();

    public PickleWriter() => Raw(0x80, 2);

    public byte[] ToArray() => [.. _bytes.ToArray(), (byte)'.'];

    public PickleWriter Raw(params ReadOnlySpan<byte> bytes)
    {
        _bytes.Write(bytes);
        return this;
    }

    public PickleWriter Text(string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text), length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, utf8.Length);
        return Raw((byte)'X').Raw(length).Raw(utf8);
    }

    public PickleWriter Integer(long value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        return Raw(0x8a, 8).Raw(bytes);
    }

    public PickleWriter Global(string module, string name) => Raw((byte)'c').Raw(Encoding.UTF8.GetBytes($"{module}\n{name}\n"));

    public PickleWriter Tuple(params Action<PickleWriter>[] items)
    {
        Raw((byte)'(');
        foreach (Action<PickleWriter> item in items) item(this);
        return Raw((byte)'t');
    }

    public PickleWriter List(params Action<PickleWriter>[] items)
    {
        Raw((byte)']', (byte)'(');
        foreach (Action<PickleWriter> item in items) item(this);
        return Raw((byte)'e');
    }

    public PickleWriter Integers(params IEnumerable<long> values) => Tuple([.. values.Select(value => (Action<PickleWriter>)(p => p.Integer(value)))]);

    public PickleWriter Call(string module, string name, params Action<PickleWriter>[] arguments) => Global(module, name).Tuple(arguments).Raw((byte)'R');

    public PickleWriter Dictionary(params (string Key, Action<PickleWriter> Value)[] entries)
    {
        Raw((byte)'}', (byte)'(');
        foreach ((string key, Action<PickleWriter> value) in entries) value(Text(key));
        return Raw((byte)'u');
    }

    /// <summary>A tensor that looks at a storage.</summary>
    public PickleWriter Tensor(string storageType, string key, long elements, long offset, long[] shape, long[] strides) => Call(
        "torch._utils", "_rebuild_tensor_v2",
        p => p.Tuple(q => q.Text("storage"), q => q.Global("torch", storageType), q => q.Text(key), q => q.Text("cpu"), q => q.Integer(elements)).Raw((byte)'Q'),
        p => p.Integer(offset), p => p.Integers(shape), p => p.Integers(strides), p => p.Raw(0x89), p => p.Call("collections", "OrderedDict"));
}
