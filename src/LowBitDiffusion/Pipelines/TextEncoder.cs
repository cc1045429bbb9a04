using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tokenizers;

namespace LowBitDiffusion.Pipelines;

/// <summary>A tokenizer and the CLIP encoder that reads its tokens.</summary>
internal sealed class TextEncoder : IDisposable
{
    private readonly ModelComponent _component;
    private readonly ClipTokenizer _tokenizer;
    private readonly IReadOnlyDictionary<string, TensorShape> _inputs;

    /// <summary>Opens both.</summary>
    /// <param name="folder">The model.</param>
    /// <param name="suffix">Of the components' names: empty, or <c>_2</c>.</param>
    /// <param name="outputs">Outputs that are wanted.</param>
    /// <param name="pool">Threads.</param>
    /// <param name="mostIdle">See <see cref="ModelComponent"/>.</param>
    /// <param name="device">Where it runs; null for the processor.</param>
    /// <exception cref="ModelFormatException">One is missing or damaged, or they do not fit each other.</exception>
    public TextEncoder(ModelFolder folder, string suffix, IReadOnlyList<string> outputs, WorkerPool pool, int mostIdle, ComputeDevice? device)
    {
        Outputs = outputs;
        string[] classes = outputs.Contains("text_embeds") ? [ClipTextModel.ProjectionClass] : [ClipTextModel.PlainClass, ClipTextModel.ProjectionClass];
        _component = new ModelComponent(folder, $"text_encoder{suffix}", classes, pool, mostIdle, device);
        try
        {
            ClipTextModel network = (ClipTextModel)_component.Network;
            string name = $"tokenizer{suffix}";
            _tokenizer = ClipTokenizer.Open(folder, name);
            if (_tokenizer.VocabularySize > network.VocabularySize)
                throw new ModelFormatException(folder.Path, name, $"expected at most the {network.VocabularySize} tokens of the text encoder, found {_tokenizer.VocabularySize}");
            Tokens = Math.Min(_tokenizer.MaxLength, network.MaxLength);
            _inputs = new Dictionary<string, TensorShape> { ["input_ids"] = new(1, Tokens) };
            Graph graph = network.Build(_inputs);
            Width = graph.Outputs[outputs[0]].Shape.Channels;
            PooledWidth = outputs.Contains("text_embeds") ? graph.Outputs["text_embeds"].Shape.Channels : 0;
        }
        catch
        {
            _component.Dispose();
            throw;
        }
    }

    /// <summary>The encoder.</summary>
    public ModelComponent Component => _component;

    /// <summary>Outputs that are wanted, the hidden state first.</summary>
    public IReadOnlyList<string> Outputs { get; }

    /// <summary>Shapes of its inputs.</summary>
    public IReadOnlyDictionary<string, TensorShape> Inputs => _inputs;

    /// <summary>Tokens of a prompt.</summary>
    public int Tokens { get; }

    /// <summary>Channels of a token.</summary>
    public int Width { get; }

    /// <summary>Channels of the pooled projection; 0 without one.</summary>
    public int PooledWidth { get; }

    /// <summary>The part of a prompt that does not fit, as the tokenizer sees it, or nothing.</summary>
    public string Dropped(string prompt)
    {
        int[] ids = _tokenizer.Encode(prompt);
        return ids.Length <= Tokens ? "" : _tokenizer.Decode(ids.AsSpan(Tokens - 1));
    }

    /// <summary>A prompt's tokens.</summary>
    public float[] Tokenize(string prompt) => [.. _tokenizer.Encode(prompt, Tokens, out _).Select(id => (float)id)];

    /// <summary>Encodes prompts, one after the other.</summary>
    /// <param name="prompts">Different texts.</param>
    /// <param name="keep">What stays in memory afterwards.</param>
    /// <param name="progress">Share that is done; reading the weights, where they were not kept, counts as much as a prompt.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    public List<IReadOnlyDictionary<string, float[]>> Encode(IReadOnlyList<string> prompts, Keep keep, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        double share = 1.0 / (prompts.Count + 1);
        using ModelComponent.Lease lease = _component.Rent(_inputs, Outputs, keep, new PartialProgress(progress, 0, share), cancellationToken);
        return [.. prompts.Select((prompt, i) => lease.Network.Run(new Dictionary<string, float[]> { ["input_ids"] = Tokenize(prompt) }, new PartialProgress(progress, (i + 1) * share, share), cancellationToken))];
    }

    /// <inheritdoc/>
    public void Dispose() => _component.Dispose();
}
