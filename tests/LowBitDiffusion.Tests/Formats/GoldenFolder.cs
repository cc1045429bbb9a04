namespace LowBitDiffusion.Tests.Formats;

/// <summary>The golden cases: the folder named by LBD_GOLDEN, else tests/golden above the test assembly.</summary>
internal static class GoldenFolder
{
    public static string Path { get; } = Find();

    public static IEnumerable<string> Files(string pattern) => Directory.EnumerateFiles(Path, pattern, SearchOption.AllDirectories).Order(StringComparer.Ordinal);

    private static string Find()
    {
        if (Environment.GetEnvironmentVariable("LBD_GOLDEN") is { Length: > 0 } named) return named;
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string golden = System.IO.Path.Combine(folder.FullName, "tests", "golden");
            if (File.Exists(System.IO.Path.Combine(golden, "index.json"))) return golden;
        }

        throw new DirectoryNotFoundException("tests/golden was not found above the test assembly");
    }
}
