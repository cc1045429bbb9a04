using System.Globalization;
using System.Text;

namespace LowBitDiffusion.Tokenizers;

/// <summary>Unicode normalization form C (UAX #15): characters taken apart, marks put in order, pairs put together again.</summary>
internal static class CanonicalComposition
{
    // Below this every character is its own normal form.
    private const int FirstMark = 0x300;

    // Hangul syllables are L·V or L·V·T (Unicode 3.12).
    private const int SyllableBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TrailBase = 0x11A7;
    private const int Leads = 19, Vowels = 21, Trails = 28, Syllables = Leads * Vowels * Trails;

    private static readonly Lazy<Tables> Data = new(Tables.Parse);

    /// <summary>The normal form; half surrogate pairs become U+FFFD.</summary>
    public static string Normalize(string text)
    {
        if (text.All(c => c < FirstMark)) return text;
        Tables data = Data.Value;
        List<int> characters = [];
        foreach (Rune rune in text.EnumerateRunes()) Decompose(data, rune.Value, characters);
        Order(data, characters);
        Compose(data, characters);
        StringBuilder result = new(text.Length);
        foreach (int character in characters) result.Append(new Rune(character).ToString());
        return result.ToString();
    }

    private static void Decompose(Tables data, int character, List<int> to)
    {
        int syllable = character - SyllableBase;
        if (syllable is >= 0 and < Syllables)
        {
            to.Add(LeadBase + syllable / (Vowels * Trails));
            to.Add(VowelBase + syllable / Trails % Vowels);
            if (syllable % Trails > 0) to.Add(TrailBase + syllable % Trails);
        }
        else if (data.Decompositions.TryGetValue(character, out (int First, int Second) parts))
        {
            Decompose(data, parts.First, to);
            if (parts.Second > 0) Decompose(data, parts.Second, to);
        }
        else
        {
            to.Add(character);
        }
    }

    /// <summary>Sorts each run of marks by class; marks of one class keep their order.</summary>
    private static void Order(Tables data, List<int> characters)
    {
        for (int start = 0; start < characters.Count; start++)
        {
            if (data.ClassOf(characters[start]) == 0) continue;
            int end = start;
            while (end < characters.Count && data.ClassOf(characters[end]) > 0) end++;
            int[] ordered = [.. characters[start..end].OrderBy(data.ClassOf)];
            for (int i = 0; i < ordered.Length; i++) characters[start + i] = ordered[i];
            start = end;
        }
    }

    /// <summary>Each character joins the last starter before it unless another of its class or higher, or a starter, stands between.</summary>
    private static void Compose(Tables data, List<int> characters)
    {
        int starter = -1, lastClass = 0, written = 0;
        foreach (int character in characters.ToArray())
        {
            int combiningClass = data.ClassOf(character);
            bool blocked = starter < 0 || (written - 1 > starter && (lastClass == 0 || lastClass >= combiningClass));
            if (!blocked && Pair(data, characters[starter], character) is { } composed)
            {
                characters[starter] = composed;
                continue;
            }

            if (combiningClass == 0) starter = written;
            lastClass = combiningClass;
            characters[written++] = character;
        }

        characters.RemoveRange(written, characters.Count - written);
    }

    private static int? Pair(Tables data, int first, int second)
    {
        int lead = first - LeadBase, vowel = second - VowelBase;
        if (lead is >= 0 and < Leads && vowel is >= 0 and < Vowels) return SyllableBase + (lead * Vowels + vowel) * Trails;
        int syllable = first - SyllableBase, trail = second - TrailBase;
        if (syllable is >= 0 and < Syllables && syllable % Trails == 0 && trail is > 0 and < Trails) return first + trail;
        return data.Compositions.TryGetValue((first, second), out int composed) ? composed : null;
    }

    private sealed record Tables(Dictionary<int, (int First, int Second)> Decompositions, Dictionary<(int First, int Second), int> Compositions, Dictionary<int, int> Classes)
    {
        public int ClassOf(int character) => Classes.GetValueOrDefault(character);

        public static Tables Parse()
        {
            Tables tables = new([], [], []);
            foreach (string entry in Entries(CanonicalData.Decompositions))
            {
                bool excluded = entry.StartsWith('!');
                int[] numbers = [.. entry.TrimStart('!').Split(' ').Select(Hexadecimal)];
                (int First, int Second) parts = (numbers[1], numbers.ElementAtOrDefault(2));
                tables.Decompositions.Add(numbers[0], parts);
                if (!excluded && parts.Second > 0) tables.Compositions.Add(parts, numbers[0]);
            }

            foreach (string entry in Entries(CanonicalData.CombiningClasses))
            {
                string[] numbers = entry.Split(' ');
                for (int character = Hexadecimal(numbers[0]); character <= Hexadecimal(numbers[1]); character++)
                    tables.Classes.Add(character, int.Parse(numbers[2], CultureInfo.InvariantCulture));
            }

            return tables;
        }

        private static string[] Entries(string table) => table.Split([';', '\n', '\r'], StringSplitOptions.RemoveEmptyEntries);

        private static int Hexadecimal(string number) => int.Parse(number, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
