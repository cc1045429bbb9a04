using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>
/// What a comparison has drawn and judged, in a folder: files are named after contents and settings, so a stopped comparison continues, one more model costs one more model, and a model that
/// has changed is judged again. A file that cannot be read counts as missing.
/// <code>
/// reference-HASH.safetensors   the float model's pictures and trajectories
/// HASH.json                    one model's figures, picture by picture
/// HASH.png                     its pictures for the contact sheet, side by side
/// </code>
/// </summary>
internal sealed class ComparisonCache
{
    // Changes when the same models and settings would give other figures.
    private const string Version = "1";

    private readonly string _folder;
    private readonly bool _fresh;
    private readonly string _settings;
    private readonly string _classifier;

    public ComparisonCache(ComparisonRequest request, DrawingSettings settings)
    {
        (_folder, _fresh) = (request.Cache, request.Fresh);
        EvaluationOptions options = settings.Options;
        _settings = string.Create(
            CultureInfo.InvariantCulture, $"version {Version}, {settings.Count} of {settings.Description.Width}x{settings.Description.Height} from seed {options.Seed}, {settings.Steps} steps, guidance {settings.GuidanceScale:R}, {options.Trajectories} trajectories")
            + string.Concat(settings.Prompts.Select(prompt => $"\n{prompt}"));
        using ContentHash ruler = new();
        if (request.Classifier is { } folder)
        {
            foreach (string file in Ruler.Files) ruler.AddFile(Path.Combine(folder, file), file);
        }

        _classifier = $"{options.SheetImages} on the sheet, classifier {ruler}";
        try
        {
            Directory.CreateDirectory(_folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OutputException(_folder, $"cannot be written: {e.Message}", e);
        }
    }

    /// <summary>The file of a reference's drawing.</summary>
    public string DrawingOf(ModelFolder reference)
    {
        using ContentHash hash = new();
        return Path.Combine(_folder, $"reference-{hash.AddModel(reference).AddText(_settings)}.safetensors");
    }

    /// <summary>A reference's drawing, if it is there.</summary>
    public ReferenceDrawing? Drawing(DrawingSettings settings, string path)
    {
        if (_fresh || !File.Exists(path)) return null;
        try
        {
            return ReferenceDrawing.Open(settings, path);
        }
        catch (ModelFormatException)
        {
            return null;
        }
    }

    /// <summary>Name of what is kept of a model, compared with a reference.</summary>
    public string KeyOf(ModelFolder model, ModelFolder reference)
    {
        using ContentHash hash = new();
        return hash.AddModel(model).AddModel(reference).AddText(_settings).AddText(_classifier).ToString();
    }

    /// <summary>What is kept, if it is there.</summary>
    public (EvaluationResult Result, IReadOnlyList<Image> Pictures)? Judged(string key, int pictures)
    {
        if (_fresh || !File.Exists(Json(key)) || !File.Exists(Strip(key))) return null;
        try
        {
            Image strip = PngReader.Load(Strip(key)).Image;
            if (strip.Width % pictures != 0) return null;
            return (EvaluationResult.FromJson(File.ReadAllBytes(Json(key))), [.. Enumerable.Range(0, pictures).Select(i => Cut(strip, i, strip.Width / pictures))]);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or ModelFormatException)
        {
            return null;
        }
    }

    /// <summary>Keeps a model's figures and pictures; the figures last, so that they are not there without the pictures.</summary>
    /// <exception cref="OutputException">They cannot be written.</exception>
    public void Keep(string key, EvaluationResult result, IReadOnlyList<Image> pictures)
    {
        PngWriter.Save(Strip(key), ImageGrid.Compose(pictures, pictures.Count, gap: 0));
        OutputFile.WriteAllBytes(Json(key), result.ToJson());
    }

    private static Image Cut(Image strip, int index, int width)
    {
        Image picture = new(width, strip.Height, strip.Channels);
        ImageGrid.Paste(strip, picture, -index * width, 0);
        return picture;
    }

    private string Json(string key) => Path.Combine(_folder, $"{key}.json");

    private string Strip(string key) => Path.Combine(_folder, $"{key}.png");
}
