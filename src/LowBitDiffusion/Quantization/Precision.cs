using System.Globalization;
using System.Text.RegularExpressions;

namespace LowBitDiffusion.Quantization;

/// <summary>Bits of a layer's weight and activation, or float.</summary>
/// <param name="WeightBits">Bits of a weight code, 2 to 8; 0 for a layer in float.</param>
/// <param name="ActivationBits">Bits of an activation code, 2 to 8; 0 for a layer in float.</param>
public readonly partial record struct Precision(int WeightBits, int ActivationBits)
{
    /// <summary>Not quantized.</summary>
    public static Precision Float => default;

    /// <summary>Whether the layer is not quantized.</summary>
    public bool IsFloat => WeightBits == 0;

    /// <summary>Reads <c>float</c> or <c>w4a8</c>.</summary>
    /// <exception cref="InvalidRequestException">Neither, or bits outside 2 to 8.</exception>
    public static Precision Parse(string text)
    {
        if (text == "float") return Float;
        Match match = Bits().Match(text);
        return match.Success
            ? new Precision(int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture), int.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture))
            : throw new InvalidRequestException("precision", $"expected float or w<bits>a<bits> with 2 to 8 bits, such as w4a8, found '{text}'");
    }

    /// <inheritdoc/>
    public override string ToString() => IsFloat ? "float" : $"w{WeightBits}a{ActivationBits}";

    [GeneratedRegex("^w([2-8])a([2-8])$", RegexOptions.CultureInvariant)]
    private static partial Regex Bits();
}
