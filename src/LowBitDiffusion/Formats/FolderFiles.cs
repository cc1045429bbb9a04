namespace LowBitDiffusion.Formats;

/// <summary>The files of a folder in diffusers' layout.</summary>
internal sealed class FolderFiles(string path) : IModelFiles
{
    // What is not one of these is weights, in formats of other libraries or for other purposes.
    private static readonly string[] s_extensions = [".json", ".txt", ".md", ".model", ".jinja"];

    /// <inheritdoc/>
    public string Path => path;

    /// <inheritdoc/>
    public bool HasWeights(string component) => ComponentFolder.HasWeights(FolderOf(component));

    /// <inheritdoc/>
    public IReadOnlyList<string> Files(string component)
    {
        string folder = FolderOf(component);
        if (!Directory.Exists(folder)) return [];
        return
        [
            .. Directory.EnumerateFiles(folder).Select(file => System.IO.Path.GetFileName(file))
                .Where(name => s_extensions.Contains(System.IO.Path.GetExtension(name)) && !name.Contains(".index.", StringComparison.Ordinal))
                .Order(StringComparer.Ordinal),
        ];
    }

    /// <inheritdoc/>
    public byte[] Read(string component, string file)
    {
        string full = System.IO.Path.Combine(FolderOf(component), file);
        try
        {
            return File.ReadAllBytes(full);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException(full, null, File.Exists(full) ? $"cannot be read: {e.Message}" : "no such file", e);
        }
    }

    /// <inheritdoc/>
    public JsonConfig Config(string component, string file) => JsonConfig.Open(System.IO.Path.Combine(FolderOf(component), file));

    /// <inheritdoc/>
    public ComponentFolder Open(string component) => ComponentFolder.Open(FolderOf(component));

    /// <inheritdoc/>
    public string FolderOf(string component) => component.Length == 0 ? path : System.IO.Path.Combine(path, component);
}
