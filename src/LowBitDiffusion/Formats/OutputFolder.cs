namespace LowBitDiffusion.Formats;

/// <summary>
/// A folder that appears complete or not at all: filled beside its place under a temporary name, renamed by <see cref="Commit"/>, removed by
/// <see cref="Dispose"/> if that did not happen.
/// </summary>
public sealed class OutputFolder : IDisposable
{
    private readonly string _target;
    private bool _done;

    private OutputFolder(string target, string temporary) => (_target, Path) = (target, temporary);

    /// <summary>The folder to fill.</summary>
    public string Path { get; }

    /// <summary>Starts a folder; folders above it are created.</summary>
    /// <param name="path">The folder to write.</param>
    /// <param name="overwrite">Whether a folder of that name is replaced; otherwise only an empty one is.</param>
    /// <exception cref="OutputException">It exists, or it cannot be written.</exception>
    public static OutputFolder Create(string path, bool overwrite = false)
    {
        string target = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        if (File.Exists(target)) throw new OutputException(path, "is a file, expected a folder");
        if (!overwrite && Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any()) throw new OutputException(path, "exists and is not empty");
        string temporary = $"{target}.{Guid.NewGuid():N}.tmp";
        Guard(target, () => Directory.CreateDirectory(temporary));
        return new OutputFolder(target, temporary);
    }

    /// <summary>Gives the folder its name. What had the name is removed after it has been moved away, so that at no time there is half of either.</summary>
    /// <exception cref="OutputException">It cannot be renamed; what had the name is back in its place.</exception>
    public void Commit()
    {
        string former = $"{Path}.former";
        Guard(_target, () =>
        {
            if (Directory.Exists(_target)) Directory.Move(_target, former);
            try
            {
                Directory.Move(Path, _target);
            }
            catch
            {
                if (Directory.Exists(former)) Directory.Move(former, _target);
                throw;
            }

            _done = true;
            if (Directory.Exists(former)) Directory.Delete(former, recursive: true);
        });
    }

    /// <summary>Removes the temporary folder unless it has been committed.</summary>
    public void Dispose()
    {
        if (_done) return;
        _done = true;
        if (Directory.Exists(Path)) Directory.Delete(Path, recursive: true);
    }

    private static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new OutputException(path, $"cannot be written: {e.Message}", e);
        }
    }
}
