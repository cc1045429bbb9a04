using System.Text;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>Prompts to calibrate with.</summary>
public static class PromptList
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Prompts for whoever names none: a person, an animal, a landscape, a thing, a drawing, a building, food, letters.</summary>
    public static IReadOnlyList<string> Default { get; } =
    [
        "a portrait photograph of an old fisherman with a grey beard, natural light",
        "a brown dog running over a green meadow",
        "snow-covered mountains above a lake at sunrise",
        "a red bicycle leaning against a white brick wall",
        "a watercolor painting of a bowl of fruit",
        "a city street at night in the rain, neon signs, reflections",
        "a plate of spaghetti with tomato sauce, close-up",
        "a wooden shop sign with the word OPEN",
    ];

    /// <summary>The prompts that a model draws: those given, or <see cref="Default"/> where it has a text encoder and nothing was encoded elsewhere.</summary>
    internal static IReadOnlyList<string> For(ModelDescription model, IReadOnlyList<string>? given, PromptEmbeddings? encoded) => given ?? (model.HasTextEncoder && encoded is null ? Default : []);

    /// <summary>Reads prompts from a text file: UTF-8, one a line; blank lines do not count.</summary>
    /// <exception cref="InvalidRequestException">The file is missing, cannot be read, is not UTF-8, or has no prompt.</exception>
    public static IReadOnlyList<string> Read(string file)
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines(file, s_strict);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidRequestException("prompts", Directory.Exists(file) ? $"expected a text file, found the folder {file}" : File.Exists(file) ? $"{file} cannot be read: {e.Message}" : $"expected a text file, {file} does not exist");
        }
        catch (DecoderFallbackException)
        {
            throw new InvalidRequestException("prompts", $"expected a text file in UTF-8, {file} is none");
        }

        string[] prompts = [.. lines.Select(line => line.Trim()).Where(line => line.Length > 0)];
        return prompts.Length > 0 ? prompts : throw new InvalidRequestException("prompts", $"expected one prompt a line in {file}, found none");
    }
}
