using System.Security.Cryptography;
using System.Text;

namespace LowBitDiffusion.Kernels.OpenCL.Programs;

/// <summary>
/// Files under keys: built programs, results of checks and measurements. A file is a SHA-256 of its content and the content; one that is damaged counts as missing, and one that cannot be written is
/// done without. Written under another name and renamed, so that several processes may share a folder.
/// </summary>
/// <param name="folder">The folder; made when something is written.</param>
public sealed class DeviceCache(string folder)
{
    /// <summary>The folder.</summary>
    public string Folder => folder;

    /// <summary>The user's own: <c>LBD_DEVICE_CACHE</c>, or a folder among the system's cached or local data.</summary>
    public static DeviceCache Default { get; } = new(DefaultFolder());

    /// <summary>What is kept under a key, or null.</summary>
    public byte[]? Find(string key)
    {
        try
        {
            byte[] file = File.ReadAllBytes(PathOf(key));
            return file.Length >= SHA256.HashSizeInBytes && SHA256.HashData(file.AsSpan(SHA256.HashSizeInBytes)).AsSpan().SequenceEqual(file.AsSpan(0, SHA256.HashSizeInBytes))
                ? file[SHA256.HashSizeInBytes..]
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Keeps something under a key.</summary>
    public void Keep(string key, ReadOnlySpan<byte> content)
    {
        string path = PathOf(key), temporary = $"{path}.{Guid.NewGuid():N}";
        try
        {
            Directory.CreateDirectory(folder);
            using (FileStream file = File.Create(temporary))
            {
                file.Write(SHA256.HashData(content));
                file.Write(content);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(temporary)) File.Delete(temporary);
        }
    }

    internal string PathOf(string key) => Path.Combine(folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)).AsSpan(0, 16)));

    private static string DefaultFolder()
    {
        if (Environment.GetEnvironmentVariable("LBD_DEVICE_CACHE") is { Length: > 0 } given) return given;
        if (Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache) return Path.Combine(cache, "lowbitdiffusion");
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        if (!OperatingSystem.IsWindows() && home.Length > 0) return Path.Combine(home, ".cache", "lowbitdiffusion");
        return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData), "lowbitdiffusion");
    }
}
