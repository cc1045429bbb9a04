namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>The repository's <c>models/</c>.</summary>
internal static class ModelsFolder
{
    /// <summary>One model's folder.</summary>
    public static string Path(string name)
    {
        for (DirectoryInfo? folder = new(TestContext.CurrentContext.TestDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = System.IO.Path.Combine(folder.FullName, "models", name);
            if (Directory.Exists(candidate)) return candidate;
        }

        throw new DirectoryNotFoundException($"models/{name} is not above {TestContext.CurrentContext.TestDirectory}");
    }
}
