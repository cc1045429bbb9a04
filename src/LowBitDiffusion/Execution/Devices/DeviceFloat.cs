namespace LowBitDiffusion.Execution.Devices;

/// <summary>How a device keeps the values that pass from kernel to kernel; kernels reckon in single precision either way.</summary>
public enum DeviceFloat
{
    /// <summary>As float16 where the device has it, else in single precision.</summary>
    Auto,

    /// <summary>In single precision: pictures are the processor's.</summary>
    F32,

    /// <summary>As float16: half the memory, and half the bytes that kernels in floats move. Pictures differ a little from the processor's.</summary>
    F16,
}
