namespace LowBitDiffusion.Schedulers;

/// <summary>The model calls of a run: their timesteps and the noise level of the sample at each.</summary>
/// <param name="Prediction">What the model predicts.</param>
/// <param name="Timesteps">One per call.</param>
/// <param name="Levels">One per call.</param>
internal record CallPlan(PredictionType Prediction, float[] Timesteps, NoiseLevel[] Levels)
{
    /// <summary>The <c>prediction_type</c> of a configuration.</summary>
    public static PredictionType ReadPrediction(SchedulerConfig config) => config.Choice(
        "prediction_type",
        "epsilon",
        ("epsilon", PredictionType.Epsilon),
        ("sample", PredictionType.Sample),
        ("v_prediction", PredictionType.Velocity));
}
