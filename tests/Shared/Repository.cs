namespace LowBitDiffusion.Tests.Shared;

/// <summary>Files of the repository that tests read.</summary>
internal static class Repository
{
    /// <summary>The folder with the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The golden cases to run: the folder named by LBD_GOLDEN, else the repository's own.</summary>
    public static string GoldenFolder { get; } = Environment.GetEnvironmentVariable("LBD_GOLDEN") is { Length: > 0 } named ? named : Path.Combine(Root, "tests", "golden");

    /// <summary>A golden file or case: of the cases to run, or the repository's own where these do not have it.</summary>
    public static string Golden(params string[] parts)
    {
        string relative = Path.Combine(parts), chosen = Path.Combine(GoldenFolder, relative);
        return Path.Exists(chosen) ? chosen : Path.Combine(Root, "tests", "golden", relative);
    }

    /// <summary>A model's folder in <c>models/</c>.</summary>
    public static string Model(string name) => Path.Combine(Root, "models", name);

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LowBitDiffusion.sln"))) return folder.FullName;
        }

        throw new DirectoryNotFoundException("LowBitDiffusion.sln was not found above the test assembly");
    }
}
