using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Imaging.Plotting;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>One thing that was learned: a block, or the network as a whole.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">What it is.</param>
/// <param name="SqnrBefore">Signal to quantization noise of its output before, in decibels.</param>
/// <param name="SqnrAfter">The same once learned.</param>
/// <param name="Iterations">Updates made.</param>
/// <param name="Losses">Loss curve: means over equal stretches of the iterations.</param>
public sealed record LearnedPart(string Name, string Kind, double? SqnrBefore, double? SqnrAfter, int Iterations, IReadOnlyList<float> Losses);

/// <summary>How a method learned.</summary>
public sealed record TrainingReport
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>The method.</summary>
    public required string Method { get; init; }

    /// <summary>Ingredients that were left out.</summary>
    public IReadOnlyList<string> Without { get; init; } = [];

    /// <summary>Hyper-parameters, the paper's but for those that the budget changed: name and value.</summary>
    public required IReadOnlyDictionary<string, double> Settings { get; init; }

    /// <summary>Everything that was learned, in order.</summary>
    public required IReadOnlyList<LearnedPart> Parts { get; init; }

    /// <summary>Seconds that learning took, interruptions left out.</summary>
    public required double Seconds { get; init; }

    /// <summary>Most memory that the process held, in bytes.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Loss curves of all parts, each as a share of its first value.</summary>
    public LinePlot LossPlot() => new()
    {
        Title = $"{Method}: loss while learning",
        XLabel = "share of the iterations",
        YLabel = "loss / first loss",
        LogarithmicY = true,
        Series = [.. Parts.Where(part => part.Losses.Count > 1 && part.Losses[0] > 0).Select(part => new PlotSeries(
            part.Name, [.. Enumerable.Range(1, part.Losses.Count).Select(i => (double)i / part.Losses.Count)], [.. part.Losses.Select(loss => (double)loss / part.Losses[0])]))],
    };

    /// <summary>Signal to quantization noise of all parts before and after.</summary>
    public LinePlot SqnrPlot()
    {
        double[] places = [.. Enumerable.Range(1, Parts.Count).Select(i => (double)i)];
        return new()
        {
            Title = $"{Method}: signal to quantization noise of each part",
            XLabel = "part, in the order in which they were learned",
            YLabel = "dB",
            Series = [new("before", places, [.. Parts.Select(part => part.SqnrBefore ?? double.NaN)]), new("after", places, [.. Parts.Select(part => part.SqnrAfter ?? double.NaN)])],
        };
    }

    /// <summary>UTF-8 JSON with keys in snake case.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, s_json);
}
