namespace LowBitDiffusion.Quantizer.Training;

/// <summary>Numbers that change while a network is trained.</summary>
public static class Schedules
{
    /// <summary>The same throughout.</summary>
    public static double Constant(double start, int step, int total) => start;

    /// <summary>Cosine annealing to zero: <c>(1 + cos(π·step/total))/2</c> of the start.</summary>
    public static double Cosine(double start, int step, int total) => start * (1 + Math.Cos(Math.PI * step / total)) / 2;

    /// <summary>A line from the start to zero, reached at <paramref name="total"/>.</summary>
    public static double Linear(double start, int step, int total) => start * (1 - (double)step / total);

    /// <summary>
    /// β of AdaRound's regulariser: null (no regulariser) for the first <paramref name="warmup"/> of the iterations, then a line from <paramref name="start"/> to <paramref name="end"/>.
    /// </summary>
    public static double? AdaRoundBeta(int step, int total, double start = 20, double end = 2, double warmup = 0.2)
    {
        double begin = warmup * total;
        if (step < begin) return null;
        double progress = (step - begin) / (total - begin);
        return end + (start - end) * Math.Max(0, 1 - progress);
    }
}
