namespace LowBitDiffusion;

/// <summary>Base of every error this library raises about a model, a request or the machine. Its message is one line that says what, where, expected and found.</summary>
public abstract class LowBitDiffusionException : Exception
{
    /// <summary>Creates the error.</summary>
    protected LowBitDiffusionException(string message, Exception? inner = null) : base(message, inner)
    {
    }
}

/// <summary>A model file or folder is missing, damaged or not what it says it is.</summary>
public sealed class ModelFormatException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="file">The file or folder at fault.</param>
    /// <param name="tensor">The tensor or configuration key at fault, if one is.</param>
    /// <param name="problem">What is wrong, with what was expected and what was found.</param>
    /// <param name="inner">The underlying error, if any.</param>
    public ModelFormatException(string file, string? tensor, string problem, Exception? inner = null)
        : base(tensor is null ? $"{file}: {problem}" : $"{file}: '{tensor}': {problem}", inner)
    {
        File = file;
        Tensor = tensor;
    }

    /// <summary>The file or folder at fault.</summary>
    public string File { get; }

    /// <summary>The tensor or configuration key at fault, if one is.</summary>
    public string? Tensor { get; }
}

/// <summary>A request asks for something the model cannot do: a label out of range, too many steps, a wrong size.</summary>
public sealed class InvalidRequestException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="parameter">The request's parameter at fault.</param>
    /// <param name="problem">What is wrong, with what was expected and what was found.</param>
    public InvalidRequestException(string parameter, string problem) : base($"{parameter}: {problem}") => Parameter = parameter;

    /// <summary>The request's parameter at fault.</summary>
    public string Parameter { get; }
}

/// <summary>A device cannot be used, or failed while it worked: it is not there, its driver refuses, its memory is full. The message names the device and the driver's own error.</summary>
public sealed class DeviceException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="device">The device, e.g. <c>opencl:0</c>.</param>
    /// <param name="problem">What is wrong.</param>
    /// <param name="inner">The underlying error, if any.</param>
    public DeviceException(string device, string problem, Exception? inner = null) : base($"{device}: {problem}", inner) => Device = device;

    /// <summary>The device.</summary>
    public string Device { get; }
}

/// <summary>An output could not be written: no permission, no space, a path that is not a file.</summary>
public sealed class OutputException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="path">The output that could not be written.</param>
    /// <param name="problem">Why.</param>
    /// <param name="inner">The underlying error, if any.</param>
    public OutputException(string path, string problem, Exception? inner = null) : base($"{path}: {problem}", inner) => Path = path;

    /// <summary>The output that could not be written.</summary>
    public string Path { get; }
}
