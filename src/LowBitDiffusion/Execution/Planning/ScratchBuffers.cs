using System.Collections.Concurrent;
using LowBitDiffusion.Kernels.Memory;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// Memory that weights pass through on their way from a file to their packed form: one buffer for each thread that packs, as large as the largest weight it met. Native, so that
/// nothing of it stays behind when loading ends. Thread-safe.
/// </summary>
internal sealed class ScratchBuffers : IDisposable
{
    private readonly ConcurrentBag<NativeBuffer> _free = [];

    /// <summary>Runs a function over a buffer; what the buffer holds is not defined.</summary>
    public unsafe TResult Use<T, TResult>(long length, Func<Span<T>, TResult> use) where T : unmanaged
    {
        nuint bytes = (nuint)(length * sizeof(T));
        if (!_free.TryTake(out NativeBuffer? buffer) || buffer.Length < bytes)
        {
            buffer?.Dispose();
            buffer = new NativeBuffer(bytes);
        }

        try
        {
            return use(new Span<T>(buffer.Pointer, checked((int)length)));
        }
        finally
        {
            _free.Add(buffer);
        }
    }

    /// <summary>Frees what is not in use.</summary>
    public void Dispose()
    {
        while (_free.TryTake(out NativeBuffer? buffer)) buffer.Dispose();
    }
}
