using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>Texts that were encoded elsewhere: two of six tokens, and what guidance leads away from.</summary>
internal static class TinyEmbeddings
{
    public static PromptEmbeddings Create(int channels)
    {
        InMemoryTensors tensors = new("text");
        foreach ((string name, int count) in new[] { ("encoder_hidden_states", 2), ("negative_encoder_hidden_states", 1) })
            tensors.Add(name, [count, 6, channels], [.. Enumerable.Range(0, count * 6 * channels).Select(i => MathF.Sin(i + count))]);
        return PromptEmbeddings.Read(tensors);
    }
}
