using System.Runtime.InteropServices;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Holds the caller's arrays in place while a plan reads and writes them.</summary>
internal sealed unsafe class PinnedSlots(SlotTable slots, string[] names) : IDisposable
{
    private readonly List<GCHandle> _handles = [];

    /// <summary>Puts an array into the slot of an input or, with <paramref name="last"/>, of the output of the same name.</summary>
    public void Pin(string name, Array values, bool last = false)
    {
        GCHandle handle = GCHandle.Alloc(values, GCHandleType.Pinned);
        _handles.Add(handle);
        slots[last ? Array.LastIndexOf(names, name) : Array.IndexOf(names, name)] = (float*)handle.AddrOfPinnedObject();
    }

    /// <summary>Lets the arrays go.</summary>
    public void Dispose()
    {
        foreach (GCHandle handle in _handles) handle.Free();
        _handles.Clear();
    }
}
