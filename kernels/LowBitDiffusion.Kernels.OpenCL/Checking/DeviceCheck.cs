using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Programs;

namespace LowBitDiffusion.Kernels.OpenCL.Checking;

/// <summary>
/// What a device was found to compute. Before a device is used, variants of the integer kernels run on small adversarial layers and are compared with the definition, bit for bit; the first that agrees
/// is taken, the others are refused by name. The result is kept for the device, its driver and the kernels' source.
/// </summary>
/// <param name="Choice">What is used.</param>
/// <param name="Refused">What is not, and why.</param>
/// <param name="FromCache">Whether this was found out by an earlier process.</param>
public sealed record DeviceCheck(KernelChoice Choice, IReadOnlyList<RefusedVariant> Refused, bool FromCache)
{
    /// <summary>Why values cannot be kept as float16; null if they can.</summary>
    public string? HalfFault { get; init; }

    /// <summary>Checks a device, or recalls an earlier check.</summary>
    /// <exception cref="OpenClException">No variant computes what it should, or the device fails.</exception>
    public static DeviceCheck Of(OpenClContext context)
    {
        string key = Key(context.Device);
        if (context.Cache?.Find(key) is { } kept && Recall(kept, context.Device) is { } known) return known;
        DeviceCheck check = Run(context);
        context.Cache?.Keep(key, JsonSerializer.SerializeToUtf8Bytes(check));
        return check;
    }

    /// <summary>Checks a device, whatever is known of it.</summary>
    /// <exception cref="OpenClException">No variant computes what it should, or the device fails.</exception>
    public static DeviceCheck Run(OpenClContext context)
    {
        OpenClDevice device = context.Device;
        List<RefusedVariant> refused = [];
        using DeviceQueue queue = context.CreateQueue();
        foreach (MatrixTile tile in MatrixTile.Candidates(device.Kind))
        {
            foreach (IntegerDot dot in KernelChoice.Candidates(device))
            {
                KernelChoice choice = new(dot, tile, tile);
                if (Fault(() => Fault(queue, choice)) is not { } fault) return new DeviceCheck(choice, refused, FromCache: false) { HalfFault = Fault(() => HalfCase.Fault(context)) };
                refused.Add(new RefusedVariant($"{dot}, {tile}", fault));
            }
        }

        throw new OpenClException("self-check", ClCode.InvalidOperation, $"no variant of the integer kernels gives the right sums on {device}: {string.Join("; ", refused.Select(r => $"{r.Variant}: {r.Reason}"))}");
    }

    private static string? Fault(DeviceQueue queue, KernelChoice choice) =>
        CheckLayer.All.Select(layer => layer.Fault(Run(queue, choice, layer))).FirstOrDefault(fault => fault is not null) ?? AttentionCase.Fault(queue, choice);

    /// <summary>What is wrong with a variant, or null. A device that is gone or full is no fault of the variant.</summary>
    private static string? Fault(Func<string?> check)
    {
        try
        {
            return check();
        }
        catch (OpenClException e) when (e is { IsDeviceLost: false, IsOutOfMemory: false })
        {
            return e.Message;
        }
    }

    private static float[] Run(DeviceQueue queue, KernelChoice choice, CheckLayer layer)
    {
        using DeviceArena arena = new(queue.Context);
        IntegerWeights weights = IntegerWeights.Load(queue, arena, layer.Codes, layer.Shape, layer.Ranges, layer.WeightScales);
        IntegerMatrix matrix = new(queue, arena, layer.Geometry, weights, [.. Enumerable.Range(0, layer.Segments.Length)]);
        int outChannels = layer.Geometry.OutChannels, count = layer.Geometry.Rows * outChannels;
        DeviceSlice input = arena.Put<byte>(queue, layer.Image), bias = arena.Put<float>(queue, layer.Bias), output = arena.Take(count * sizeof(float));
        matrix.Enqueue(queue, choice, input, arena.Put<float>(queue, layer.Quantizer), new MatrixEpilogue(bias, default, 0, default, 0, 1, output, outChannels));
        return queue.Download<float>(output, count);
    }

    private static string Key(OpenClDevice device)
    {
        string sources = string.Concat(((string[])["integer_matrix", "tensor_matrix", "packed_attention", "elements"]).Select(ProgramLibrary.Source));
        string source = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(sources)));
        return $"check\n{device.Platform}\n{device.Name}\n{device.Version}\n{device.Driver}\n{source}";
    }

    // A choice that this version would not make is found out anew.
    private static DeviceCheck? Recall(byte[] kept, OpenClDevice device)
    {
        try
        {
            return JsonSerializer.Deserialize<DeviceCheck>(kept) is { } check && KernelChoice.Candidates(device).Contains(check.Choice.Dot) && MatrixTile.Candidates(device.Kind).Contains(check.Choice.IntegerTile)
                && MatrixTile.Candidates(device.Kind).Contains(check.Choice.FloatTile) ? check with { FromCache = true } : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
