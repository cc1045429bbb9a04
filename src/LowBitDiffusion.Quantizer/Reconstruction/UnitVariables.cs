using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>What is learned of a unit's layers, and how fast.</summary>
internal sealed class UnitVariables
{
    private readonly FakeQuantizedLayer[] _layers;

    public UnitVariables(TrainingModel model, ReconstructionUnit unit, ReconstructionOptions options)
    {
        _layers = [.. unit.Modules.Where(model.Layers.ContainsKey).Select(module => model.Layers[module])];
        List<LearnedVariable> learned = [];
        void Add(Variable variable, double rate, bool constant = false)
        {
            // Layers that read one value may share its quantizer.
            if (rate > 0 && learned.All(known => known.Variable != variable)) learned.Add(new LearnedVariable(variable, rate, constant ? Schedules.Constant : Schedules.Cosine));
        }

        double StepRate(Variable steps, double rate) => options.RelativeStepRates ? rate * steps.Value.Average() : rate;
        foreach (FakeQuantizedLayer layer in _layers)
        {
            if (layer.Weight is RoundedWeight rounded) Add(rounded.Alpha, options.RoundingRate, constant: true);
            if (layer.Weight is LearnedWeight weight)
            {
                Add(weight.Base, options.RelativeWeightRate ? options.WeightRate * weight.Scales.Value.Average() : options.WeightRate);
                Add(weight.Scales, StepRate(weight.Scales, options.WeightStepRate));
                foreach (Variable factor in weight.Adapter) Add(factor, options.AdapterRate);
            }

            if (layer.Input is not { } input) continue;
            Add(input.Scales, StepRate(input.Scales, options.InputStepRate));
            Add(input.ZeroPoints, options.InputZeroPointRate);
        }

        Learned = learned;
    }

    public IReadOnlyList<LearnedVariable> Learned { get; }

    /// <summary>The layers with learned rounding.</summary>
    public IEnumerable<RoundedWeight> Rounded => _layers.Select(layer => layer.Weight).OfType<RoundedWeight>();

    /// <summary>Opens the unit for learning, or closes it: variables fixed, rounding decided.</summary>
    public void SetLearning(bool learning)
    {
        foreach (FakeQuantizedLayer layer in _layers)
        {
            foreach (Variable variable in layer.Variables) variable.Trainable = false;
            layer.Weight.Settled = !learning;
        }

        foreach (RoundedWeight weight in Rounded)
        {
            weight.Hard = !learning;
            weight.Alpha.Trainable = false;
        }

        if (!learning) return;
        foreach (LearnedVariable learned in Learned) learned.Variable.Trainable = true;
    }

    /// <summary>Frees what only learning needs.</summary>
    public void Rest()
    {
        foreach (LearnedVariable learned in Learned) learned.Rest();
    }
}
