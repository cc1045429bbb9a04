using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>How many pictures are drawn, and how many at once, where nobody says. A picture of a model that draws latents takes its network seconds a step, so there are few.</summary>
/// <param name="Calibration">Trajectories that activation ranges and corrections are collected from.</param>
/// <param name="CalibrationBatch">Of these at once.</param>
/// <param name="Report">Trajectories behind a quality report.</param>
/// <param name="Evaluation">Pictures that a model is judged by.</param>
/// <param name="EvaluationBatch">Of these at once.</param>
internal sealed record PictureCounts(int Calibration, int CalibrationBatch, int Report, int Evaluation, int EvaluationBatch)
{
    // A prompt file may have thousands of lines.
    private const int MostTexts = 256, TextBatch = 8;

    /// <summary>The numbers for a model.</summary>
    public static PictureCounts For(ModelDescription model) => For(model.DrawsLatents);

    /// <summary>The numbers for a network; an autoencoder's for latents, drawn or not.</summary>
    /// <param name="model">The network.</param>
    /// <param name="texts">How many different texts there are for it.</param>
    public static PictureCounts For(SourceModel model, int texts)
    {
        if (model.Network is not ClipTextModel) return For(model.Description?.DrawsLatents ?? true);
        int count = Math.Min(texts, MostTexts);
        return new(count, Math.Min(count, TextBatch), count, count, TextBatch);
    }

    private static PictureCounts For(bool latents) => latents ? new(8, 1, 2, 8, 1) : new(64, 8, 8, 1024, 32);
}
