namespace LowBitDiffusion.Formats;

/// <summary>Where the parts of a model are: a folder in diffusers' layout, or a single file that is read as if it were one.</summary>
internal interface IModelFiles
{
    /// <summary>The folder or file.</summary>
    string Path { get; }

    /// <summary>Whether a component has weights.</summary>
    bool HasWeights(string component);

    /// <summary>Names of a component's files other than weights: configurations, vocabularies; of the model itself for an empty name.</summary>
    IReadOnlyList<string> Files(string component);

    /// <summary>Reads such a file.</summary>
    /// <exception cref="ModelFormatException">It is missing or cannot be read.</exception>
    byte[] Read(string component, string file);

    /// <summary>Reads such a file as a configuration.</summary>
    /// <exception cref="ModelFormatException">It is missing, cannot be read or is not a JSON object.</exception>
    JsonConfig Config(string component, string file);

    /// <summary>A component's folder, or null where it is none.</summary>
    string? FolderOf(string component);

    /// <summary>Opens a component that has weights.</summary>
    /// <exception cref="ModelFormatException">It is missing or damaged.</exception>
    ComponentFolder Open(string component);
}
