using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>A checkpoint's names and shapes without weights: reading any is a defect.</summary>
internal sealed class InMemoryShapes(OriginalCheckpoint checkpoint) : ITensorSource
{
    public string Origin => "shapes";

    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; } = checkpoint.Infos.ToDictionary(info => info.Name);

    public void ReadRange(string name, long byteOffset, Span<byte> destination) => throw new InvalidOperationException("opening a checkpoint reads no weights");

    public void Dispose()
    {
    }
}
