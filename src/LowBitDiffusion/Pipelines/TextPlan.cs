using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Pipelines;

/// <summary>The text of a request: prompts to encode, or embeddings that were encoded elsewhere; and sizes where the network is told of them.</summary>
internal sealed class TextPlan
{
    private readonly GenerationRequest _request;
    private readonly DiffusionModel _model;
    private readonly PromptEmbeddings? _embeddings;

    private TextPlan(GenerationRequest request, DiffusionModel model)
    {
        (_request, _model, _embeddings) = (request, model, request.PromptEmbeddings);
        IReadOnlyDictionary<string, TensorShape> inputs = model.Denoiser.Network.NativeInputs(1);
        if (_embeddings is not null)
        {
            if (request.Prompts.Count > 0 || request.NegativePrompt.Length > 0) throw new InvalidRequestException("prompt embeddings", "expected prompts or embeddings, found both");
            (Count, Tokens) = (_embeddings.Count, _embeddings.Tokens);
            CheckEmbeddings(_embeddings, inputs);
        }
        else if (model.Text is { } encoder)
        {
            if (request.Prompts.Count == 0) throw new InvalidRequestException("prompt", "expected a prompt, found none");
            (Count, Tokens) = (request.Prompts.Count, encoder.Tokens);
        }
        else
        {
            throw new InvalidRequestException("prompt embeddings", $"expected embeddings, because {model.Description.Folder} has no text encoder that is supported, found {(request.Prompts.Count > 0 ? "a prompt" : "none")}");
        }
    }

    /// <summary>Prompts, or embeddings: one for all images, or one per image.</summary>
    public int Count { get; }

    /// <summary>Tokens of each.</summary>
    public int Tokens { get; }

    /// <summary>Whether prompts are to be encoded.</summary>
    public bool NeedsEncoder => _embeddings is null;

    /// <summary>Whether some tokens do not count.</summary>
    public bool HasMask => _embeddings?.Tensors.Keys.Any(name => name.EndsWith("encoder_attention_mask", StringComparison.Ordinal)) ?? false;

    /// <summary>The text of a request; null for a model without.</summary>
    /// <exception cref="InvalidRequestException">It does not fit the model.</exception>
    public static TextPlan? Create(GenerationRequest request, DiffusionModel model)
    {
        if (model.Description.TakesText) return new TextPlan(request, model);
        if (request.Prompts.Count > 0 || request.NegativePrompt.Length > 0) throw new InvalidRequestException("prompt", "expected none, because the model takes no text, found one");
        if (request.PromptEmbeddings is not null) throw new InvalidRequestException("prompt embeddings", "expected none, because the model takes no text, found some");
        return null;
    }

    /// <summary>Checks that there is something to guide away from.</summary>
    /// <exception cref="InvalidRequestException">There is not.</exception>
    public void CheckGuidance(float guidance)
    {
        if (_embeddings is { HasNegative: false } && !_model.ZerosForNoPrompt)
            throw new InvalidRequestException("guidance", $"expected 1, because {_embeddings.Origin} has no negative_encoder_hidden_states, found {guidance}");
    }

    /// <summary>The different texts to encode.</summary>
    public IReadOnlyList<string> ToEncode(bool guided)
    {
        if (!NeedsEncoder) return [];
        return [.. (guided && !_model.Text!.IsZero(_request.NegativePrompt) ? _request.Prompts.Append(_request.NegativePrompt) : _request.Prompts).Distinct()];
    }

    /// <summary>An image's prompt, or null.</summary>
    public string? Prompt(int image) => NeedsEncoder ? _request.Prompts[Math.Min(image, Count - 1)] : null;

    /// <summary>What of an image's texts does not fit the encoder.</summary>
    public IReadOnlyList<TruncatedPrompt> Truncated(int image, bool guided)
    {
        if (Prompt(image) is not { } prompt) return [];
        return [.. new[] { prompt, guided ? _request.NegativePrompt : "" }.Select(text => _model.Text!.Truncated(text)).OfType<TruncatedPrompt>()];
    }

    /// <summary>What the network is told of every image.</summary>
    public ConditionSet Conditions(IReadOnlyDictionary<string, Dictionary<string, float[]>> encoded, int images, bool guided, int height, int width)
    {
        IReadOnlyDictionary<string, TensorShape> inputs = _model.Denoiser.Network.NativeInputs(1);
        return new ConditionSet(
            [.. Enumerable.Range(0, images).Select(i => Complete(_embeddings?.Prompt(i) ?? encoded[Prompt(i)!]))],
            guided ? Complete(Unconditional()) : null);

        Dictionary<string, float[]> Unconditional()
        {
            if (_embeddings is { HasNegative: true }) return _embeddings.NegativePrompt();
            if (_embeddings is not null) return _embeddings.Prompt(0).ToDictionary(row => row.Key, row => new float[row.Value.Length]);
            return _model.Text!.IsZero(_request.NegativePrompt) ? _model.Text.Zeros() : encoded[_request.NegativePrompt];
        }

        Dictionary<string, float[]> Complete(Dictionary<string, float[]> text)
        {
            Dictionary<string, float[]> row = text.Where(part => inputs.ContainsKey(part.Key)).ToDictionary();
            if (HasMask) row["encoder_attention_mask"] = text.GetValueOrDefault("encoder_attention_mask") ?? [.. Enumerable.Repeat(1f, Tokens)];
            if (inputs.ContainsKey("time_ids"))
            {
                (int h, int w) original = _request.OriginalSize ?? (height, width), target = _request.TargetSize ?? (height, width);
                row["time_ids"] = [original.h, original.w, _request.Crop.Top, _request.Crop.Left, target.h, target.w];
            }

            if (inputs.ContainsKey("resolution")) (row["resolution"], row["aspect_ratio"]) = ([height, width], [(float)height / width]);
            return row;
        }
    }

    private static void CheckEmbeddings(PromptEmbeddings embeddings, IReadOnlyDictionary<string, TensorShape> inputs)
    {
        foreach ((string name, (TensorShape shape, _)) in embeddings.Tensors)
        {
            string input = name[(name.IndexOf("encoder_", StringComparison.Ordinal) is >= 0 and int at ? at : name.IndexOf("text_", StringComparison.Ordinal))..];
            if (input == "encoder_attention_mask") continue;
            if (!inputs.TryGetValue(input, out TensorShape? expected)) throw new InvalidRequestException("prompt embeddings", $"{embeddings.Origin}: the network has no input {input}");
            if (shape.Channels != expected.Channels)
                throw new InvalidRequestException("prompt embeddings", $"{embeddings.Origin}: {name}: expected the {expected.Channels} channels that the network takes, found {shape}");
        }

        if (inputs.ContainsKey("text_embeds") && !embeddings.Tensors.ContainsKey("text_embeds")) throw new InvalidRequestException("prompt embeddings", $"{embeddings.Origin}: expected text_embeds, found none");
        if (inputs.ContainsKey("text_embeds") && embeddings.HasNegative && !embeddings.Tensors.ContainsKey("negative_text_embeds"))
            throw new InvalidRequestException("prompt embeddings", $"{embeddings.Origin}: expected negative_text_embeds, found none");
    }
}
