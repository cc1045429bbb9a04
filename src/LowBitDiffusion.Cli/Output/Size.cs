using System.Globalization;
using System.Text.RegularExpressions;

namespace LowBitDiffusion.Cli.Output;

/// <summary>Sizes in bytes as people write them.</summary>
internal static partial class Size
{
    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// <summary>Bytes of <c>512MB</c>, <c>1.5 GiB</c>, <c>800k</c>, <c>1048576</c>. Units are powers of 1024, with or without the i.</summary>
    /// <exception cref="InvalidRequestException">Not a size.</exception>
    public static long Parse(string parameter, string text)
    {
        Match match = Pattern().Match(text);
        if (!match.Success || !double.TryParse(match.Groups["number"].Value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number))
            throw new InvalidRequestException(parameter, $"expected a size such as 512MB or 1.5GB, found '{text}'");
        int power = "kmgt".IndexOf(match.Groups["unit"].Value.ToLowerInvariant(), StringComparison.Ordinal) + (match.Groups["unit"].Length > 0 ? 1 : 0);
        double bytes = number * Math.Pow(1024, power);
        return bytes is >= 1 and < long.MaxValue ? (long)bytes : throw new InvalidRequestException(parameter, $"expected at least one byte and fewer than 2^63, found '{text}'");
    }

    /// <summary>A size for people, with one decimal.</summary>
    public static string Format(long bytes)
    {
        double value = bytes;
        int unit = 0;
        for (; value >= 1024 && unit < s_units.Length - 1; unit++) value /= 1024;
        return value.ToString(unit == 0 ? "0" : "0.0", CultureInfo.InvariantCulture) + " " + s_units[unit];
    }

    [GeneratedRegex(@"^\s*(?<number>\d+(\.\d+)?)\s*(?<unit>[kmgt]?)(i?b)?\s*$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Pattern();
}
