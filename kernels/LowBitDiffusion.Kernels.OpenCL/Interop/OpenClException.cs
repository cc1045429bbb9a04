namespace LowBitDiffusion.Kernels.OpenCL.Interop;

/// <summary>A call of OpenCL failed. The message names the call and the error as the specification does.</summary>
public sealed class OpenClException : Exception
{
    /// <summary>Creates the error.</summary>
    /// <param name="call">The entry point, e.g. <c>clBuildProgram</c>.</param>
    /// <param name="code">Its error code.</param>
    /// <param name="detail">What was asked for; for a build, the compiler's log.</param>
    public OpenClException(string call, int code, string? detail = null) : base($"{call}: {ClCode.NameOf(code)}{(detail is null ? "" : $": {detail}")}")
    {
        Call = call;
        Code = code;
        ErrorName = ClCode.NameOf(code);
    }

    /// <summary>The entry point.</summary>
    public string Call { get; }

    /// <summary>The error code.</summary>
    public int Code { get; }

    /// <summary>The error's name, e.g. <c>CL_OUT_OF_RESOURCES</c>.</summary>
    public string ErrorName { get; }

    /// <summary>Whether there was not enough memory on the device.</summary>
    public bool IsOutOfMemory => Code is ClCode.MemObjectAllocationFailure or ClCode.OutOfResources or ClCode.OutOfHostMemory;

    /// <summary>Whether the device is gone.</summary>
    public bool IsDeviceLost => Code is ClCode.DeviceNotAvailable;

    /// <summary>Throws if a call did not succeed.</summary>
    internal static void Check(int code, string call, string? detail = null)
    {
        if (code != ClCode.Success) throw new OpenClException(call, code, detail);
    }
}
