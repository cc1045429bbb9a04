using System.Text;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A file that appears complete or not at all: written beside its place under a temporary name, renamed by <see cref="Commit"/>, removed by
/// <see cref="Dispose"/> if that did not happen.
/// </summary>
public sealed class OutputFile : IDisposable
{
    private readonly string _path;
    private readonly string _temporary;
    private readonly Stream _stream;
    private bool _done;

    private OutputFile(string path, string temporary, Stream stream) => (_path, _temporary, _stream) = (path, temporary, stream);

    /// <summary>Starts writing. What is at <paramref name="path"/> stays until <see cref="Commit"/>.</summary>
    /// <exception cref="OutputException">The folder is missing, it cannot be written, or the path is a folder.</exception>
    public static OutputFile Create(string path) => Create(path, static temporary => new FileStream(temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None));

    /// <summary>Starts writing to a stream of the caller's making, so that tests can let it fail.</summary>
    internal static OutputFile Create(string path, Func<string, Stream> open)
    {
        CheckPath(path);
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        return new OutputFile(path, temporary, Guard(path, () => open(temporary)));
    }

    /// <summary>Writes a whole file.</summary>
    /// <exception cref="OutputException">It cannot be written.</exception>
    public static void WriteAllBytes(string path, ReadOnlySpan<byte> bytes)
    {
        using OutputFile file = Create(path);
        file.Write(0, bytes);
        file.Commit();
    }

    /// <summary>Writes a whole file of text, in UTF-8 without a byte order mark.</summary>
    /// <exception cref="OutputException">It cannot be written.</exception>
    public static void WriteAllText(string path, string text) => WriteAllBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Writes bytes at a place in the file.</summary>
    /// <exception cref="OutputException">They cannot be written, for example because the disk is full.</exception>
    public void Write(long offset, ReadOnlySpan<byte> bytes)
    {
        try
        {
            _stream.Position = offset;
            _stream.Write(bytes);
        }
        catch (Exception e) when (IsOutput(e))
        {
            throw Failure(_path, e);
        }
    }

    /// <summary>Flushes the file to the disk and gives it its name, replacing what had it.</summary>
    /// <exception cref="OutputException">It cannot be written or renamed.</exception>
    public void Commit()
    {
        Guard(_path, () =>
        {
            if (_stream is FileStream file) file.Flush(flushToDisk: true);
            _stream.Dispose();
            File.Move(_temporary, _path, overwrite: true);
            return true;
        });
        _done = true;
    }

    /// <summary>Removes the temporary file unless it has been committed.</summary>
    public void Dispose()
    {
        if (_done) return;
        _done = true;
        try
        {
            _stream.Dispose();
        }
        catch (Exception e) when (IsOutput(e))
        {
            // A full disk fails again when the rest of the buffer is flushed; the file goes away, so nothing is lost by it.
        }
        finally
        {
            File.Delete(_temporary);
        }
    }

    private static void CheckPath(string path)
    {
        try
        {
            if (Path.GetFileName(Path.GetFullPath(path)).Length == 0 || Directory.Exists(path)) throw new OutputException(path, "is a folder, expected the name of a file");
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException or PathTooLongException)
        {
            throw new OutputException(path, $"is not a path: {e.Message}", e);
        }
    }

    private static T Guard<T>(string path, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception e) when (IsOutput(e))
        {
            throw Failure(path, e);
        }
    }

    private static bool IsOutput(Exception e) => e is IOException or UnauthorizedAccessException or NotSupportedException;

    private static OutputException Failure(string path, Exception e) => new(path, $"cannot be written: {e.Message}", e);
}
