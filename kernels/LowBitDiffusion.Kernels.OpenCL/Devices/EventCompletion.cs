using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>An event that can be waited for by sleeping: drivers' own waits may spin for as long as the device works. The driver is asked to call back at once, since not every one does so for what is already complete.</summary>
internal sealed unsafe class EventCompletion : IDisposable
{
    private readonly IOpenCl _api;
    private readonly nint _event;
    private readonly TaskCompletionSource<int> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Takes an event over.</summary>
    /// <exception cref="OpenClException">The driver cannot call back; the event is released.</exception>
    public EventCompletion(IOpenCl api, nint taken)
    {
        (_api, _event) = (api, taken);
        GCHandle handle = GCHandle.Alloc(_done);
        int code = api.SetEventCallback(taken, &OnComplete, GCHandle.ToIntPtr(handle));
        if (code == ClCode.Success) return;
        handle.Free();
        api.ReleaseEvent(taken);
        throw new OpenClException("clSetEventCallback", code);
    }

    /// <summary>Sleeps until the event is complete.</summary>
    /// <exception cref="OpenClException">What it stands for has failed.</exception>
    public void Wait()
    {
        int status = _done.Task.GetAwaiter().GetResult();
        if (status < 0) throw new OpenClException("the device", status, "work that was handed to the queue has failed");
    }

    /// <summary>Releases the event; what it stands for goes on.</summary>
    public void Dispose() => _api.ReleaseEvent(_event);

    [UnmanagedCallersOnly]
    private static void OnComplete(nint completed, int status, nint state)
    {
        GCHandle handle = GCHandle.FromIntPtr(state);
        TaskCompletionSource<int> done = (TaskCompletionSource<int>)handle.Target!;
        handle.Free();
        done.TrySetResult(status);
    }
}
