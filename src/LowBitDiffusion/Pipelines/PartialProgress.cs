namespace LowBitDiffusion.Pipelines;

/// <summary>Progress of one part among several, told as that of the whole; may be told from several threads.</summary>
internal sealed class PartialProgress(IProgress<double>? whole, double start, double share) : IProgress<double>
{
    /// <inheritdoc/>
    public void Report(double value) => whole?.Report(start + share * value);
}
