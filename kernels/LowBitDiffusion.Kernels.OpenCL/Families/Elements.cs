using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>Operations on rows on a device, those of <see cref="Arithmetic"/>, <see cref="Activations"/>, <see cref="Resampling"/> and <see cref="Layout"/>.</summary>
public static class DeviceElements
{
    private static readonly (int, int) s_group = (32, 4);

    /// <summary><c>x + y</c>.</summary>
    public static void Add(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows y, Broadcast broadcast, DeviceRows output) => Two(queue, "add", shape, x, y, broadcast, output);

    /// <summary><c>x·y</c>.</summary>
    public static void Multiply(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows y, Broadcast broadcast, DeviceRows output) => Two(queue, "multiply", shape, x, y, broadcast, output);

    /// <summary><c>x / divisor[image]</c>.</summary>
    public static void Divide(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceSlice divisor, DeviceRows output) => Two(queue, "divide", shape, x, new(divisor, 1, 1), Broadcast.None, output);

    /// <summary><c>factor·x + offset</c>.</summary>
    public static void Affine(DeviceQueue queue, in RowShape shape, DeviceRows x, float factor, float offset, DeviceRows output) =>
        queue.Call("elements", "", "affine").Memory(x.Place).Memory(output.Place).Value(factor).Value(offset).Value(Bind(shape, x, output)).Run(Items(shape), s_group);

    /// <summary>x between two bounds.</summary>
    public static void Clamp(DeviceQueue queue, in RowShape shape, DeviceRows x, float minimum, float maximum, DeviceRows output) =>
        queue.Call("elements", "", "clamp_between").Memory(x.Place).Memory(output.Place).Value(minimum).Value(maximum).Value(Bind(shape, x, output)).Run(Items(shape), s_group);

    /// <summary>The rows themselves.</summary>
    public static void Copy(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows output) => One(queue, "copy", shape, x, output).Run(Items(shape), s_group);

    /// <summary>Floats to values.</summary>
    public static void ToValues(DeviceQueue queue, in RowShape shape, DeviceRows floats, DeviceRows output) => One(queue, "to_values", shape, floats, output).Run(Items(shape), s_group);

    /// <summary>Values to floats.</summary>
    public static void ToFloats(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows floats) => One(queue, "to_floats", shape, x, floats).Run(Items(shape), s_group);

    /// <summary>Values from −1 to 1 to the bytes of pictures, <c>round_half_even(255·clamp(x/2 + 1/2, 0, 1))</c>; what is no number becomes 0.</summary>
    public static void ToPixels(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows bytes) => One(queue, "to_pixels", shape, x, bytes).Run(Items(shape), s_group);

    /// <summary>First half of a row times GELU of its second half.</summary>
    public static void Geglu(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceRows output) => One(queue, "geglu", shape, x, output).Run(Items(shape), s_group);

    /// <summary>Mean over 2×2 blocks of images of <paramref name="height"/> × <paramref name="width"/>.</summary>
    public static void AveragePool(DeviceQueue queue, int batch, int height, int width, DeviceRows x, DeviceRows output)
    {
        RowShape shape = new(batch, height / 2 * (width / 2), output.Channels);
        queue.Call("elements", "", "average_pool").Memory(x.Place).Memory(output.Place).Value(height).Value(width).Value(Bind(shape, x, output)).Run(Items(shape), s_group);
    }

    /// <summary>Tokens of square patches to an image of <paramref name="height"/> × <paramref name="width"/>.</summary>
    public static void Unpatchify(DeviceQueue queue, int batch, int patch, int height, int width, DeviceRows x, DeviceRows output)
    {
        RowShape shape = new(batch, height * width, output.Channels);
        queue.Call("elements", "", "unpatchify").Memory(x.Place).Memory(output.Place).Value(patch).Value(height).Value(width).Value(Bind(shape, x, output)).Run(Items(shape), s_group);
    }

    /// <summary>Floats <c>[B, C, H·W]</c> to values <c>[B, H·W, C]</c>.</summary>
    public static void ToRows(DeviceQueue queue, in RowShape shape, DeviceSlice planes, DeviceRows output) => One(queue, "to_rows", shape, new(planes, 0, 0), output).Run(Items(shape), s_group);

    /// <summary>Values <c>[B, H·W, C]</c> to floats <c>[B, C, H·W]</c>.</summary>
    public static void ToPlanes(DeviceQueue queue, in RowShape shape, DeviceRows x, DeviceSlice planes) => One(queue, "to_planes", shape, x, new(planes, 0, 0)).Run((shape.Rows, shape.Channels), s_group);

    private static KernelCall One(DeviceQueue queue, string name, in RowShape shape, DeviceRows x, DeviceRows output) =>
        queue.Call("elements", "", name).Memory(x.Place).Memory(output.Place).Value(Bind(shape, x, output));

    private static void Two(DeviceQueue queue, string name, in RowShape shape, DeviceRows x, DeviceRows y, Broadcast broadcast, DeviceRows output) =>
        queue.Call("elements", "", name).Memory(x.Place).Memory(y.Place).Memory(output.Place).Value(Bind(shape, x, output) with { YStride = y.Stride, Broadcast = (int)broadcast }).Run(Items(shape), s_group);

    private static (long, long) Items(in RowShape shape) => (shape.Channels, shape.Rows);

    private static Arguments Bind(in RowShape shape, DeviceRows x, DeviceRows output) =>
        new() { Batch = shape.Batch, RowsPerImage = shape.RowsPerImage, Channels = shape.Channels, XStride = x.Stride, OutputStride = output.Stride };

    private struct Arguments
    {
        public int Batch, RowsPerImage, Channels, XStride, YStride, OutputStride, Broadcast;
    }
}
