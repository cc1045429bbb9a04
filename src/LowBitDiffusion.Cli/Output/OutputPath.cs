namespace LowBitDiffusion.Cli.Output;

/// <summary>Refuses outputs that cannot be written before hours of work go into them, and weighs those that were.</summary>
internal static class OutputPath
{
    /// <summary>Checks the place of a file.</summary>
    /// <exception cref="OutputException">It is a folder, or its folder is missing or cannot be written to.</exception>
    public static void CheckFile(string path)
    {
        if (Directory.Exists(path)) throw new OutputException(path, "is a folder, expected the name of a file");
        Guard(path, () =>
        {
            // Files are renamed into place: a device would be replaced, not written to.
            if (Path.GetFullPath(path).StartsWith("/dev/", StringComparison.Ordinal)) throw new OutputException(path, "is a device, expected the name of a file");
            string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? path;
            if (!Directory.Exists(folder)) throw new OutputException(path, $"there is no folder {folder}");
            Probe(folder);
        });
    }

    /// <summary>Checks a folder for files, which is made if it is missing.</summary>
    /// <exception cref="OutputException">It is a file, or cannot be made or written to.</exception>
    public static void CheckFolder(string path)
    {
        if (File.Exists(path)) throw new OutputException(path, "is a file, expected a folder");
        Guard(path, () =>
        {
            Directory.CreateDirectory(path);
            Probe(path);
        });
    }

    /// <summary>Bytes of all files in a folder.</summary>
    public static long BytesOf(string folder) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Sum(file => new FileInfo(file).Length);

    private static void Probe(string folder)
    {
        string probe = Path.Combine(folder, $".{Guid.NewGuid():N}.tmp");
        File.Create(probe, bufferSize: 1, FileOptions.DeleteOnClose).Dispose();
    }

    private static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new OutputException(path, $"cannot be written: {e.Message}", e);
        }
    }
}
