using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Programs;

namespace LowBitDiffusion.Kernels.OpenCL.Tuning;

/// <summary>
/// Which tile is the fastest for each layer, measured when a device first meets a layer of such a shape, and kept for the device, its driver and the kernels' source. The usual tile has been checked
/// against the definition (<see cref="DeviceCheck"/>); another one must give its bits, on random codes of which half are the ends of their range, or is refused. Thread-safe.
/// </summary>
public sealed class TileTuner
{
    private const int Runs = 3;

    private readonly OpenClContext _context;
    private readonly KernelChoice _choice;
    private readonly string _key;
    private readonly Dictionary<string, MatrixTile> _tiles;
    private readonly List<RefusedVariant> _refused = [];
    private readonly Lock _lock = new();

    /// <summary>Recalls what was measured before.</summary>
    /// <param name="context">The device.</param>
    /// <param name="choice">Variant and usual tiles that have passed the check.</param>
    public TileTuner(OpenClContext context, KernelChoice choice)
    {
        OpenClDevice device = context.Device;
        string source = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(ProgramLibrary.Source("integer_matrix") + ProgramLibrary.Source("float_matrix"))));
        _context = context;
        _choice = choice;
        _key = $"tiles\n{device.Platform}\n{device.Name}\n{device.Version}\n{device.Driver}\n{choice}\n{source}";
        _tiles = context.Cache?.Find(_key) is { } kept ? Recall(kept) : [];
    }

    /// <summary>Shapes of layers that a tile is known for.</summary>
    public int Known
    {
        get
        {
            lock (_lock) return _tiles.Count;
        }
    }

    /// <summary>Tiles that gave other results than the usual one, or none.</summary>
    public IReadOnlyList<RefusedVariant> Refused
    {
        get
        {
            lock (_lock) return [.. _refused];
        }
    }

    /// <summary>Gives a layer its tile; measures if there has been no layer of this shape. Waits for the device.</summary>
    /// <param name="queue">A queue that notes times.</param>
    /// <param name="layer">The layer; its weights are on the device.</param>
    /// <param name="input">Room for its input; overwritten.</param>
    /// <param name="epilogue">Its epilogue, with room for its output, which is overwritten. What is added to the sums is left out.</param>
    /// <param name="cancellationToken">Checked between runs.</param>
    /// <exception cref="OpenClException">The device is gone or full, or the usual tile fails.</exception>
    public void Choose(DeviceQueue queue, TiledLayer layer, DeviceSlice input, in MatrixEpilogue epilogue, CancellationToken cancellationToken)
    {
        if (!layer.HasTiles(_choice)) return;
        string shape = $"{layer.Weights}{epilogue.Options}{(queue.Values == ValueStorage.Half ? " f16" : "")} {layer.Geometry}";
        lock (_lock)
        {
            if (!_tiles.TryGetValue(shape, out MatrixTile tile))
            {
                tile = Measure(queue, layer, input, epilogue, cancellationToken);
                _tiles.Add(shape, tile);
            }

            layer.Tile = tile;
        }
    }

    /// <summary>Keeps what is known for later processes.</summary>
    public void Keep()
    {
        lock (_lock) _context.Cache?.Keep(_key, JsonSerializer.SerializeToUtf8Bytes(_tiles));
    }

    private MatrixTile Measure(DeviceQueue queue, TiledLayer layer, DeviceSlice input, in MatrixEpilogue epilogue, CancellationToken cancellationToken)
    {
        using DeviceBuffer numbers = _context.Allocate(6 * sizeof(float));
        DeviceSlice quantizer = numbers.At(0);
        queue.Upload<float>(quantizer, [1, 1, 0.01f, 0.01f, 128, 128]);
        queue.Upload<byte>(input, layer.Input(new Random(1), queue.Values));
        MatrixEpilogue bare = epilogue with { Bias = default, ImageVector = default, Residual = default, CodeQuantizer = quantizer, CodeInverse = default };
        int bytes = layer.Geometry.Rows * epilogue.OutputStride * (epilogue.CodesOf is null ? queue.Values.Bytes() : sizeof(byte));
        MatrixTile usual = layer.Usual(_choice);
        (byte[] expected, TimeSpan best) = Run(usual, bare);
        MatrixTile fastest = usual;
        foreach (MatrixTile tile in MatrixTile.Candidates(_context.Device.Kind).Where(tile => tile != usual && _refused.All(r => r.Variant != Name(tile))))
        {
            try
            {
                (byte[] found, TimeSpan time) = Run(tile, bare);
                if (!found.AsSpan().SequenceEqual(expected)) _refused.Add(new RefusedVariant(Name(tile), "its results are not those of the usual tile"));
                else if (time < best) (fastest, best) = (tile, time);
            }
            catch (OpenClException e) when (!e.IsDeviceLost)
            {
                _refused.Add(new RefusedVariant(Name(tile), e.Message));
            }
        }

        return fastest;

        string Name(MatrixTile tile) => $"{layer.Weights}, {tile}";

        (byte[] Output, TimeSpan Fastest) Run(MatrixTile tile, in MatrixEpilogue bare)
        {
            layer.Tile = tile;
            layer.Enqueue(queue, _choice, input, quantizer, bare);
            byte[] output = queue.Download<byte>(bare.Output, bytes);
            queue.TakeKernelTimes();
            TimeSpan fastest = TimeSpan.MaxValue;
            for (int i = 0; i < Runs; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                layer.Enqueue(queue, _choice, input, quantizer, bare);
                TimeSpan time = queue.TakeKernelTimes()[0].Total;
                if (time < fastest) fastest = time;
            }

            return (output, fastest);
        }
    }

    private Dictionary<string, MatrixTile> Recall(byte[] kept)
    {
        try
        {
            Dictionary<string, MatrixTile> tiles = JsonSerializer.Deserialize<Dictionary<string, MatrixTile>>(kept) ?? [];
            IReadOnlyList<MatrixTile> known = MatrixTile.Candidates(_context.Device.Kind);
            return tiles.Where(t => known.Contains(t.Value)).ToDictionary();
        }
        catch (JsonException)
        {
            return [];
        }
    }
}
