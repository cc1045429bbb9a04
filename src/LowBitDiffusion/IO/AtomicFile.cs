namespace LowBitDiffusion.IO;

/// <summary>
/// Writes files whole or not at all: into a temporary name in the same folder, flushed to the device, then renamed over the target. A reader sees the old file
/// or the new
/// one, also after a crash or a full disk; a failure leaves no temporary file behind.
/// </summary>
public static class AtomicFile
{
    /// <summary>Writes a file.</summary>
    /// <param name="path">The file; replaced if it exists. Its folder must exist.</param>
    /// <param name="write">Writes the content. What it throws passes through after the temporary file is gone, input and output errors as
    /// <see cref="OutputException"/>.</param>
    /// <exception cref="OutputException">The file cannot be written: no such folder, no permission, no space, the path is a folder or not a path.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        string target = FullPath(path);
        if (Directory.Exists(target)) throw new OutputException(path, "is a folder, expected the name of a file");
        string temporary = $"{target}.{Path.GetRandomFileName()}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, target, overwrite: true);
        }
        catch (Exception error)
        {
            TryDelete(temporary);
            if (error is IOException or UnauthorizedAccessException) throw new OutputException(path, $"cannot be written: {error.Message}", error);
            throw;
        }
    }

    /// <summary>Writes bytes as a file.</summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="content">The whole content.</param>
    /// <exception cref="OutputException">As for <see cref="Write"/>.</exception>
    public static void WriteAllBytes(string path, byte[] content) => Write(path, stream => stream.Write(content));

    /// <summary>Writes text as a file in UTF-8 without a byte order mark.</summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="content">The whole text.</param>
    /// <exception cref="OutputException">As for <see cref="Write"/>.</exception>
    public static void WriteAllText(string path, string content) => WriteAllBytes(path, System.Text.Encoding.UTF8.GetBytes(content));

    private static string FullPath(string path)
    {
        try
        {
            string full = Path.GetFullPath(path);
            return Path.GetFileName(full).Length > 0 ? full : throw new OutputException(path, "names a folder, expected the name of a file");
        }
        catch (Exception error) when (error is ArgumentException or NotSupportedException or PathTooLongException)
        {
            throw new OutputException(path, $"is not a path: {error.Message}", error);
        }
    }

    // The first error is the one to report: a temporary file that cannot be deleted either adds nothing.
    private static void TryDelete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }
}
