namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>What happens to a tensor besides its name.</summary>
internal enum TensorChange
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>The first third of the rows: queries of a fused projection.</summary>
    FirstThird,
    /// <summary>The second third of the rows: keys.</summary>
    SecondThird,
    /// <summary>The last third of the rows: values.</summary>
    LastThird,
    /// <summary>Rows and columns change places.</summary>
    Transpose,
    /// <summary>A 1×1 convolution <c>[out, in, 1, 1]</c> becomes a matrix <c>[out, in]</c>.</summary>
    Matrix,
}

/// <summary>
/// One line of a table that translates names. Names are words with dots between; in a pattern <c>{i}</c> stands for a number and a last <c>*</c> for the rest of the name:
/// <c>encoder.layers.{i}.ln_1.*</c>. Where several rules match, the tensor is read under several names.
/// </summary>
internal sealed class NameRule
{
    private readonly string[] _old, _new;
    private readonly bool _rest;

    /// <summary>Creates a rule.</summary>
    /// <param name="oldName">Pattern of names in the file.</param>
    /// <param name="newName">The name that is wanted, with the pattern's numbers and its rest put in.</param>
    /// <param name="change">What happens to the tensor.</param>
    public NameRule(string oldName, string newName, TensorChange change = TensorChange.None)
    {
        (_old, _new, Change) = (oldName.Split('.'), newName.Split('.'), change);
        _rest = _old[^1] == "*";
        if (_rest) _old = _old[..^1];
    }

    /// <summary>What happens to the tensor.</summary>
    public TensorChange Change { get; }

    /// <summary>The new name of a tensor, or null if the rule does not match.</summary>
    /// <param name="words">The old name, split at its dots.</param>
    public string? Translate(ReadOnlySpan<string> words)
    {
        if (_rest ? words.Length <= _old.Length : words.Length != _old.Length) return null;
        for (int i = 0; i < _old.Length; i++)
        {
            if (_old[i].StartsWith('{') ? !IsNumber(words[i]) : _old[i] != words[i]) return null;
        }

        List<string> name = [];
        foreach (string word in _new)
        {
            if (word == "*") name.AddRange(words[_old.Length..]);
            else name.Add(word.StartsWith('{') ? words[Array.IndexOf(_old, word)] : word);
        }

        return string.Join('.', name);
    }

    // Without leading zeros, so that no two names of a file become one.
    private static bool IsNumber(string word) => word.Length is > 0 and < 10 && word.All(char.IsAsciiDigit) && (word.Length == 1 || word[0] != '0');
}
