using System.Security.Cryptography;

namespace LowBitDiffusion.Cli.Pictures;

/// <summary>A file that a picture is made of besides its model: an initial image, encoded text. The picture keeps its name and what it held.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="Name">What the picture calls it.</param>
/// <param name="Sha256">Hash of its bytes, in hexadecimal.</param>
internal sealed record PictureSource(string Path, string Name, string Sha256)
{
    /// <summary>The file that the command line names, else the one that a picture was made of: found by its name here or beside the picture, with the same content.</summary>
    /// <param name="option">The option that names it.</param>
    /// <param name="given">What the command line names.</param>
    /// <param name="name">The name that the picture has.</param>
    /// <param name="sha256">The hash that the picture has; null in pictures of earlier versions.</param>
    /// <param name="folder">The picture's folder.</param>
    /// <returns>The file; null where there is none.</returns>
    /// <exception cref="InvalidRequestException">The file is missing, cannot be read, or is another one.</exception>
    public static PictureSource? Of(string option, string? given, string? name, string? sha256, string? folder)
    {
        if (given is not null)
        {
            string hash = HashOf(option, given);
            return new PictureSource(given, hash == sha256 ? name! : PictureRecord.Portable(given), hash);
        }

        if (name is null) return null;
        string[] places = folder is null ? [name] : [name, System.IO.Path.Combine(folder, name), System.IO.Path.Combine(folder, System.IO.Path.GetFileName(name))];
        PictureSource[] found = [.. places.Where(File.Exists).Select(place => new PictureSource(place, name, HashOf(option, place)))];
        if (found.Length == 0) throw new InvalidRequestException(option, $"the picture was made of '{name}', which is neither here nor beside it; expected --{option}");
        return found.FirstOrDefault(one => sha256 is null || one.Sha256 == sha256)
            ?? throw new InvalidRequestException(option, $"the picture was made of another file than {found[0].Path}, with the hash {sha256}; --{option} takes this one all the same");
    }

    private static string HashOf(string option, string path)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(stream));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidRequestException(option, File.Exists(path) ? $"{path} cannot be read: {e.Message}" : $"expected a file, {path} does not exist");
        }
    }
}
