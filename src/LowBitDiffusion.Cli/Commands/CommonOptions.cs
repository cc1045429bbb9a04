using System.CommandLine;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Cli.Commands;

/// <summary>Options that several commands have, and the checks that the library does not make.</summary>
internal static class CommonOptions
{
    private const int MaximumThreads = 1024;

    /// <summary>A model folder.</summary>
    public static Option<string> Model(string description = "Model folder in diffusers' layout, float or quantized.") => new("--model", "-m") { Description = description, HelpName = "DIR" };

    /// <summary>One of a model's networks.</summary>
    /// <param name="use">What for.</param>
    public static Option<string?> Component(string use) => new("--component") { Description = use, HelpName = "NAME" };

    /// <summary>Threads.</summary>
    public static Option<int?> Threads() => new("--threads") { Description = "Threads. Default: one per processor.", HelpName = "N" };

    /// <summary>Where networks run.</summary>
    public static Option<string> Device() => new("--device")
    {
        Description = "Where networks run: the processor, an OpenCL device, or, with auto, a graphics processor if one works. 'lbd doctor' lists them.",
        HelpName = "cpu|opencl:N|auto",
        DefaultValueFactory = _ => ComputeDevice.Processor,
    };

    /// <summary>How a device keeps values.</summary>
    public static Option<string> DeviceFloat() => new("--device-float")
    {
        Description = "How an OpenCL device keeps the denoising network's values between kernels; auto: as float16 where the device has it. On the processor without effect.",
        HelpName = "auto|f32|f16",
        DefaultValueFactory = _ => "auto",
    };

    /// <summary>The order in which a device runs what is handed to it.</summary>
    public static Option<string> DeviceQueue() => new("--device-queue")
    {
        Description = "Whether an OpenCL device runs a network's steps one after the other, or beside each other where they need nothing of each other.",
        HelpName = "in-order|out-of-order",
        DefaultValueFactory = _ => "in-order",
    };

    /// <summary>One JSON object on standard output.</summary>
    public static Option<bool> Json() => new("--json") { Description = "Print one JSON object to standard output, and no progress." };

    /// <summary>A file of prompts.</summary>
    /// <param name="use">What they are for.</param>
    public static Option<string?> Prompts(string use) => new("--prompts")
    {
        Description = $"{use}: a UTF-8 text file, one prompt a line; prompts take turns. Default: eight of its own, {string.Join("; ", PromptList.Default)}.",
        HelpName = "FILE",
    };

    /// <summary>A file of encoded prompts.</summary>
    public static Option<string?> PromptEmbeddings() => new("--prompt-embeddings")
    {
        Description = "Text that was encoded elsewhere: a safetensors file with encoder_hidden_states and, if needed, encoder_attention_mask, text_embeds, and each with negative_ in front.",
        HelpName = "FILE",
    };

    /// <summary>How attentions are computed.</summary>
    public static Option<string> Attention() => new("--attention")
    {
        Description = "How attentions are computed; those that are causal or masked always in float.",
        HelpName = "float|int8|bf16",
        DefaultValueFactory = _ => "float",
    };

    /// <summary>The precision that <see cref="Attention"/> names.</summary>
    /// <exception cref="InvalidRequestException">Another word.</exception>
    public static AttentionPrecision CheckedAttention(string word) =>
        OneOf("attention", word, new Dictionary<string, AttentionPrecision> { ["float"] = AttentionPrecision.Float, ["int8"] = AttentionPrecision.Int8, ["bf16"] = AttentionPrecision.Bf16 });

    /// <summary>The way of keeping values that <see cref="DeviceFloat()"/> names.</summary>
    /// <exception cref="InvalidRequestException">Another word.</exception>
    public static DeviceFloat CheckedDeviceFloat(string word) =>
        OneOf("device-float", word, new Dictionary<string, DeviceFloat> { ["auto"] = Execution.Devices.DeviceFloat.Auto, ["f32"] = Execution.Devices.DeviceFloat.F32, ["f16"] = Execution.Devices.DeviceFloat.F16 });

    /// <summary>Whether steps may run beside each other, as <see cref="DeviceQueue"/> says.</summary>
    /// <exception cref="InvalidRequestException">Another word.</exception>
    public static bool CheckedOutOfOrder(string word) => OneOf("device-queue", word, new Dictionary<string, bool> { ["in-order"] = false, ["out-of-order"] = true });

    /// <summary>The type in which floats are stored that a word names.</summary>
    /// <exception cref="InvalidRequestException">Another word.</exception>
    public static DType CheckedFloatType(string word) => OneOf("float-type", word, new Dictionary<string, DType> { ["f32"] = DType.F32, ["f16"] = DType.F16, ["bf16"] = DType.BF16 });

    /// <summary>The number of threads that was asked for.</summary>
    /// <exception cref="InvalidRequestException">Out of range.</exception>
    public static int? CheckedThreads(int? threads) => threads is { } count ? Checked("threads", count, 1, MaximumThreads) : null;

    /// <summary>A number within bounds.</summary>
    /// <exception cref="InvalidRequestException">Out of range.</exception>
    public static int Checked(string parameter, int value, int minimum, int maximum) =>
        value >= minimum && value <= maximum ? value : throw new InvalidRequestException(parameter, $"expected {minimum} to {maximum}, found {value}");

    /// <summary>A number within bounds, where there is one.</summary>
    /// <exception cref="InvalidRequestException">Out of range.</exception>
    public static int? Checked(string parameter, int? value, int minimum, int maximum) => value is { } given ? Checked(parameter, given, minimum, maximum) : null;

    /// <summary>The value that a word stands for.</summary>
    /// <exception cref="InvalidRequestException">Another word.</exception>
    public static T OneOf<T>(string parameter, string word, IReadOnlyDictionary<string, T> words) =>
        words.TryGetValue(word.ToLowerInvariant(), out T? value) ? value : throw new InvalidRequestException(parameter, $"expected one of {string.Join(", ", words.Keys)}, found '{word}'");
}
