namespace LowBitDiffusion.Graphs;

/// <summary>
/// Writes a graph down. A network's class calls these methods in the order of its forward pass; shapes are inferred and checked as it goes,
/// so that a wrong configuration fails here, with the node named, and not in a kernel.
/// </summary>
public sealed class GraphBuilder
{
    private readonly List<Node> _nodes = [];
    private readonly Dictionary<string, Node> _inputs = [];
    private readonly Dictionary<string, Node> _outputs = [];
    private readonly Dictionary<string, Node> _taps = [];

    /// <summary>The finished graph, without nodes that no output or tap needs.</summary>
    public Graph Build()
    {
        HashSet<Node> needed = [.. _inputs.Values];
        Stack<Node> open = new(_outputs.Values.Concat(_taps.Values));
        while (open.TryPop(out Node? node))
        {
            if (needed.Add(node))
            {
                foreach (Node input in node.Inputs) open.Push(input);
            }
        }

        return new Graph([.. _nodes.Where(needed.Contains)], new(_inputs), new(_outputs), new(_taps));
    }

    /// <summary>A value given from outside.</summary>
    public Node Input(string name, TensorShape shape, Dependence dependence)
    {
        Node node = new(_nodes.Count, new InputOp(name, dependence), shape, [], dependence);
        _nodes.Add(node);
        _inputs.Add(name, node);
        return node;
    }

    /// <summary>Names a result.</summary>
    public void Output(string name, Node value) => _outputs.Add(name, value);

    /// <summary>Names the output of a module, for looking inside; returns the value.</summary>
    public Node Tap(string module, Node value)
    {
        _taps[module] = value;
        return value;
    }

    /// <summary><see cref="Conv2dOp"/>.</summary>
    public Node Conv2d(string module, Node x, int outChannels, int kernel, int stride = 1, Padding? padding = null, bool bias = true)
    {
        Require(x.Shape.Rank == 4, module, $"a convolution reads [N, C, H, W], not {x.Shape}");
        Padding pad = padding ?? Padding.Same(kernel / 2);
        int height = (x.Shape[2] + pad.Top + pad.Bottom - kernel) / stride + 1, width = (x.Shape[3] + pad.Left + pad.Right - kernel) / stride + 1;
        Require(x.Shape[2] + pad.Top + pad.Bottom >= kernel && x.Shape[3] + pad.Left + pad.Right >= kernel, module, $"an image of {x.Shape} is smaller than the {kernel}x{kernel} kernel");
        return Tap(module, Add(new Conv2dOp(module, x.Shape[1], outChannels, kernel, stride, pad, bias), new(x.Shape[0], outChannels, height, width), x));
    }

    /// <summary><see cref="LinearOp"/>.</summary>
    public Node Linear(string module, Node x, int outFeatures, bool bias = true)
    {
        Require(x.Shape.Rank is 2 or 3, module, $"a linear layer reads [N, C] or [N, L, C], not {x.Shape}");
        return Tap(module, Add(new LinearOp(module, x.Shape[-1], outFeatures, bias), x.Shape.With(-1, outFeatures), x));
    }

    /// <summary><see cref="GroupNormOp"/>.</summary>
    public Node GroupNorm(string module, Node x, int groups, float epsilon)
    {
        Require(groups > 0 && x.Shape.Channels % groups == 0, module, $"{x.Shape.Channels} channels cannot be divided into {groups} groups");
        return Tap(module, Add(new GroupNormOp(module, x.Shape.Channels, groups, epsilon), x.Shape, x));
    }

    /// <summary><see cref="LayerNormOp"/>.</summary>
    public Node LayerNorm(string module, Node x, float epsilon, bool affine = true) =>
        Tap(module, Add(new LayerNormOp(module, x.Shape.Channels, epsilon, affine), x.Shape, x));

    /// <summary><see cref="EmbeddingOp"/>; <paramref name="indices"/> is <c>[N]</c> or <c>[N, L]</c>.</summary>
    public Node Embedding(string module, Node indices, int rows, int features) =>
        Tap(module, Add(new EmbeddingOp(module, rows, features), new([.. indices.Shape, features]), indices));

    /// <summary><see cref="ParameterOp"/>.</summary>
    public Node Parameter(string name, TensorShape shape) => Add(new ParameterOp(name, shape), shape);

    /// <summary><see cref="ConstantOp"/>.</summary>
    public Node Constant(string name, TensorShape shape, float[] data)
    {
        Require(shape.Elements == data.Length, name, $"{data.Length} elements do not fill {shape}");
        return Add(new ConstantOp(name, data), shape);
    }

    /// <summary><see cref="TimestepEmbeddingOp"/> of a scalar per image.</summary>
    public Node TimestepEmbedding(Node timestep, int features, bool cosineFirst, float shift)
    {
        Require(timestep.Shape.Rank == 1, "timestep", $"expected [N], found {timestep.Shape}");
        Require(features % 2 == 0, "time_proj", $"{features} features are not even");
        return Add(new TimestepEmbeddingOp(features, cosineFirst, shift), new(timestep.Shape[0], features), timestep);
    }

    /// <summary><see cref="FourierEmbeddingOp"/>.</summary>
    public Node FourierEmbedding(string module, Node timestep, int frequencies) =>
        Tap(module, Add(new FourierEmbeddingOp(module, frequencies), new(timestep.Shape[0], 2 * frequencies), timestep));

    /// <summary><see cref="ActivationOp"/>.</summary>
    public Node Activation(ActivationKind kind, Node x) => Add(new ActivationOp(kind), x.Shape, x);

    /// <summary><see cref="ActivationKind.Silu"/>.</summary>
    public Node Silu(Node x) => Activation(ActivationKind.Silu, x);

    /// <summary><see cref="AddOp"/>.</summary>
    public Node Add(Node x, Node y)
    {
        RequireBroadcast("add", x, y);
        return Add(new AddOp(), x.Shape, x, y);
    }

    /// <summary><see cref="MultiplyOp"/>.</summary>
    public Node Multiply(Node x, Node y)
    {
        RequireBroadcast("multiply", x, y);
        return Add(new MultiplyOp(), x.Shape, x, y);
    }

    /// <summary><see cref="AffineOp"/>; returns <paramref name="x"/> itself where nothing changes.</summary>
    public Node Affine(Node x, float factor, float offset = 0) => factor == 1 && offset == 0 ? x : Add(new AffineOp(factor, offset), x.Shape, x);

    /// <summary><see cref="DivideOp"/>.</summary>
    public Node Divide(Node x, Node perImage)
    {
        Require(perImage.Shape.Rank == 1 && perImage.Shape[0] == x.Shape[0], "divide", $"expected [{x.Shape[0]}], found {perImage.Shape}");
        return Add(new DivideOp(), x.Shape, x, perImage);
    }

    /// <summary><see cref="ModulateOp"/>.</summary>
    public Node Modulate(Node x, Node scale, Node shift)
    {
        RequireBroadcast("modulate", x, scale);
        RequireBroadcast("modulate", x, shift);
        return Add(new ModulateOp(), x.Shape, x, scale, shift);
    }

    /// <summary><see cref="ConcatOp"/>.</summary>
    public Node Concat(Node first, Node second)
    {
        int axis = first.Shape.ChannelAxis;
        Require(first.Shape.Rank == second.Shape.Rank && first.Shape.With(axis, 1).Equals(second.Shape.With(axis, 1)), "concat", $"{first.Shape} and {second.Shape} differ beside their channels");
        return Add(new ConcatOp(), first.Shape.With(axis, first.Shape.Channels + second.Shape.Channels), first, second);
    }

    /// <summary><see cref="SliceOp"/>.</summary>
    public Node Slice(Node x, int start, int length)
    {
        Require(start >= 0 && length > 0 && start + length <= x.Shape.Channels, "slice", $"channels {start}…{start + length} are not within {x.Shape}");
        return Add(new SliceOp(start, length), x.Shape.With(x.Shape.ChannelAxis, length), x);
    }

    /// <summary>Equal parts of the channels.</summary>
    public Node[] Chunk(Node x, int parts)
    {
        Require(x.Shape.Channels % parts == 0, "chunk", $"{x.Shape.Channels} channels are not {parts} equal parts");
        int length = x.Shape.Channels / parts;
        return [.. Enumerable.Range(0, parts).Select(i => Slice(x, i * length, length))];
    }

    /// <summary><see cref="GegluOp"/>.</summary>
    public Node Geglu(Node x) => Add(new GegluOp(), x.Shape.With(-1, x.Shape.Channels / 2), x);

    /// <summary><see cref="UpsampleOp"/>.</summary>
    public Node Upsample(Node x, int height, int width) => Add(new UpsampleOp(height, width), new(x.Shape[0], x.Shape[1], height, width), x);

    /// <summary><see cref="AveragePoolOp"/>.</summary>
    public Node AveragePool(Node x)
    {
        Require(x.Shape.Rank == 4 && x.Shape[2] > 1 && x.Shape[3] > 1, "average pool", $"{x.Shape} has no blocks of 2x2 pixels");
        return Add(new AveragePoolOp(), new(x.Shape[0], x.Shape[1], x.Shape[2] / 2, x.Shape[3] / 2), x);
    }

    /// <summary><see cref="AttentionOp"/>.</summary>
    public Node Attention(Node q, Node k, Node v, int heads, bool causal = false, Node? mask = null)
    {
        Require(q.Shape.Rank == 3 && q.Shape[2] % heads == 0, "attention", $"{q.Shape} does not split into {heads} heads");
        Require(k.Shape[1] == v.Shape[1] && k.Shape[2] == q.Shape[2] && v.Shape[2] % heads == 0, "attention", $"queries {q.Shape}, keys {k.Shape} and values {v.Shape} do not fit");
        Node[] inputs = mask is null ? [q, k, v] : [q, k, v, mask];
        return Add(new AttentionOp(heads, causal), q.Shape.With(2, v.Shape[2]), inputs);
    }

    /// <summary><see cref="ToTokensOp"/>.</summary>
    public Node ToTokens(Node x) => Add(new ToTokensOp(), new(x.Shape[0], x.Shape[2] * x.Shape[3], x.Shape[1]), x);

    /// <summary><see cref="ToImageOp"/>.</summary>
    public Node ToImage(Node x, int height, int width)
    {
        Require(x.Shape.Rank == 3 && x.Shape[1] == height * width, "to image", $"{x.Shape} is not {height}x{width}");
        return Add(new ToImageOp(height, width), new(x.Shape[0], x.Shape[2], height, width), x);
    }

    /// <summary><see cref="ReshapeOp"/>; returns <paramref name="x"/> itself where nothing changes.</summary>
    public Node Reshape(Node x, TensorShape shape)
    {
        Require(x.Shape.Rank < 4 && shape.Rank < 4 && x.Shape.Elements == shape.Elements, "reshape", $"{x.Shape} cannot be read as {shape}");
        return x.Shape.Equals(shape) ? x : Add(new ReshapeOp(), shape, x);
    }

    /// <summary><see cref="UnpatchifyOp"/> of <paramref name="height"/> × <paramref name="width"/> squares.</summary>
    public Node Unpatchify(Node x, int height, int width, int patch)
    {
        Require(x.Shape.Rank == 3 && x.Shape[1] == height * width && x.Shape[2] % (patch * patch) == 0, "unpatchify", $"{x.Shape} is not {height}x{width} squares of {patch}x{patch} pixels");
        return Add(new UnpatchifyOp(patch), new(x.Shape[0], x.Shape[2] / (patch * patch), height * patch, width * patch), x);
    }

    /// <summary><see cref="SelectTokenOp"/>.</summary>
    public Node SelectToken(Node x, Node ids, int? endToken)
    {
        Require(x.Shape.Rank == 3 && ids.Shape.Equals(new TensorShape(x.Shape[0], x.Shape[1])), "select token", $"ids {ids.Shape} do not belong to tokens {x.Shape}");
        return Add(new SelectTokenOp(endToken), new(x.Shape[0], x.Shape[2]), x, ids);
    }

    /// <summary><see cref="NearestCodeOp"/> of a table of <paramref name="rows"/>.</summary>
    public Node NearestCode(string module, Node x, int rows)
    {
        Require(x.Shape.Rank == 3, module, $"a code book reads [N, L, C], not {x.Shape}");
        return Add(new NearestCodeOp(module, rows, x.Shape[2]), new(x.Shape[0], x.Shape[1]), x);
    }

    /// <summary><see cref="ClampOp"/>.</summary>
    public Node Clamp(Node x, float minimum, float maximum) => Add(new ClampOp(minimum, maximum), x.Shape, x);

    /// <summary>Appends a node of any kind: the place for ops that one network alone needs.</summary>
    public Node Add(Op op, TensorShape shape, params Node[] inputs)
    {
        Dependence dependence = inputs.Aggregate(Dependence.None, (all, input) => all | input.Dependence);
        Node node = new(_nodes.Count, op, shape, inputs, dependence);
        _nodes.Add(node);
        return node;
    }

    private static void RequireBroadcast(string where, Node x, Node y)
    {
        bool same = x.Shape.Equals(y.Shape);
        bool vector = y.Shape.Rank == 2 && (y.Shape[0] == x.Shape[0] || y.Shape[0] == 1) && y.Shape[1] == x.Shape.Channels;
        bool table = y.Shape.Rank == x.Shape.Rank && y.Shape[0] == 1 && y.Shape.With(0, x.Shape[0]).Equals(x.Shape);
        Require(same || vector || table, where, $"{y.Shape} does not broadcast to {x.Shape}");
    }

    private static void Require(bool condition, string where, string problem)
    {
        if (!condition) throw new GraphException(where, problem);
    }
}

/// <summary>A network cannot be written down for these shapes or this configuration.</summary>
public sealed class GraphException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="where">The module or op at fault.</param>
    /// <param name="problem">What does not fit.</param>
    public GraphException(string where, string problem) : base($"{where}: {problem}")
    {
    }
}
