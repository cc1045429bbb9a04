using System.Security.Cryptography;
using System.Text;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>Names what a file of a cache was made from: equal contents and settings give equal names, wherever the folders are.</summary>
internal sealed class ContentHash : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Adds everything of a model that can change a picture: its index and all files of its components.</summary>
    /// <exception cref="ModelFormatException">A file is missing or cannot be read.</exception>
    public ContentHash AddModel(ModelFolder model)
    {
        AddFile(model.Index.File, "model_index.json");
        foreach (string component in model.Components.Keys.Order(StringComparer.Ordinal))
        {
            string folder = model.ComponentPath(component);
            if (!Directory.Exists(folder)) continue;
            foreach (string file in Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal)) AddFile(file, $"{component}/{Path.GetFileName(file)}");
        }

        return this;
    }

    /// <summary>Adds a file.</summary>
    /// <param name="path">Where it is.</param>
    /// <param name="name">What it is.</param>
    /// <exception cref="ModelFormatException">It is missing or cannot be read.</exception>
    public ContentHash AddFile(string path, string name)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return AddText(name).AddText(Convert.ToHexStringLower(SHA256.HashData(stream)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelFormatException(path, null, $"cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Adds a text.</summary>
    public ContentHash AddText(string text)
    {
        // The line feed separates: no name of a file of a model has one.
        _hash.AppendData(Encoding.UTF8.GetBytes($"{text}\n"));
        return this;
    }

    /// <summary>Sixteen bytes of the hash, as text.</summary>
    public override string ToString() => Convert.ToHexStringLower(_hash.GetCurrentHash())[..32];

    /// <inheritdoc/>
    public void Dispose() => _hash.Dispose();
}
