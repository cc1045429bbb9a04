using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>
/// A file from which a training run goes on as if it had never stopped: learned values, moments of their optimizers, counters, and a fingerprint of all that a resumed run must share. A safetensors file;
/// the counters are its metadata.
/// </summary>
internal sealed class TrainingState
{
    private readonly List<(TensorInfo, byte[])> _tensors = [];
    private readonly Dictionary<string, string> _metadata;

    /// <summary>Begins a state to be written.</summary>
    /// <param name="format">What kind of run.</param>
    /// <param name="fingerprint">Of this run (<see cref="Fingerprint"/>).</param>
    public TrainingState(string format, string fingerprint) => _metadata = new Dictionary<string, string> { ["format"] = format, ["fingerprint"] = fingerprint };

    /// <summary>A number for a run: its settings and everything it learns, at its initial values.</summary>
    public static string Fingerprint(string settings, IEnumerable<LearnedVariable> learned)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(settings));
        foreach (LearnedVariable one in learned)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(one.Variable.Name));
            hash.AppendData(MemoryMarshal.AsBytes<float>(one.Variable.Value));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    public TrainingState Counter(string name, double value)
    {
        _metadata.Add(name, value.ToString("R", CultureInfo.InvariantCulture));
        return this;
    }

    public TrainingState Numbers(string name, float[] values)
    {
        if (values.Length > 0) _tensors.Add((new TensorInfo(name, DType.F32, [values.Length]), TensorConversion.FromSingles(DType.F32, values)));
        return this;
    }

    /// <summary>Takes a variable, and its optimizer if that is at work.</summary>
    public TrainingState Learned(LearnedVariable learned, bool optimizer)
    {
        Numbers($"value.{learned.Variable.Name}", learned.Variable.Value);
        return optimizer ? Numbers($"first.{learned.Variable.Name}", learned.Optimizer.FirstMoment).Numbers($"second.{learned.Variable.Name}", learned.Optimizer.SecondMoment) : this;
    }

    /// <summary>Writes the file; the old one stays until the new one is complete.</summary>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Save(string path) => SafeTensorsWriter.Write(path, _tensors, _metadata);

    /// <summary>Opens a saved state.</summary>
    /// <exception cref="ModelFormatException">The file is damaged, or belongs to another model, calibration set or settings.</exception>
    public static Reader Open(string path, string format, string fingerprint)
    {
        SafeTensorsFile file = SafeTensorsFile.Open(path);
        try
        {
            Require("format", format);
            Require("fingerprint", fingerprint);
            return new Reader(path, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }

        void Require(string key, string expected)
        {
            string found = file.Metadata.GetValueOrDefault(key, "nothing");
            if (found != expected) throw new ModelFormatException(path, key, $"the saved state belongs to another run: expected {expected}, found {found}");
        }
    }

    /// <summary>A saved state.</summary>
    internal sealed class Reader(string path, SafeTensorsFile file) : IDisposable
    {
        public double Counter(string name, double last)
        {
            string text = file.Metadata.GetValueOrDefault(name, "nothing");
            return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= 0 && value <= last
                ? value
                : throw new ModelFormatException(path, name, $"expected a number from 0 to {last}, found {text}");
        }

        /// <summary>Numbers of a name; none if there is no such name.</summary>
        public float[] Numbers(string name) => file.Tensors.ContainsKey(name) ? file.ReadSingles(name) : [];

        public float[] Numbers(string name, int length)
        {
            float[] values = file.ReadSingles(name);
            return values.Length == length ? values : throw new ModelFormatException(file.Origin, name, $"expected {length} elements, found {values.Length}");
        }

        /// <summary>Sets a variable, and its optimizer if that had made updates.</summary>
        public void Learned(LearnedVariable learned, int updates)
        {
            int length = learned.Variable.Value.Length;
            Numbers($"value.{learned.Variable.Name}", length).CopyTo(learned.Variable.Value, 0);
            if (updates == 0) return;
            Numbers($"first.{learned.Variable.Name}", length).CopyTo(learned.Optimizer.FirstMoment, 0);
            Numbers($"second.{learned.Variable.Name}", length).CopyTo(learned.Optimizer.SecondMoment, 0);
            learned.Optimizer.Steps = updates;
        }

        public void Dispose() => file.Dispose();
    }
}
