using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>
/// All that a reconstruction needs to go on as if it had never stopped, in a safetensors file: learned values of the finished units and the present one, its optimizers' moments, counters. Random
/// numbers are functions of seed, unit and iteration, so the counters are their state too.
/// </summary>
internal sealed class ReconstructionState
{
    private const string Format = "lowbit-reconstruction-1";

    private readonly IReadOnlyList<UnitVariables> _units;
    private readonly string _fingerprint;

    /// <param name="units">What each unit learns, at its initial values.</param>
    /// <param name="setting">A description of everything else that a resumed run must share.</param>
    public ReconstructionState(IReadOnlyList<UnitVariables> units, string setting)
    {
        _units = units;
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(setting));
        foreach (Variable variable in units.SelectMany(unit => unit.Learned).Select(learned => learned.Variable))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(variable.Name));
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(variable.Value));
        }

        _fingerprint = Convert.ToHexStringLower(hash.GetHashAndReset());
        Sqnr = new float[2 * units.Count];
        Losses = [.. units.Select(_ => new List<float>())];
    }

    /// <summary>The unit that is learned.</summary>
    public int Unit { get; set; }

    /// <summary>Updates made of it.</summary>
    public int Iteration { get; set; }

    /// <summary>Sum of losses since the last report.</summary>
    public double LossSum { get; set; }

    /// <summary>Before and after of every unit.</summary>
    public float[] Sqnr { get; private set; }

    /// <summary>Loss curve of every unit.</summary>
    public IReadOnlyList<List<float>> Losses { get; }

    /// <summary>Writes the state; the old file stays until the new one is complete.</summary>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Save(string path)
    {
        List<(TensorInfo, byte[])> tensors = [];
        void Add(string name, float[] values)
        {
            if (values.Length > 0) tensors.Add((new TensorInfo(name, DType.F32, [values.Length]), TensorConversion.FromSingles(DType.F32, values)));
        }

        for (int unit = 0; unit <= Unit && unit < _units.Count; unit++)
        {
            Add($"losses.{unit}", [.. Losses[unit]]);
            foreach (LearnedVariable learned in _units[unit].Learned)
            {
                Add($"value.{learned.Variable.Name}", learned.Variable.Value);
                if (unit < Unit || Iteration == 0) continue;
                Add($"first.{learned.Variable.Name}", learned.Optimizer.FirstMoment);
                Add($"second.{learned.Variable.Name}", learned.Optimizer.SecondMoment);
            }
        }

        Add("sqnr", Sqnr);
        SafeTensorsWriter.Write(path, tensors, new Dictionary<string, string>
        {
            ["format"] = Format,
            ["fingerprint"] = _fingerprint,
            ["unit"] = Unit.ToString(CultureInfo.InvariantCulture),
            ["iteration"] = Iteration.ToString(CultureInfo.InvariantCulture),
            ["loss_sum"] = LossSum.ToString("R", CultureInfo.InvariantCulture),
        });
    }

    /// <summary>Takes up a saved state.</summary>
    /// <exception cref="ModelFormatException">The file is damaged, or belongs to another model, calibration set or settings.</exception>
    public void Load(string path)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        Require(path, "format", Format, file);
        Require(path, "fingerprint", _fingerprint, file);
        Unit = (int)Number(path, "unit", _units.Count, file);
        Iteration = (int)Number(path, "iteration", int.MaxValue, file);
        LossSum = Number(path, "loss_sum", double.MaxValue, file);
        Sqnr = Read(file, "sqnr", Sqnr.Length);
        for (int unit = 0; unit <= Unit && unit < _units.Count; unit++)
        {
            if (file.Tensors.TryGetValue($"losses.{unit}", out TensorInfo? losses)) Losses[unit].AddRange(Read(file, losses.Name, (int)losses.Shape[0]));
            foreach (LearnedVariable learned in _units[unit].Learned)
            {
                int length = learned.Variable.Value.Length;
                Read(file, $"value.{learned.Variable.Name}", length).CopyTo(learned.Variable.Value, 0);
                if (unit < Unit || Iteration == 0) continue;
                Read(file, $"first.{learned.Variable.Name}", length).CopyTo(learned.Optimizer.FirstMoment, 0);
                Read(file, $"second.{learned.Variable.Name}", length).CopyTo(learned.Optimizer.SecondMoment, 0);
                learned.Optimizer.Steps = Iteration;
            }
        }
    }

    private static void Require(string path, string key, string expected, SafeTensorsFile file)
    {
        string found = file.Metadata.GetValueOrDefault(key, "nothing");
        if (found != expected) throw new ModelFormatException(path, key, $"the saved state belongs to another run: expected {expected}, found {found}");
    }

    private static double Number(string path, string key, double last, SafeTensorsFile file)
    {
        string text = file.Metadata.GetValueOrDefault(key, "nothing");
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= 0 && value <= last
            ? value
            : throw new ModelFormatException(path, key, $"expected a number from 0 to {last}, found {text}");
    }

    private static float[] Read(SafeTensorsFile file, string name, int length)
    {
        float[] values = file.ReadSingles(name);
        return values.Length == length ? values : throw new ModelFormatException(file.Origin, name, $"expected {length} elements, found {values.Length}");
    }
}
