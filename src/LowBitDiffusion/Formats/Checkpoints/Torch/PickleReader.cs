using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace LowBitDiffusion.Formats.Checkpoints.Torch;

/// <summary>
/// Reads the pickles of PyTorch's archives: a stack machine (Python's <c>pickletools</c> describes it) of which only what builds plain values is here. Nothing is imported or
/// called; a name that is not in <see cref="PickleGlobals"/>, and an instruction that tensors do not need, are errors. Memory is bounded by the length of the text: every
/// instruction adds at most one value or what it carries itself.
/// </summary>
/// <param name="origin">The file, for messages.</param>
/// <param name="text">The pickle; what follows it is not touched.</param>
internal sealed class PickleReader(string origin, ReadOnlyMemory<byte> text)
{
    private static readonly object s_mark = new();

    private readonly List<object?> _stack = [];
    private readonly Dictionary<long, object?> _memo = [];
    private int _position;

    /// <summary>Bytes read so far.</summary>
    public int Position => _position;

    /// <summary>Reads one value. Texts, integers (<see cref="long"/>), reals, lists, arrays for tuples, <see cref="PickleDictionary"/>, tensors, null and <see cref="PickleOpaque"/>.</summary>
    /// <exception cref="ModelFormatException">The pickle is damaged, or asks for something that is refused.</exception>
    public object? Read()
    {
        try
        {
            while (Step((char)Byte()))
            {
            }

            return _stack.Count == 1 ? Pop() : throw Damaged($"ends with {_stack.Count} values, expected one");
        }
        catch (Exception e) when (e is ArgumentException or InvalidCastException or FormatException or OverflowException)
        {
            throw new ModelFormatException(origin, null, $"is a damaged pickle at byte {_position}: {e.Message}", e);
        }
    }

    private bool Step(char instruction)
    {
        switch (instruction)
        {
            case '\x80': Require(Byte() <= 5, "a protocol up to 5"); break;
            case '\x95': Skip(8); break;
            case '.': return false;

            case '(': Push(s_mark); break;
            case '0': Pop(); break;
            case '1': PopToMark(); break;
            case '2': Push(_stack.Count > 0 ? _stack[^1] : throw Damaged("duplicates nothing")); break;

            case 'N': Push(null); break;
            case '\x88': Push(true); break;
            case '\x89': Push(false); break;
            case 'K': Push((long)Byte()); break;
            case 'M': Push((long)BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2))); break;
            case 'J': Push((long)BinaryPrimitives.ReadInt32LittleEndian(Bytes(4))); break;
            case 'I': Push(Line() switch { "00" => false, "01" => true, var digits => long.Parse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) }); break;
            case 'L': Push(long.Parse(Line().TrimEnd('L'), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture)); break;
            case '\x8a': Push(Integer(Bytes(Byte()))); break;
            case '\x8b': Push(Integer(Bytes(BinaryPrimitives.ReadInt32LittleEndian(Bytes(4))))); break;
            case 'G': Push(BinaryPrimitives.ReadDoubleBigEndian(Bytes(8))); break;
            case 'F': Push(double.Parse(Line(), NumberStyles.Float, CultureInfo.InvariantCulture)); break;

            case '\x8c': Push(Text(Byte())); break;
            case 'X': Push(Text(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)))); break;
            case '\x8d': Push(Text(BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8)))); break;
            case 'V': Push(Line()); break;
            case 'U': Push(Text(Byte())); break;
            case 'T': Push(Text(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)))); break;
            case 'C': Carry(Byte()); break;
            case 'B': Carry(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))); break;
            case '\x8e': Carry(BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8))); break;

            case ')': Push(Array.Empty<object?>()); break;
            case '\x85': PushTuple(1); break;
            case '\x86': PushTuple(2); break;
            case '\x87': PushTuple(3); break;
            case 't': Push(PopToMark()); break;
            case ']': Push(new List<object?>()); break;
            case 'l': Push(PopToMark().ToList()); break;
            case 'a': Append([Pop()]); break;
            case 'e': Append(PopToMark()); break;
            case '}': Push(new PickleDictionary()); break;
            case 'd': PushDictionary(PopToMark()); break;
            case 's': SetItems(PopMany(2)); break;
            case 'u': SetItems(PopToMark()); break;
            case '\x8f': Push(PickleOpaque.Instance); break;
            case '\x90': PopToMark(); break;
            case '\x91': PopToMark(); Push(PickleOpaque.Instance); break;

            case 'p': _memo[long.Parse(Line(), NumberStyles.None, CultureInfo.InvariantCulture)] = Top(); break;
            case 'q': _memo[Byte()] = Top(); break;
            case 'r': _memo[BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))] = Top(); break;
            case '\x94': _memo[_memo.Count] = Top(); break;
            case 'g': Push(Remembered(long.Parse(Line(), NumberStyles.None, CultureInfo.InvariantCulture))); break;
            case 'h': Push(Remembered(Byte())); break;
            case 'j': Push(Remembered(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)))); break;

            case 'c': Push(Global(Line(), Line())); break;
            case '\x93': PushStackGlobal(); break;
            case 'R' or '\x81': Call(); break;
            case 'b': SetState(); break;
            case 'Q': Push(Storage(Pop())); break;
            default: throw Refused(string.Create(CultureInfo.InvariantCulture, $"the instruction 0x{(int)instruction:x2}"));
        }

        return true;
    }

    private PickleGlobal Global(string module, string name)
    {
        PickleGlobal global = new(module, name);
        return PickleGlobals.IsKnown(global) ? global : throw Refused($"'{global}'");
    }

    private void PushStackGlobal()
    {
        object?[] parts = PopMany(2);
        Push(parts is [string module, string name] ? Global(module, name) : throw Damaged("names something with values that are not texts"));
    }

    private void Call()
    {
        object?[] operands = PopMany(2);
        if (operands is not [PickleGlobal global, object?[] arguments]) throw Damaged("calls something that is not a name");
        Push(PickleGlobals.Call(global, arguments) ?? throw Refused($"a call of '{global}' with {arguments.Length} arguments"));
    }

    // Attributes of an object: of a dictionary its metadata. No value that is built here has any that matter.
    private void SetState()
    {
        Pop();
        if (Top() is not (PickleDictionary or PickleOpaque or TorchTensor)) throw Damaged("sets attributes of something that has none");
    }

    // ('storage', type, key, location, elements, …)
    private TorchStorage Storage(object? id)
        => id is object?[] { Length: >= 5 } parts && parts[0] is "storage" && parts[1] is PickleGlobal type && PickleGlobals.StorageType(type) is { } known && parts[2] is string key && parts[4] is long and >= 0
            ? new TorchStorage(known, key, (long)parts[4]!)
            : throw Damaged("refers to something that is not a storage");

    private void Append(object?[] values)
    {
        if (Top() is List<object?> list) list.AddRange(values);
        else if (Top() is not PickleOpaque) throw Damaged("appends to something that is not a list");
    }

    private void PushDictionary(object?[] pairs)
    {
        Push(new PickleDictionary());
        SetItems(pairs);
    }

    private void SetItems(object?[] pairs)
    {
        if (Top() is not PickleDictionary dictionary || pairs.Length % 2 != 0) throw Damaged("sets entries of something that is not a dictionary");
        for (int i = 0; i < pairs.Length; i += 2) dictionary.Set(pairs[i], pairs[i + 1]);
    }

    private void PushTuple(int count) => Push(PopMany(count));

    // Bytes matter to nothing that is read here.
    private void Carry(ulong length)
    {
        Skip(length);
        Push(PickleOpaque.Instance);
    }

    private object? Remembered(long index) => _memo.TryGetValue(index, out object? value) ? value : throw Damaged($"asks for value {index}, which it has not stored");

    private void Push(object? value) => _stack.Add(value);

    private object? Top() => _stack.Count > 0 && !ReferenceEquals(_stack[^1], s_mark) ? _stack[^1] : throw Damaged("takes a value from an empty stack");

    private object? Pop()
    {
        object? top = Top();
        _stack.RemoveAt(_stack.Count - 1);
        return top;
    }

    private object?[] PopMany(int count)
    {
        object?[] values = new object?[count];
        for (int i = count - 1; i >= 0; i--) values[i] = Pop();
        return values;
    }

    private object?[] PopToMark()
    {
        int mark = _stack.FindLastIndex(value => ReferenceEquals(value, s_mark));
        if (mark < 0) throw Damaged("takes values up to a mark that is not there");
        object?[] values = [.. _stack[(mark + 1)..]];
        _stack.RemoveRange(mark, _stack.Count - mark);
        return values;
    }

    private byte Byte() => Bytes(1)[0];

    private ReadOnlySpan<byte> Bytes(long length)
    {
        if (length < 0 || length > text.Length - _position) throw Damaged("ends early");
        ReadOnlySpan<byte> bytes = text.Span.Slice(_position, (int)length);
        _position += (int)length;
        return bytes;
    }

    private void Skip(ulong length) => Bytes(length <= int.MaxValue ? (long)length : -1);

    private string Text(ulong length) => Encoding.UTF8.GetString(Bytes(length <= int.MaxValue ? (long)length : -1));

    private string Line()
    {
        int length = text.Span[_position..].IndexOf((byte)'\n');
        if (length < 0) throw Damaged("ends within a line");
        string line = Encoding.UTF8.GetString(Bytes(length));
        _position++;
        return line.TrimEnd('\r');
    }

    // Two's complement, little-endian; what is longer than 64 bits, as the format's own magic numbers are, matters to nothing.
    private static object Integer(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 8) return PickleOpaque.Instance;
        long value = bytes.Length > 0 && bytes[^1] >= 0x80 ? -1 : 0;
        for (int i = bytes.Length - 1; i >= 0; i--) value = (value << 8) | bytes[i];
        return value;
    }

    private void Require(bool holds, string expected)
    {
        if (!holds) throw Damaged($"expected {expected}");
    }

    private ModelFormatException Damaged(string problem) => new(origin, null, $"is a damaged pickle: at byte {_position} it {problem}");

    private ModelFormatException Refused(string what) => new(origin, null, $"asks for {what} (byte {_position} of its pickle), which is refused: a checkpoint may only rebuild tensors");
}
