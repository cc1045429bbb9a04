namespace LowBitDiffusion.Graphs;

/// <summary>
/// What a node computes: attributes only, no arithmetic. One record per kind. Executors switch over the kinds; a network that needs a new one adds
/// a record here, its shape rule in <see cref="GraphBuilder"/>, and its arithmetic in the reference executor and the compiler.
/// </summary>
public abstract record Op;

/// <summary>An op whose parameters are stored under a module's name.</summary>
/// <param name="Module">The module's name as diffusers has it, e.g. <c>down_blocks.0.resnets.1.conv1</c>.</param>
public abstract record ModuleOp(string Module) : Op
{
    /// <summary>The parameters that the module reads, with their shapes.</summary>
    public abstract IEnumerable<Parameter> Parameters { get; }
}

/// <summary>A stored tensor that a module needs.</summary>
/// <param name="Name">Full name, e.g. <c>conv_in.weight</c>.</param>
/// <param name="Shape">Shape as diffusers stores it.</param>
public sealed record Parameter(string Name, TensorShape Shape);

/// <summary>A value given from outside.</summary>
/// <param name="Name">Its name: <c>sample</c>, <c>timestep</c>, <c>class_labels</c>…</param>
/// <param name="Dependence">What it varies with.</param>
public sealed record InputOp(string Name, Dependence Dependence) : Op;

/// <summary>A module with a weight matrix: the ops that can be quantized.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="HasBias">Whether <c>Module.bias</c> exists.</param>
public abstract record MatrixOp(string Module, bool HasBias) : ModuleOp(Module)
{
    /// <summary>Shape of <c>Module.weight</c>: <c>[out, in]</c> or <c>[out, in, kh, kw]</c>.</summary>
    public abstract TensorShape WeightShape { get; }

    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters
    {
        get
        {
            yield return new Parameter($"{Module}.weight", WeightShape);
            if (HasBias) yield return new Parameter($"{Module}.bias", new TensorShape(WeightShape[0]));
        }
    }
}

/// <summary>2-D convolution over <c>[N, C, H, W]</c>, square kernel and stride, zero padding that may differ per side.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="InChannels">Channels read.</param>
/// <param name="OutChannels">Channels written.</param>
/// <param name="Kernel">Rows and columns of the kernel.</param>
/// <param name="Stride">Step in both directions.</param>
/// <param name="Padding">Zeros around the image.</param>
/// <param name="HasBias">Whether a bias is added.</param>
public sealed record Conv2dOp(string Module, int InChannels, int OutChannels, int Kernel, int Stride, Padding Padding, bool HasBias = true)
    : MatrixOp(Module, HasBias)
{
    /// <inheritdoc/>
    public override TensorShape WeightShape => new(OutChannels, InChannels, Kernel, Kernel);
}

/// <summary>Zeros on each side of an image.</summary>
/// <param name="Top">Rows above.</param>
/// <param name="Left">Columns to the left.</param>
/// <param name="Bottom">Rows below.</param>
/// <param name="Right">Columns to the right.</param>
public readonly record struct Padding(int Top, int Left, int Bottom, int Right)
{
    /// <summary>The same on all sides.</summary>
    public static Padding Same(int all) => new(all, all, all, all);
}

/// <summary><c>x Wᵀ + b</c> over the channel axis of tokens or vectors.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="InFeatures">Channels read.</param>
/// <param name="OutFeatures">Channels written.</param>
/// <param name="HasBias">Whether a bias is added.</param>
public sealed record LinearOp(string Module, int InFeatures, int OutFeatures, bool HasBias = true) : MatrixOp(Module, HasBias)
{
    /// <inheritdoc/>
    public override TensorShape WeightShape => new(OutFeatures, InFeatures);
}

/// <summary>Group normalisation over each group's channels and all pixels of an image (biased variance), then an affine per channel.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="Channels">Channels.</param>
/// <param name="Groups">Groups of consecutive channels.</param>
/// <param name="Epsilon">Added to the variance.</param>
public sealed record GroupNormOp(string Module, int Channels, int Groups, float Epsilon) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => [new($"{Module}.weight", new(Channels)), new($"{Module}.bias", new(Channels))];
}

/// <summary>Layer normalisation over the channels of each token, with an affine per channel or none.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="Channels">Channels.</param>
/// <param name="Epsilon">Added to the variance.</param>
/// <param name="Affine">Whether weight and bias exist.</param>
public sealed record LayerNormOp(string Module, int Channels, float Epsilon, bool Affine = true) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => Affine ? [new($"{Module}.weight", new(Channels)), new($"{Module}.bias", new(Channels))] : [];
}

/// <summary>A row of a stored table per image or token, chosen by an integer input.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="Rows">Rows of the table.</param>
/// <param name="Features">Columns of the table.</param>
public sealed record EmbeddingOp(string Module, int Rows, int Features) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => [new($"{Module}.weight", new(Rows, Features))];
}

/// <summary>A stored tensor as a value, the same for every image.</summary>
/// <param name="Module">The parameter's full name.</param>
/// <param name="StoredShape">The parameter's shape.</param>
public sealed record ParameterOp(string Module, TensorShape StoredShape) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => [new(Module, StoredShape)];
}

/// <summary>A tensor computed from the configuration, e.g. a positional table.</summary>
/// <param name="Name">What it is, for messages.</param>
/// <param name="Data">Its elements, row-major.</param>
public sealed record ConstantOp(string Name, float[] Data) : Op;

/// <summary>Sines and cosines of a timestep (or any scalar): <c>freq_i = exp(−ln(10000)·i / (Features/2 − Shift))</c>, evaluated in single precision (Vaswani et al. 2017, as diffusers has it).</summary>
/// <param name="Features">Columns of the result.</param>
/// <param name="CosineFirst">Cosines before sines (<c>flip_sin_to_cos</c>).</param>
/// <param name="Shift"><c>freq_shift</c>.</param>
public sealed record TimestepEmbeddingOp(int Features, bool CosineFirst, float Shift) : Op;

/// <summary>Sines then cosines of <c>ln(t)·weight·2π</c> (Gaussian Fourier features).</summary>
/// <param name="Module">The module's name.</param>
/// <param name="Frequencies">Stored frequencies: half the columns of the result.</param>
public sealed record FourierEmbeddingOp(string Module, int Frequencies) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => [new($"{Module}.weight", new(Frequencies))];
}

/// <summary>Functions of one number.</summary>
public enum ActivationKind
{
    /// <summary><c>x·sigmoid(x)</c>.</summary>
    Silu,
    /// <summary><c>½x(1 + erf(x/√2))</c>.</summary>
    Gelu,
    /// <summary><c>½x(1 + tanh(√(2/π)(x + 0.044715x³)))</c>.</summary>
    GeluTanh,
    /// <summary><c>x·sigmoid(1.702x)</c>.</summary>
    QuickGelu,
    /// <summary><c>eˣ</c>.</summary>
    Exp,
}

/// <summary>An activation function on every element.</summary>
/// <param name="Kind">Which one.</param>
public sealed record ActivationOp(ActivationKind Kind) : Op;

/// <summary>Sum of two values; the second may be a vector <c>[N, C]</c> per image, a table <c>[1, L, C]</c>, or of the first's shape.</summary>
public sealed record AddOp : Op;

/// <summary>Product of two values, with the broadcasts of <see cref="AddOp"/>.</summary>
public sealed record MultiplyOp : Op;

/// <summary><c>factor·x + offset</c>.</summary>
/// <param name="Factor">Factor.</param>
/// <param name="Offset">Offset.</param>
public sealed record AffineOp(float Factor, float Offset) : Op;

/// <summary>First input divided by the second, one scalar <c>[N]</c> per image.</summary>
public sealed record DivideOp : Op;

/// <summary><c>x·(1 + scale) + shift</c>; inputs x, scale, shift, the last two vectors <c>[N, C]</c>.</summary>
public sealed record ModulateOp : Op;

/// <summary>Concatenation along the channel axis.</summary>
public sealed record ConcatOp : Op;

/// <summary>Channels <c>[Start, Start + Length)</c>.</summary>
/// <param name="Start">First channel.</param>
/// <param name="Length">How many.</param>
public sealed record SliceOp(int Start, int Length) : Op;

/// <summary>First half of the channels times exact GELU of the second half.</summary>
public sealed record GegluOp : Op;

/// <summary>Nearest neighbour to a given size: source index = floor(i·in / out).</summary>
/// <param name="Height">Rows of the result.</param>
/// <param name="Width">Columns of the result.</param>
public sealed record UpsampleOp(int Height, int Width) : Op;

/// <summary>Mean over 2×2 blocks; an odd last row or column is dropped.</summary>
public sealed record AveragePoolOp : Op;

/// <summary><c>softmax(q kᵀ / √d + mask) v</c> over tokens; inputs q, k, v and optionally an additive mask <c>[N, keys]</c>.</summary>
/// <param name="Heads">Heads: consecutive ranges of the channels.</param>
/// <param name="Causal">Token i sees tokens 0 … i only.</param>
public sealed record AttentionOp(int Heads, bool Causal = false) : Op;

/// <summary><c>[N, C, H, W] → [N, H·W, C]</c>.</summary>
public sealed record ToTokensOp : Op;

/// <summary><c>[N, H·W, C] → [N, C, H, W]</c>.</summary>
/// <param name="Height">Rows.</param>
/// <param name="Width">Columns.</param>
public sealed record ToImageOp(int Height, int Width) : Op;

/// <summary>The same elements in the same order under another shape; tokens, vectors and scalars only, not images.</summary>
public sealed record ReshapeOp : Op;

/// <summary>Squares of pixels to an image: <c>[N, h·w, p·p·C] → [N, C, h·p, w·p]</c>; a token holds its square row by row, the channels of a pixel side by side.</summary>
/// <param name="Patch">Rows and columns of a square, p.</param>
public sealed record UnpatchifyOp(int Patch) : Op;

/// <summary>One token of each sequence; inputs tokens <c>[N, L, C]</c> and their ids <c>[N, L]</c>, result <c>[N, C]</c>.</summary>
/// <param name="EndToken">The first token with this id, or the first of all where none has it; null for the first with the largest id.</param>
public sealed record SelectTokenOp(int? EndToken) : Op;

/// <summary>Index of the stored row nearest to each token by Euclidean distance, the first of equals: <c>[N, L, C] → [N, L]</c>.</summary>
/// <param name="Module">The module's name.</param>
/// <param name="Rows">Rows of the table.</param>
/// <param name="Features">Columns of the table, C.</param>
public sealed record NearestCodeOp(string Module, int Rows, int Features) : ModuleOp(Module)
{
    /// <inheritdoc/>
    public override IEnumerable<Parameter> Parameters => [new($"{Module}.weight", new(Rows, Features))];
}

/// <summary>Every element limited to a range.</summary>
/// <param name="Minimum">Least.</param>
/// <param name="Maximum">Greatest.</param>
public sealed record ClampOp(float Minimum, float Maximum) : Op;
