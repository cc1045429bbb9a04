using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Cli.Pictures;

/// <summary>
/// What it takes to draw a picture again, kept inside its PNG as JSON in a text chunk named <see cref="Keyword"/>. Machine paths are not part of it: a model
/// is named as on the command line where that was relative, else by its folder's name.
/// </summary>
internal sealed record PictureRecord
{
    /// <summary>Name of the text chunk.</summary>
    public const string Keyword = "lbd";

    /// <summary>The model.</summary>
    public required string Model { get; init; }

    /// <summary>One per image; empty for a model without labels.</summary>
    public required IReadOnlyList<int> Labels { get; init; }

    /// <summary>One per image; empty for a model without text, or for embeddings.</summary>
    public IReadOnlyList<string> Prompts { get; init; } = [];

    /// <summary>What guidance leads away from.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>File of text that was encoded elsewhere, or null.</summary>
    public string? PromptEmbeddings { get; init; }

    /// <summary>Hash of that file, in hexadecimal.</summary>
    public string? PromptEmbeddingsSha256 { get; init; }

    /// <summary>Rows of an image; null for the model's.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of an image; null for the model's.</summary>
    public int? Width { get; init; }

    /// <summary>Scheduler; null for the model's.</summary>
    public string? Scheduler { get; init; }

    /// <summary>File of the initial image, or null.</summary>
    public string? InitImage { get; init; }

    /// <summary>Hash of that file, in hexadecimal.</summary>
    public string? InitImageSha256 { get; init; }

    /// <summary>How much of the initial image is replaced; null without one.</summary>
    public float? Strength { get; init; }

    /// <summary>One per image.</summary>
    public required IReadOnlyList<ulong> Seeds { get; init; }

    /// <summary>Sampler steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Guidance scale.</summary>
    public required float Guidance { get; init; }

    /// <summary>DDIM's η.</summary>
    public required float Eta { get; init; }

    /// <summary>Whose random numbers.</summary>
    public required NoiseSource Noise { get; init; }

    /// <summary>How the images are arranged.</summary>
    public required PictureLayout Layout { get; init; }

    /// <summary>Folder of the picture that the record was read from.</summary>
    [JsonIgnore]
    public string? Folder { get; init; }

    /// <summary>The program's version.</summary>
    public string Version { get; init; } = ProgramVersion;

    private static string ProgramVersion => typeof(PictureRecord).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    /// <summary>A path as it may leave this machine: relative as it was given, else the name alone.</summary>
    public static string Portable(string path) => Path.IsPathRooted(path) ? Path.GetFileName(Path.TrimEndingDirectorySeparator(path)) : path;

    /// <summary>The chunks to put into the PNG.</summary>
    public IReadOnlyList<PngText> ToTexts() => [new("Software", $"lbd {Version} (LowBitDiffusion)"), new(Keyword, JsonSerializer.Serialize(this, JsonText.Compact))];

    /// <summary>Reads a picture's record.</summary>
    /// <exception cref="ModelFormatException">The file is not a PNG, or holds no record that can be read.</exception>
    public static PictureRecord Load(string path)
    {
        string? text = PngReader.Load(path).Texts.FirstOrDefault(t => t.Keyword == Keyword)?.Text;
        if (text is null) throw new ModelFormatException(path, Keyword, "expected a text chunk of this name, which lbd generate writes, found none");
        try
        {
            PictureRecord record = JsonSerializer.Deserialize<PictureRecord>(text, JsonText.Compact) ?? throw new JsonException("null");
            if (record.Seeds.Count == 0 || (record.Labels.Count > 0 && record.Labels.Count != record.Seeds.Count) || (record.Prompts.Count > 0 && record.Prompts.Count != record.Seeds.Count))
                throw new ModelFormatException(path, Keyword, $"expected a seed per image, found {record.Seeds.Count} seeds, {record.Labels.Count} labels and {record.Prompts.Count} prompts");
            return record with { Folder = Path.GetDirectoryName(Path.GetFullPath(path)) };
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(path, Keyword, $"expected the JSON that lbd generate writes: {e.Message}", e);
        }
    }
}

/// <summary>How images become a picture.</summary>
/// <param name="Columns">Images in a row.</param>
/// <param name="Gap">Pixels between and around the images.</param>
/// <param name="Scale">Side of the square that a pixel becomes.</param>
/// <param name="Captions">Whether the label stands under each image.</param>
internal sealed record PictureLayout(int Columns, int Gap, int Scale, bool Captions);
