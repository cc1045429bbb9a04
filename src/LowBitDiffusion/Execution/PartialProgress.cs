namespace LowBitDiffusion.Execution;

/// <summary>Progress of one part of a work, told to the whole.</summary>
/// <param name="whole">Told the fraction of the whole; from any thread.</param>
/// <param name="start">Where the part begins, 0 to 1.</param>
/// <param name="share">How much of the whole it is.</param>
internal sealed class PartialProgress(IProgress<double>? whole, double start, double share) : IProgress<double>
{
    /// <inheritdoc/>
    public void Report(double value) => whole?.Report(start + share * value);
}
