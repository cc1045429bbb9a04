namespace LowBitDiffusion.Formats.Checkpoints.Torch;

/// <summary>A name of Python's that a pickle mentions. It is never looked up: it only says which of a few known values is meant.</summary>
/// <param name="Module">Module.</param>
/// <param name="Name">Name in the module.</param>
internal sealed record PickleGlobal(string Module, string Name)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Module}.{Name}";
}

/// <summary>Something that was in a pickle and that no tensor needs: a set, a number of numpy's, a device.</summary>
internal sealed class PickleOpaque
{
    /// <summary>The only one.</summary>
    public static readonly PickleOpaque Instance = new();
}

/// <summary>
/// The names that checkpoints may mention and what calling them gives. The list is the whole of what a file can do: rebuild tensors, ordered dictionaries, and values that are
/// ignored. Any other name is refused before it is used.
/// </summary>
internal static class PickleGlobals
{
    private static readonly Dictionary<string, DType> s_storages = new()
    {
        ["FloatStorage"] = DType.F32,
        ["HalfStorage"] = DType.F16,
        ["BFloat16Storage"] = DType.BF16,
        ["DoubleStorage"] = DType.F64,
        ["LongStorage"] = DType.I64,
        ["IntStorage"] = DType.I32,
        ["ShortStorage"] = DType.I16,
        ["CharStorage"] = DType.I8,
        ["ByteStorage"] = DType.U8,
        ["BoolStorage"] = DType.Bool,
    };

    private static readonly Dictionary<string, Func<object?[], object?>> s_calls = new()
    {
        ["torch._utils._rebuild_tensor_v2"] = RebuildTensor,
        ["torch._utils._rebuild_parameter"] = static arguments => arguments is [TorchTensor tensor, ..] ? tensor : null,
        ["collections.OrderedDict"] = OrderedDictionary,
        ["torch.Size"] = Ignore,
        ["torch.device"] = Ignore,
        ["_codecs.encode"] = Ignore,
        ["builtins.set"] = Ignore,
        ["__builtin__.set"] = Ignore,
        ["numpy.dtype"] = Ignore,
        ["numpy.core.multiarray.scalar"] = Ignore,
        ["numpy._core.multiarray.scalar"] = Ignore,
        ["numpy.core.multiarray._reconstruct"] = Ignore,
        ["numpy._core.multiarray._reconstruct"] = Ignore,
    };

    // Types that are mentioned, as an argument or as a key among the training's settings, and never called.
    private static readonly HashSet<string> s_labels =
    [
        "numpy.ndarray", "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        .. new[] { "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool" }.Select(type => $"torch.{type}"),
    ];

    /// <summary>Whether a file may mention a name.</summary>
    public static bool IsKnown(PickleGlobal global) => StorageType(global) is not null || s_calls.ContainsKey(global.ToString()) || s_labels.Contains(global.ToString());

    /// <summary>The element type of a storage class, or null.</summary>
    public static DType? StorageType(PickleGlobal global) => global.Module == "torch" && s_storages.TryGetValue(global.Name, out DType type) ? type : null;

    /// <summary>What calling a name gives; null if it cannot be called, or not with these arguments.</summary>
    public static object? Call(PickleGlobal global, object?[] arguments) => s_calls.TryGetValue(global.ToString(), out Func<object?[], object?>? call) ? call(arguments) : null;

    // (storage, offset, size, stride, requires_grad, backward_hooks, …)
    private static TorchTensor? RebuildTensor(object?[] arguments)
        => arguments is [TorchStorage storage, long offset, object?[] shape, object?[] strides, ..] && Integers(shape) is { } extents && Integers(strides) is { } steps
            ? new TorchTensor(storage, offset, extents, steps)
            : null;

    private static long[]? Integers(object?[] values) => values.All(value => value is long) ? [.. values.Select(value => (long)value!)] : null;

    // Entries follow as instructions. As an argument they could be copied any number of times.
    private static PickleDictionary? OrderedDictionary(object?[] arguments) => arguments.Length == 0 ? new() : null;

    private static PickleOpaque Ignore(object?[] arguments) => PickleOpaque.Instance;
}

/// <summary>A dictionary of Python's, as far as its keys are texts or integers; entries under other keys are ignored.</summary>
internal sealed class PickleDictionary
{
    private readonly Dictionary<string, object?> _entries = [];

    /// <summary>Entries by the text of their key.</summary>
    public IReadOnlyDictionary<string, object?> Entries => _entries;

    /// <summary>Sets an entry.</summary>
    public void Set(object? key, object? value)
    {
        if (key is string or long) _entries[FormattableString.Invariant($"{key}")] = value;
    }
}
