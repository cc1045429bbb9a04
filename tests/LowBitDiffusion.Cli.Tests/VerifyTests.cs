using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd verify</c> compares networks with recorded results.</summary>
public sealed class VerifyTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Every_known_network_of_a_folder_with_an_index_is_run()
    {
        LbdResult result = await Lbd.SucceedAsync("verify", Repository.GoldenFolder, "--executor", "planned");

        Assert.That(result.Out, Does.Match(@"(?m)^(\d+) of \1 runs within tolerance$"));
        Assert.That(result.Out, Does.Contain("| out.sample"));
    }

    [Test]
    public async Task Each_captured_activation_and_output_is_listed_with_its_error_and_verdict()
    {
        LbdResult result = await Lbd.SucceedAsync("verify", Case("unet2d_class"), "--executor", "reference");

        Assert.That(result.Out, Does.Match(@"\| act\.mid_block +\| +\d\.\d\de-\d\d \| +\d\.\d\de-\d\d \|.*\| pass"));
        Assert.That(result.Out, Does.Contain("io.safetensors, reference executor: pass"));
        Assert.That(result.Out, Does.Contain("io_wide.safetensors, reference executor: pass"));
    }

    [Test]
    public async Task Both_executors_are_run_unless_one_is_named()
    {
        LbdResult result = await Lbd.SucceedAsync("verify", Case("unet2d_class"), "--json");

        Assert.That(
            result.Json.GetProperty("runs").EnumerateArray().Select(run => run.GetProperty("executor").GetString()),
            Is.EqualTo(new[] { "reference", "planned", "reference", "planned" }));
    }

    [Test]
    public async Task A_network_that_computes_something_else_fails_with_exit_code_1()
    {
        // The golden case in the shape of a model folder's component, so that the editing helper finds it.
        TinyModel.Copy(Case("unet2d_class"), _folder["unet"]);
        TinyModel.EditValues(_folder.Path, "mid_block.resnets.0.conv1.weight", weights => weights[17] += 0.5f);

        LbdResult result = await Lbd.RunAsync("verify", _folder["unet"], "--executor", "planned");

        Assert.That(result.ExitCode, Is.EqualTo(1), result.ToString);
        Assert.That(result.Out, Does.Match(@"\| act\.mid_block .*\| FAIL"));
        Assert.That(result.Out, Does.Match(@"\| act\.down_blocks\.2 .*\| pass"), "what comes before the change is right");
    }

    private static string Case(string name) => Repository.Golden(name);
}
