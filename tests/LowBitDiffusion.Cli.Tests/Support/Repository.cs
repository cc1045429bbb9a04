namespace LowBitDiffusion.Cli.Tests.Support;

/// <summary>Files of the repository that tests read.</summary>
internal static class Repository
{
    /// <summary>The folder with the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The repository's own golden cases, from which small models are built.</summary>
    public static string Golden => Path.Combine(Root, "tests", "golden");

    /// <summary>The golden cases to verify: those that LBD_GOLDEN names, or the repository's own.</summary>
    public static string GoldenToVerify => Environment.GetEnvironmentVariable("LBD_GOLDEN") is { Length: > 0 } named ? named : Golden;

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LowBitDiffusion.sln"))) return folder.FullName;
        }

        throw new DirectoryNotFoundException("LowBitDiffusion.sln was not found above the test assembly");
    }
}
