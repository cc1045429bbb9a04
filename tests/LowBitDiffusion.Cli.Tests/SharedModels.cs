using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>Models that many tests read and none changes, made once.</summary>
[SetUpFixture]
internal sealed class SharedModels
{
    private static TemporaryFolder? s_folder;

    /// <summary>Class-conditional, float.</summary>
    public static string Float => s_folder!["tiny"];

    /// <summary>The same in four bits, calibrated at three timesteps.</summary>
    public static string Quantized => s_folder!["tiny-w4a8"];

    /// <summary>Without labels, in colour.</summary>
    public static string Colour => s_folder!["colour"];

    [OneTimeSetUp]
    public async Task Create()
    {
        s_folder = new TemporaryFolder();
        TinyModel.CreateConditional(Float);
        TinyModel.CreateUnconditional(Colour);
        await Lbd.SucceedAsync("quantize", "--model", Float, "--out", Quantized, "--images", "2", "--batch", "2", "--report-images", "2", "--json");
    }

    [OneTimeTearDown]
    public void Remove() => s_folder?.Dispose();
}
