using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// Turns a graph into an <see cref="ExecutionPlan"/>: splits it into phases by what values depend on, fuses (<see cref="Fusion"/>), places quantization in
/// the pass that feeds a layer, chooses kernels, and lays out memory by the lifetimes of values.
/// </summary>
internal sealed class PlanCompiler
{
    private readonly PackedModel _model;
    private readonly Graph _graph;
    private readonly HashSet<Node> _observed;
    private readonly Dictionary<Node, Storage> _storage = [];
    private readonly Dictionary<PlanPhase, PlanStep[]> _steps = [];
    private readonly Dictionary<PlanPhase, InputQuantizer[]> _quantizers = [];
    private readonly HashSet<Node> _crossing = [];
    private readonly HashSet<Node> _codesOnly = [];
    private readonly string[] _slots;
    private readonly int _threads;

    private Fusion _fusion = null!;
    private PlanPhase _phase;
    private List<PlanStep> _open = [];
    private List<(Node Input, Padding Padding, InputQuantizer? Quantizer, Region Region)> _staged = [];
    private Dictionary<(Node Norm, Node? Modulation), NormFold> _folds = [];

    private PlanCompiler(PackedModel model, Graph graph, IEnumerable<Node> observed, int threads)
    {
        _threads = threads;
        _model = model;
        _graph = graph;
        _observed = [.. observed];
        _slots = ExecutionPlan.Slots(graph);
    }

    /// <summary>Compiles a graph.</summary>
    /// <param name="model">Says which modules run in integers. No weight is read.</param>
    /// <param name="graph">The network for one set of shapes.</param>
    /// <param name="observed">Nodes whose values are shown to the run's observer; they are stored as they are, not fused away.</param>
    /// <param name="threads">Threads that will run it: some kernels need scratch for each.</param>
    public static ExecutionPlan Compile(PackedModel model, Graph graph, IEnumerable<Node> observed, int threads) => new PlanCompiler(model, graph, observed, threads).Compile();

    private ExecutionPlan Compile()
    {
        FindCrossing();
        foreach (PlanPhase phase in Enum.GetValues<PlanPhase>()) CompilePhase(phase);
        foreach (PlanStep[] steps in _steps.Values) MergeResiduals(steps);
        MemoryLayout layout = new(_steps.Values, region => region.Bytes);
        foreach ((Region region, long offset) in layout.Offsets) region.Offset = offset;
        return new ExecutionPlan
        {
            Steps = _steps,
            Quantizers = _quantizers,
            ArenaBytes = layout.ArenaBytes,
            RequestBytes = layout.RequestBytes,
            StepBytes = layout.StepBytes,
            Inputs = _graph.Inputs,
            Outputs = _graph.Outputs,
        };
    }

    // A value that a later phase reads outlives its own; what it is a view of does, too.
    private void FindCrossing()
    {
        foreach (Node node in _graph.Nodes)
        {
            foreach (Node input in node.Inputs.Where(i => ExecutionPlan.PhaseOf(i) != ExecutionPlan.PhaseOf(node)))
            {
                for (Node root = input; ; root = root.Inputs[0])
                {
                    _crossing.Add(root);
                    if (!Fusion.IsView(root)) break;
                }
            }
        }
    }

    private void CompilePhase(PlanPhase phase)
    {
        Node[] nodes = [.. _graph.Nodes.Where(n => ExecutionPlan.PhaseOf(n) == phase)];
        HashSet<Node> kept = [.. nodes.Where(n => _crossing.Contains(n) || _observed.Contains(n)), .. _graph.Outputs.Values];
        (_phase, _fusion, _open, _staged, _folds) = (phase, new Fusion(nodes, kept, CanGate), [], [], []);
        foreach (Node node in nodes)
        {
            if (_fusion.IsStaged(node) || _fusion.IsAbsorbed(node)) continue;
            Emit(node);
            if (_observed.Contains(node)) Append(new ObserveStep(node, _storage[node]) { Name = node.ToString() });
            foreach ((string name, Node output) in _graph.Outputs)
            {
                if (output == node) Append(new OutputStep(Array.LastIndexOf(_slots, name), node.Shape, _storage[node]) { Name = name });
            }
        }

        _steps[phase] = [.. _open];
        _quantizers[phase] = [.. _staged.Select(s => s.Quantizer).OfType<InputQuantizer>().Distinct()];
    }

    private void Emit(Node node)
    {
        if (_fusion.GroupStoring(node) is { } group)
        {
            EmitMatrix(group);
            return;
        }

        switch (node.Op)
        {
            case ToTokensOp or ToImageOp when _codesOnly.Contains(node.Inputs[0]):
                _codesOnly.Add(node);
                break;
            case ToTokensOp or ToImageOp:
                _storage[node] = _storage[node.Inputs[0]];
                break;
            case SliceOp slice:
                Storage whole = _storage[node.Inputs[0]];
                _storage[node] = whole with { Channels = slice.Length, Offset = whole.Offset + slice.Start };
                break;
            case ReshapeOp:
                EmitReshape(node);
                break;
            case ConcatOp or GroupNormOp or LayerNormOp or ModulateOp or ActivationOp { Kind: not ActivationKind.Exp } or UpsampleOp:
                StageExpression expression = StageExpression.ForStored(node, _fusion);
                Storage stored = Store(node);
                EmitStage(expression, node.ToString(), default, null, stored.Region);
                break;
            case InputOp input:
                Append(new InputStep(Array.IndexOf(_slots, input.Name), node.Shape, Store(node)) { Name = input.Name });
                break;
            case AttentionOp:
                AttentionPrecision precision = _model.AttentionOf(node);
                Region scratch = new(RegionKind.Arena, AttentionStep.ScratchBytes(node, precision, _threads));
                Append(new AttentionStep(node, precision, [.. node.Inputs.Select(i => _storage[i])], Store(node), scratch) { Name = node.ToString() });
                break;
            default:
                Append(new ElementStep(node, [.. node.Inputs.Select(i => _storage[i])], Store(node)) { Name = node.ToString() });
                break;
        }
    }

    // Dense rows can be read under another shape as they are; a slice has gaps between its rows and is copied first.
    private void EmitReshape(Node node)
    {
        Storage source = _storage[node.Inputs[0]];
        int channels = node.Shape.Rank == 1 ? 1 : node.Shape.Channels, rows = (int)(node.Shape.Elements / channels);
        if (source.IsDense)
        {
            _storage[node] = source with { Rows = rows, Channels = channels, Stride = channels };
            return;
        }

        Append(new CopyStep(source, Store(node)) { Name = node.ToString() });
    }

    private void EmitMatrix(MatrixGroup group)
    {
        // An upsampling is part of how the layer walks over the image before it.
        Node input = group.Matrix.Inputs[0];
        UpsampleOp? upsample = _fusion.IsStaged(input) ? input.Op as UpsampleOp : null;
        if (upsample is not null) input = input.Inputs[0];
        StageExpression expression = StageExpression.ForConsumer(input, _fusion);
        QuantizedModule? module = _model.Module(group.Op);
        Padding padding = group.Op is Conv2dOp conv ? conv.Padding : default;
        ConvGeometry geometry = group.Op switch
        {
            Conv2dOp c => Geometry(c, expression, upsample),
            LinearOp l => ConvGeometry.Linear(expression.Batch * expression.OutHeight * expression.OutWidth, l.InFeatures, l.OutFeatures),
            _ => throw new InvalidOperationException($"no geometry for {group.Op}"),
        };
        if (upsample is not null) padding = new(Math.Min(padding.Top, 1), Math.Min(padding.Left, 1), Math.Min(padding.Bottom, 1), Math.Min(padding.Right, 1));
        Storage? vector = group.ImageVector is { } v ? _storage[v] : null, residual = group.Residual is { } r ? _storage[r] : null;
        CodeOutput? codes = module is null ? null : CodesOf(group.Result);
        Storage? output = codes is null ? Store(group.Result) : null;
        MatrixEpilogue epilogue = new(vector, group.ImageVector?.Shape[0] == 1, residual, group.OutputScale, group.Gated, output, codes);
        string name = group.Op.Module;
        if (module is null)
        {
            Storage plain = expression.IsPlain ? _storage[expression.Sources[0]] : default;
            bool direct = expression.IsPlain && plain.IsDense && padding == default;
            Region staged = direct ? plain.Region : Stage(expression, input, name, padding, null).Region;
            Append(new FloatMatrixStep(group.Op, geometry, staged, direct ? plain.Offset : 0, epilogue) { Name = name });
        }
        else
        {
            (Region staged, InputQuantizer? quantizer) = Stage(expression, input, name, padding, module);
            Append(new QuantizedMatrixStep(group.Op, module, geometry, staged, quantizer!, epilogue) { Name = name });
        }
    }

    private static ConvGeometry Geometry(Conv2dOp conv, StageExpression image, UpsampleOp? upsample)
    {
        (int top, int left, int bottom, int right) = conv.Padding;
        int height = upsample?.Height ?? image.OutHeight, width = upsample?.Width ?? image.OutWidth;
        return new(image.Batch, top + height + bottom, left + width + right, conv.InChannels, conv.OutChannels, conv.Kernel, conv.Kernel, conv.Stride)
        {
            Vertical = upsample is null ? null : new UpsampledAxis(image.OutHeight, height, top, bottom),
            Horizontal = upsample is null ? null : new UpsampledAxis(image.OutWidth, width, left, right),
        };
    }

    private bool CanGate(MatrixOp op) => _model.Module(op) is not null && _model.Kernels.QuantizedConv.CanGate(op.WeightShape[0]);

    // Codes are written at once where all readers want the same ones, without a border, of the value as it is or activated.
    private CodeOutput? CodesOf(Node result)
    {
        if (_fusion.LayersReading(result) is not { } layers) return null;
        InputQuantizer? quantizer = null;
        ActivationKind? activation = StageExpression.ForConsumer(layers[0].Inputs[0], _fusion).Activation;
        foreach (Node layer in layers)
        {
            MatrixOp op = (MatrixOp)layer.Op;
            if (_model.Module(op) is not { SplitChannel: 0 } module || op is Conv2dOp conv && conv.Padding != default) return null;
            if (StageExpression.ForConsumer(layer.Inputs[0], _fusion).Activation != activation) return null;
            quantizer ??= new InputQuantizer(module);
            if (!quantizer.Matches(module)) return null;
        }

        Region region = new(RegionKind.Arena, result.Shape.Elements);
        foreach (Node input in layers.Select(layer => layer.Inputs[0]).Distinct()) _staged.Add((input, default, quantizer, region));
        _codesOnly.Add(result);
        return new CodeOutput(region, result.Shape.Channels, activation, quantizer!);
    }

    // Layers that read the same value with the same padding and quantizer (queries, keys and values) share one pass.
    private (Region Region, InputQuantizer? Quantizer) Stage(StageExpression expression, Node input, string name, Padding padding, QuantizedModule? module)
    {
        foreach (var other in _staged)
        {
            if (other.Input == input && other.Padding == padding && (module is null ? other.Quantizer is null : other.Quantizer?.Matches(module) == true))
                return (other.Region, other.Quantizer);
        }

        InputQuantizer? quantizer = module is null ? null : new InputQuantizer(module);
        long elements = (long)expression.Batch * (expression.OutHeight + padding.Top + padding.Bottom) * (expression.OutWidth + padding.Left + padding.Right) * expression.Channels;
        Region region = new(RegionKind.Arena, elements * (quantizer is null ? sizeof(float) : sizeof(byte)), holdsValue: quantizer is null);
        EmitStage(expression, name, padding, quantizer, region);
        _staged.Add((input, padding, quantizer, region));
        return (region, quantizer);
    }

    private void EmitStage(StageExpression expression, string name, Padding padding, InputQuantizer? quantizer, Region destination)
    {
        Storage[] sources = [.. expression.Sources.Select(s => _storage[s])];
        Storage? scale = expression.Modulation is { } m ? _storage[m.Inputs[1]] : null, shift = expression.Modulation is { } n ? _storage[n.Inputs[2]] : null;
        NormFold? fold = null;
        if (expression.Norm is not null || expression.Modulation is not null)
        {
            (Node, Node?) key = (expression.Norm ?? expression.Modulation!, expression.Modulation);
            if (!_folds.TryGetValue(key, out fold))
            {
                fold = new NormFold(expression, bytes => new Region(RegionKind.Arena, bytes));
                Append(new NormStep(expression, sources, scale, shift, fold) { Name = (expression.Norm?.Op as ModuleOp)?.Module ?? name });
                _folds.Add(key, fold);
            }
        }

        Append(new StageStep(expression, sources, fold, padding, quantizer, destination) { Name = name });
    }

    private Storage Store(Node node)
    {
        TensorShape shape = node.Shape;
        int channels = shape.Rank == 1 ? 1 : shape.Channels;
        int rows = (int)(shape.Elements / channels);
        RegionKind kind = !_crossing.Contains(node) ? RegionKind.Arena : _phase == PlanPhase.Request ? RegionKind.Request : RegionKind.Step;
        Storage storage = new(new Region(kind, shape.Elements * sizeof(float), holdsValue: true), rows, channels, channels, 0);
        _storage.Add(node, storage);
        return storage;
    }

    private void Append(PlanStep step)
    {
        foreach (Region region in step.Regions) region.Touch(_open.Count);
        _open.Add(step);
    }

    // A sum whose residual is read for the last time is written over it.
    private static void MergeResiduals(PlanStep[] steps)
    {
        for (int i = 0; i < steps.Length; i++)
        {
            if (steps[i] is not MatrixStep { Epilogue: { Residual: { } residual, Output: { } output } } || !residual.IsDense || residual.Offset != 0) continue;
            Region from = residual.Region.Root, to = output.Region;
            if (from.Kind == RegionKind.Arena && to.Kind == RegionKind.Arena && from.Last == i && to.First == i && from.Bytes == to.Bytes) to.MergeInto(from);
        }
    }
}
