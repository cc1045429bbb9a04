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
    /// <summary>The numbers for a model.</summary>
    public static PictureCounts For(ModelDescription model) => model.DrawsLatents ? new(8, 1, 2, 8, 1) : new(64, 8, 8, 1024, 32);
}
