using System.Globalization;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>How the figures of an evaluation are written, wherever they are shown; empty where there is none.</summary>
public static class Figures
{
    /// <summary>A PSNR; pictures without a difference have none.</summary>
    public static string Psnr(double? decibels) => decibels is null ? "equal" : Write(decibels, "0.00 dB");

    /// <summary>A structural similarity.</summary>
    public static string Ssim(double? similarity) => Write(similarity, "0.0000");

    /// <summary>A share: label accuracy, bit operations of float's.</summary>
    public static string Share(double? share) => Write(share, "0.0 %");

    /// <summary>A Fréchet distance.</summary>
    public static string Distance(double? distance) => Write(distance, "0.000");

    private static string Write(double? figure, string format) => figure?.ToString(format, CultureInfo.InvariantCulture) ?? "";
}
