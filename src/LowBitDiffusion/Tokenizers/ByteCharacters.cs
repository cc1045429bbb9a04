namespace LowBitDiffusion.Tokenizers;

/// <summary>A printable character for every byte (Radford et al. 2019): itself where it is printable Latin-1, else the next from U+0100 on.</summary>
internal static class ByteCharacters
{
    /// <summary>Character of byte i.</summary>
    public static IReadOnlyList<string> All { get; } = Create();

    /// <summary>The byte of such a character.</summary>
    public static byte ByteOf(char character) => Bytes.GetValueOrDefault(character, (byte)'?');

    private static Dictionary<char, byte> Bytes { get; } = All.Select((text, value) => (text[0], value)).ToDictionary(pair => pair.Item1, pair => (byte)pair.value);

    private static string[] Create()
    {
        string[] characters = new string[256];
        int next = 0x100;
        for (int value = 0; value < characters.Length; value++)
        {
            bool printable = value is >= '!' and <= '~' or >= 0xA1 and <= 0xAC or >= 0xAE;
            characters[value] = ((char)(printable ? value : next++)).ToString();
        }

        return characters;
    }
}
