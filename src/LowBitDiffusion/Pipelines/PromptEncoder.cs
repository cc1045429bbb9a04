using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// Prompts to what the denoising network is told: Stable Diffusion's <c>encoder_hidden_states</c>; SDXL's two encoders side by side, and <c>text_embeds</c> from the second:
/// <code>
/// encoder_hidden_states[token] = [ penultimate₁ | penultimate₂ ]      text_embeds = projection₂
/// </code>
/// </summary>
internal sealed class PromptEncoder : IDisposable
{
    private readonly List<TextEncoder> _encoders = [];
    private readonly bool _zerosForEmpty;

    /// <summary>Opens the encoders.</summary>
    /// <exception cref="ModelFormatException">One is missing or damaged, or they do not fit each other or the denoising network.</exception>
    public PromptEncoder(ModelFolder folder, TextSource source, int width, int pooledWidth, WorkerPool pool, int mostIdle, ComputeDevice? device)
    {
        try
        {
            if (source == TextSource.Clip)
            {
                _encoders.Add(new TextEncoder(folder, "", ["last_hidden_state"], pool, mostIdle, device));
            }
            else
            {
                _zerosForEmpty = folder.Index.GetBool("force_zeros_for_empty_prompt", true);
                _encoders.Add(new TextEncoder(folder, "", ["penultimate_hidden_state"], pool, mostIdle, device));
                _encoders.Add(new TextEncoder(folder, "_2", ["penultimate_hidden_state", "text_embeds"], pool, mostIdle, device));
            }

            TextEncoder last = _encoders[^1];
            if (_encoders[0].Tokens != last.Tokens)
                throw new ModelFormatException(folder.Path, last.Component.Name, $"expected the {_encoders[0].Tokens} tokens of the first text encoder, found {last.Tokens}");
            if (Width != width)
                throw new ModelFormatException(folder.Path, last.Component.Name, $"expected the {width} channels of text that the network takes, found {string.Join(" + ", _encoders.Select(one => one.Width))}");
            if (pooledWidth > 0 && last.PooledWidth != pooledWidth)
                throw new ModelFormatException(folder.Path, last.Component.Name, $"expected a projection to the {pooledWidth} channels that the network takes, found {last.PooledWidth}");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The encoders.</summary>
    public IReadOnlyList<TextEncoder> Encoders => _encoders;

    /// <summary>Tokens of a prompt.</summary>
    public int Tokens => _encoders[0].Tokens;

    private int Width => _encoders.Sum(encoder => encoder.Width);

    /// <summary>Whether a negative prompt is zeros without encoding anything.</summary>
    public bool IsZero(string negativePrompt) => _zerosForEmpty && negativePrompt.Length == 0;

    /// <summary>What of a prompt does not fit, or null.</summary>
    public TruncatedPrompt? Truncated(string prompt)
    {
        string dropped = _encoders.Select(encoder => encoder.Dropped(prompt)).MaxBy(text => text.Length)!;
        return dropped.Length == 0 ? null : new TruncatedPrompt(prompt, dropped, Tokens);
    }

    /// <summary>Encodes prompts: the network's inputs for one image by name.</summary>
    /// <param name="prompts">Different texts.</param>
    /// <param name="keep">What stays in memory afterwards.</param>
    /// <param name="progress">Share that is done, 0 to 1.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    public Dictionary<string, Dictionary<string, float[]>> Encode(IReadOnlyList<string> prompts, Keep keep, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        double share = 1.0 / _encoders.Count;
        List<IReadOnlyDictionary<string, float[]>>[] encoded = [.. _encoders.Select((encoder, i) => encoder.Encode(prompts, keep, new PartialProgress(progress, i * share, share), cancellationToken))];
        Dictionary<string, Dictionary<string, float[]>> conditions = [];
        for (int p = 0; p < prompts.Count; p++)
        {
            Dictionary<string, float[]> one = new() { ["encoder_hidden_states"] = SideBySide([.. _encoders.Select((encoder, e) => encoded[e][p][encoder.Outputs[0]])]) };
            if (encoded[^1][p].TryGetValue("text_embeds", out float[]? pooled)) one.Add("text_embeds", pooled);
            conditions.Add(prompts[p], one);
        }

        return conditions;
    }

    /// <summary>What an empty negative prompt is where <see cref="IsZero"/>.</summary>
    public Dictionary<string, float[]> Zeros() => new() { ["encoder_hidden_states"] = new float[Tokens * Width], ["text_embeds"] = new float[_encoders[^1].PooledWidth] };

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TextEncoder encoder in _encoders) encoder.Dispose();
    }

    private float[] SideBySide(float[][] states)
    {
        if (states.Length == 1) return states[0];
        float[] joined = new float[Tokens * Width];
        int at = 0;
        for (int token = 0; token < Tokens; token++)
        {
            for (int e = 0; e < states.Length; e++)
            {
                int width = _encoders[e].Width;
                states[e].AsSpan(token * width, width).CopyTo(joined.AsSpan(at));
                at += width;
            }
        }

        return joined;
    }
}
