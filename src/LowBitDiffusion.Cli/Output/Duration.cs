using System.Globalization;
using System.Text.RegularExpressions;

namespace LowBitDiffusion.Cli.Output;

/// <summary>Times as people write them.</summary>
internal static partial class Duration
{
    /// <summary>Reads <c>90s</c>, <c>20m</c>, <c>1.5h</c>; null for <c>paper</c>, no limit but the paper's iterations.</summary>
    /// <exception cref="InvalidRequestException">Neither.</exception>
    public static TimeSpan? Parse(string parameter, string text)
    {
        if (text == "paper") return null;
        Match match = Pattern().Match(text);
        double number = match.Success ? double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) : 0;
        double seconds = number * (match.Groups[2].Value switch { "s" => 1, "m" => 60, _ => 3600 });
        return seconds is > 0 and < 1e8 ? TimeSpan.FromSeconds(seconds) : throw new InvalidRequestException(parameter, $"expected a time such as 90s, 20m or 2h, or 'paper', found '{text}'");
    }

    [GeneratedRegex(@"^(\d+(?:\.\d+)?)([smh])$", RegexOptions.CultureInvariant)]
    private static partial Regex Pattern();
}
