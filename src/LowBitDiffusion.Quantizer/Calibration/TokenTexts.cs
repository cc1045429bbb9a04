using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Tokenizers;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>
/// The texts that a text encoder is looked at with: the prompts and the empty one, from which guidance leads away. An encoder alone finds its tokenizer in its own folder (<c>vocab.json</c>,
/// <c>merges.txt</c>); without one it reads tokens by lot, of every length that fits.
/// </summary>
internal static class TokenTexts
{
    private const int Random = 64;

    /// <summary>Tokens of every text, all as many as the encoder takes.</summary>
    /// <param name="model">The text encoder.</param>
    /// <param name="prompts">Prompts; null for <see cref="PromptList.Default"/>.</param>
    /// <exception cref="InvalidRequestException">There are prompts, and no tokenizer.</exception>
    public static IReadOnlyList<float[]> Of(SourceModel model, IReadOnlyList<string>? prompts)
    {
        if (prompts is { Count: 0 }) throw new InvalidRequestException("prompts", "expected at least one, found none");
        string[] texts = [.. (prompts ?? PromptList.Default).Append("").Distinct()];
        if (model.Pipeline?.Text is { } text) return [.. texts.Select(text.Encoders.Single(encoder => encoder.Component.Name == model.Component).Tokenize)];
        ClipTextModel network = (ClipTextModel)model.Network;
        if (File.Exists(Path.Combine(model.Path, "vocab.json")))
        {
            ClipTokenizer tokenizer = ClipTokenizer.Open(model.Path);
            if (tokenizer.VocabularySize > network.VocabularySize)
                throw new ModelFormatException(model.Path, "vocab.json", $"expected at most the {network.VocabularySize} tokens of the text encoder, found {tokenizer.VocabularySize}");
            int tokens = Math.Min(tokenizer.MaxLength, network.MaxLength);
            return [.. texts.Select(one => tokenizer.Encode(one, tokens, out _).Select(id => (float)id).ToArray())];
        }

        if (prompts is not null) throw new InvalidRequestException("prompts", $"expected vocab.json and merges.txt in {model.Path} to read them with, or a whole model's folder, found neither");
        return [.. Enumerable.Range(0, Random).Select(number => Lot(network, (ulong)number))];
    }

    // The token with the largest id ends a text and fills it up, the one before begins it, as in CLIP's vocabulary.
    private static float[] Lot(ClipTextModel network, ulong number)
    {
        int words = (int)(number * (ulong)(network.MaxLength - 1) / Random), end = network.VocabularySize - 1;
        return [.. Enumerable.Range(0, network.MaxLength).Select(place => place == 0 ? end - 1 : place > words ? end : (float)(Mix.Hash((number << 32) + (ulong)place) % (ulong)(end - 1)))];
    }
}
