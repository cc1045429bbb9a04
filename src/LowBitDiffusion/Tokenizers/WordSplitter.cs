using System.Globalization;
using System.Text;

namespace LowBitDiffusion.Tokenizers;

/// <summary>
/// Splits a text as CLIP's pattern does: <c>'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+</c>; white space is dropped. Written out because .NET's regular expressions
/// see halves of characters beyond U+FFFF.
/// </summary>
internal static class WordSplitter
{
    private static readonly string[] Contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum Kind
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <summary>The words of a text in lower case, in order.</summary>
    public static IEnumerable<string> Split(string text)
    {
        for (int start = 0; start < text.Length;)
        {
            int end = start + (Contractions.FirstOrDefault(contraction => string.CompareOrdinal(text, start, contraction, 0, contraction.Length) == 0)?.Length ?? 0);
            if (end == start)
            {
                Kind kind = KindAt(text, ref end);
                if (kind is Kind.Letter or Kind.Other)
                {
                    for (int next = end; next < text.Length && KindAt(text, ref next) == kind;) end = next;
                }

                if (kind == Kind.Space)
                {
                    start = end;
                    continue;
                }
            }

            yield return text[start..end];
            start = end;
        }
    }

    /// <summary>The kind of the character at a position, which moves behind it.</summary>
    private static Kind KindAt(string text, ref int position)
    {
        Rune rune = Rune.GetRuneAt(text, position);
        position += rune.Utf16SequenceLength;
        if (Rune.IsWhiteSpace(rune)) return Kind.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            <= UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
