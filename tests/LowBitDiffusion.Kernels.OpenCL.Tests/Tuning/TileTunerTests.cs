using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Checking;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Programs;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Tuning;

/// <summary>Tiles are measured on a network's own layers, once for a device, and change no result; a tile that would is refused.</summary>
[Category("Execution")]
public sealed class TileTunerTests
{
    private static readonly Graph s_graph = Build();

    private readonly ModelWeights _weights = RandomModel.Weights(s_graph, 1, op => op.Module == "float" ? null : new LayerPrecision(8, 8));
    private readonly Dictionary<string, float[]> _inputs = new() { ["x"] = RandomModel.Normal(new Random(5), 600), ["timestep"] = [480] };
    private string _folder = null!;

    [SetUp]
    public void Make() => _folder = Directory.CreateTempSubdirectory("lbd-tiles").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void What_was_measured_is_kept_and_changes_no_result()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        float[] expected = Run(api, measures: false, out int known, out _);
        Assert.That((known, api.Calls.ContainsKey("clGetEventProfilingInfo")), Is.EqualTo((0, false)), "nothing is measured unless asked for");

        IntegerMatrixTests.SameBits(Run(api, measures: true, out known, out _), expected, "measured");
        Assert.That(known, Is.EqualTo(3), "shapes of layers: of four layers two are alike");
        Assert.That(api.Calls["clGetEventProfilingInfo"], Is.Positive);

        api.Forget();
        IntegerMatrixTests.SameBits(Run(api, measures: true, out known, out _), expected, "recalled");
        Assert.That((known, api.Calls.ContainsKey("clGetEventProfilingInfo")), Is.EqualTo((3, false)), "measured again");

        foreach (string file in Directory.GetFiles(_folder)) File.WriteAllBytes(file, new byte[50]);
        Run(api, measures: true, out known, out _);
        Assert.That((known, api.Calls["clGetEventProfilingInfo"] > 0), Is.EqualTo((3, true)), "a damaged entry counts as missing");
        Assert.That(api.Live, Is.Empty);
    }

    [Test]
    public void A_tile_with_other_results_is_refused()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        MatrixTile usual = MatrixTile.Candidates(Device(api).Kind)[0];
        float[] expected = Run(api, measures: false, out _, out _);
        api.Source = text => text.Replace("value = value * e.outputScale;", $"value = value * e.outputScale + (V * ROWS == {usual.Vector * usual.Rows} ? 0.0f : 1.0f);", StringComparison.Ordinal);
        foreach (string file in Directory.GetFiles(_folder)) File.Delete(file);

        IntegerMatrixTests.SameBits(Run(api, measures: true, out _, out IReadOnlyList<RefusedVariant> refused), expected, "with a wrong tile");
        Assert.That(refused.Select(r => r.Variant), Has.Some.StartsWith("8 bits").And.Some.StartsWith("f32"));
    }

    [Test]
    public void Measuring_can_be_stopped()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        using CancellationTokenSource stop = new();
        List<double> shares = [];
        Assert.Throws<OperationCanceledException>(() => Run(api, measures: true, out _, out _, new Watcher<double>(share =>
        {
            shares.Add(share);
            if (share > 0.5) stop.Cancel();
        }), stop.Token));
        Assert.That(shares, Is.Ordered.And.All.InRange(0, 1).And.Some.GreaterThan(0.5));
        Assert.That(api.Live, Is.Empty);
    }

    private static Graph Build()
    {
        GraphBuilder g = new();
        g.Input("timestep", new(1), Dependence.Timestep);
        Node x = g.Input("x", new(1, 12, 5, 10), Dependence.Sample);
        Node h = g.Conv2d("b", g.Conv2d("a", x, 12, 3), 12, 3);
        g.Output("out", g.Add(g.Linear("float", g.ToTokens(h), 12), g.Linear("c", g.ToTokens(h), 12)));
        return g.Build();
    }

    private static OpenClDevice Device(ScriptedOpenCl api) => OpenClDevice.All(api, out _)[0];

    private float[] Run(ScriptedOpenCl api, bool measures, out int known, out IReadOnlyList<RefusedVariant> refused, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        using ComputeDevice device = ComputeDevice.Open(Device(api), new DeviceCache(_folder), new DeviceCheck(KernelChoice.Portable(Device(api)), [], FromCache: false));
        device.MeasuresTiles = measures;
        using WorkerPool pool = new(1);
        using PackedModel packed = new(_weights, KernelTable.Best);
        using DeviceModel model = new(device, _weights);
        using PlannedNetwork network = new(PlanCompiler.Compile(packed, s_graph, [], 1), packed, pool, progress, cancellationToken, model);
        (known, refused) = (device.Tuner.Known, device.Tuner.Refused);
        return network.Run(_inputs)["out"];
    }
}
