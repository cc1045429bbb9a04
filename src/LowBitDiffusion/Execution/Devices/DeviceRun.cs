using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>What steps need to hand their work to a device: the queue, and where everything is during the current step of the loop.</summary>
internal sealed class DeviceRun(ComputeDevice device, DeviceQueue queue, DeviceLayout layout, PlanContext host)
{
    private readonly Dictionary<InputQuantizer, long> _quantizers = [];

    /// <summary>The queue.</summary>
    public DeviceQueue Queue => queue;

    /// <summary>The kernels that the device runs.</summary>
    public KernelChoice Choice => device.Choice;

    /// <summary>The caller's memory, and who watches the run.</summary>
    public PlanContext Host => host;

    /// <summary>What lies where.</summary>
    public DeviceLayout Layout => layout;

    /// <summary>Where <see cref="RegionKind.Arena"/> begins.</summary>
    public DeviceSlice Arena { get; set; }

    /// <summary>Where <see cref="RegionKind.Request"/> begins.</summary>
    public DeviceSlice Request { get; set; }

    /// <summary>Where <see cref="RegionKind.Step"/> begins for the current step of the loop.</summary>
    public DeviceSlice Step { get; set; }

    /// <summary>Parameters of all input quantizers for the current step of the loop.</summary>
    public DeviceSlice Quantizers { get; set; }

    /// <summary>Where inputs and outputs in the caller's layout begin.</summary>
    public DeviceSlice Slots { get; set; }

    /// <summary>Says where a quantizer's parameters are among <see cref="Quantizers"/>, in bytes.</summary>
    public void Place(InputQuantizer quantizer, long offset) => _quantizers[quantizer] = offset;

    /// <summary>A quantizer's parameters, as <see cref="InputQuantizer.CopyTo"/> has them.</summary>
    public DeviceSlice Quantizer(InputQuantizer quantizer) => Quantizers.Skip(_quantizers[quantizer]);

    /// <summary>1/(d·s) of each channel where a quantizer has them, or nowhere.</summary>
    public DeviceSlice ChannelInverse(InputQuantizer quantizer) => quantizer.HasChannelScales ? Quantizer(quantizer).Skip(InputQuantizer.RangeNumbers * sizeof(float)) : default;

    /// <summary>Room for an input or output in the caller's layout.</summary>
    public DeviceSlice Slot(int slot) => Slots.Skip(layout.Slot(slot));

    /// <summary>The first byte of a region.</summary>
    public DeviceSlice Bytes(Region region)
    {
        DeviceSlice origin = region.Root.Kind switch { RegionKind.Arena => Arena, RegionKind.Request => Request, _ => Step };
        return origin.Skip(layout.Offset(region));
    }

    /// <summary>A number of a region of values.</summary>
    public DeviceSlice Values(Region region, int offset) => Bytes(region).Skip((long)offset * layout.Of(region).Bytes());

    /// <summary>The first number of a value.</summary>
    public DeviceSlice Values(in Storage storage) => Values(storage.Region, storage.Offset);

    /// <summary>The rows of a value.</summary>
    public DeviceRows Rows(in Storage storage) => new(Values(storage), storage.Stride, storage.Channels);

    /// <summary>One row per image; a single one serves all.</summary>
    public DeviceRows ImageRows(in Storage? vector) => vector is { } v ? new(Values(v), v.Rows == 1 ? 0 : v.Stride, v.Channels) : default;
}
