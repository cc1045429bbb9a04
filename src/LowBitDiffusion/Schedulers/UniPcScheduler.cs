using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// UniPC: Zhao, Bai, Rao, Zhou and Lu, "A Unified Predictor-Corrector Framework" (2023). The corrector improves the sample of the last step with the model
/// output at the point it
/// reached, without another call; then the predictor steps on. Both are, with <c>D_k = (m_k − m0)/r_k</c> and <c>r_k = (λ_k − λ0)/h</c>,
/// <code>
/// clean sample predicted:   x' = σ'/σ x − α' (φ₁ m0 + B Σ ρ_k D_k)       φ₁ = e^g − 1,  g = −h
/// noise predicted:          x' = α'/α x − σ' (φ₁ m0 + B Σ ρ_k D_k)                       g = +h
/// </code>
/// where B is g (bh1) or φ₁ (bh2) and ρ solves the Vandermonde system <c>Σ_k r_k^{i−1} ρ_k = i! φ_{i+1} / B</c>, i = 1 … order. The corrector adds the new
/// output as r = 1. At order 2 the
/// predictor's ρ, and at order 1 the corrector's, is ½ as in the authors' code.
/// </summary>
internal sealed class UniPcScheduler : Scheduler
{
    private readonly int _order;
    private readonly bool _predictsOriginal;
    private readonly bool _bh1;
    private readonly bool _lowerOrderFinal;
    private readonly HashSet<int> _uncorrected;
    private readonly OriginalLimiter _limiter;
    private readonly History _outputs;
    private readonly float[] _current;
    private readonly float[] _start;
    private readonly double[] _ratios;
    private readonly double[] _weights;
    private readonly double[] _matrix;
    private int _lastOrder;

    public UniPcScheduler(SchedulerConfig config, SamplingRun run) : base(run, Plan(config, run))
    {
        config.RefuseFlags("use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "use_dynamic_shifting");
        foreach (string key in new[] { "solver_p", "shift_terminal", "sigma_min", "sigma_max" })
        {
            if (config.Has(key)) throw config.Error(key, "is not supported, expected null");
        }

        _order = config.Integer("solver_order", 2, 1, 3);
        _predictsOriginal = config.Flag("predict_x0", true);
        _bh1 = config.Choice("solver_type", "bh2", ("bh1", true), ("bh2", false));
        _lowerOrderFinal = config.Flag("lower_order_final", true);
        _uncorrected = [.. (config.Numbers("disable_corrector") ?? []).Select(step => (int)step)];
        _limiter = new OriginalLimiter(config, run, clipByDefault: null, knowsThresholding: _predictsOriginal);
        _outputs = new History(_order, run.SampleLength);
        (_current, _start) = (new float[run.SampleLength], new float[run.SampleLength]);
        (_ratios, _weights, _matrix) = (new double[_order], new double[_order], new double[_order * _order]);
    }

    protected override OriginalLimiter Limiter => _limiter;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        if (_predictsOriginal) ToOriginal(Level(call), prediction, sample, _current);
        else ToNoise(Level(call), prediction, sample, _current);
        if (CallsMade > 0 && !_uncorrected.Contains(call - 1))
        {
            _start.CopyTo(sample);
            Move(sample, call - 1, _lastOrder, _current);
        }

        _current.CopyTo(_outputs.Push());
        sample.CopyTo(_start);
        _lastOrder = OrderAt(call);
        Move(sample, call, _lastOrder, corrected: []);
    }

    // The last step may lead to σ = 0, infinitely far in λ, or stay where it is (a final σ that is the last call's): only order 1 has a limit there.
    private int OrderAt(int call)
    {
        int order = Math.Min(_order, CallsMade + 1);
        int left = Timesteps.Count - call;
        if (left == 1 && (Level(call + 1).Sigma == 0 || Level(call + 1) == Level(call))) return 1;
        return _lowerOrderFinal ? Math.Min(order, left) : order;
    }

    private void Move(Span<float> sample, int call, int order, ReadOnlySpan<float> corrected)
    {
        (NoiseLevel from, NoiseLevel to) = (Level(call), Level(call + 1));
        double h = to.Lambda - from.Lambda;
        double g = _predictsOriginal ? -h : h;
        double phi = double.IsNegativeInfinity(g) ? -1 : Math.Exp(g) - 1;
        double b = _bh1 ? g : phi;
        double scale = _predictsOriginal ? -to.Alpha : -to.Sigma;
        int unknowns = corrected.IsEmpty ? order - 1 : order;
        for (int k = 0; k < order - 1; k++) _ratios[k] = (Level(call - k - 1).Lambda - from.Lambda) / h;
        _ratios[order - 1] = 1;
        Weigh(order, unknowns, g, phi, b);

        sample.Scale(_predictsOriginal ? to.Sigma / from.Sigma : to.Alpha / from.Alpha);
        double ofNewest = phi;
        for (int k = 0; k < unknowns; k++)
        {
            double factor = b * _weights[k] / _ratios[k];
            ofNewest -= factor;
            sample.Add(scale * factor, k == order - 1 ? corrected : _outputs[k + 1]);
        }

        sample.Add(scale * ofNewest, _outputs[0]);
    }

    private void Weigh(int order, int unknowns, double g, double phi, double b)
    {
        if (unknowns == 0) return;
        if (unknowns == 1)
        {
            _weights[0] = 0.5;
            return;
        }

        double factorial = 1;
        double phiNext = phi / g - 1;
        for (int i = 0; i < unknowns; i++)
        {
            for (int k = 0; k < unknowns; k++) _matrix[i * unknowns + k] = Math.Pow(_ratios[k], i);
            _weights[i] = phiNext * factorial / b;
            factorial *= i + 2;
            phiNext = phiNext / g - 1 / factorial;
        }

        SolveInPlace(_matrix, _weights.AsSpan(0, unknowns));
    }

    // Gaussian elimination with the largest pivot of a column; at most 3 unknowns.
    private static void SolveInPlace(Span<double> matrix, Span<double> right)
    {
        int n = right.Length;
        for (int column = 0; column < n; column++)
        {
            int pivot = column;
            for (int row = column + 1; row < n; row++)
            {
                if (Math.Abs(matrix[row * n + column]) > Math.Abs(matrix[pivot * n + column])) pivot = row;
            }

            for (int k = 0; k < n; k++) (matrix[column * n + k], matrix[pivot * n + k]) = (matrix[pivot * n + k], matrix[column * n + k]);
            (right[column], right[pivot]) = (right[pivot], right[column]);
            for (int row = 0; row < n; row++)
            {
                if (row == column) continue;
                double factor = matrix[row * n + column] / matrix[column * n + column];
                for (int k = column; k < n; k++) matrix[row * n + k] -= factor * matrix[column * n + k];
                right[row] -= factor * right[column];
            }
        }

        for (int i = 0; i < n; i++) right[i] /= matrix[i * n + i];
    }

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run)
    {
        var schedule = new SigmaSchedule(NoiseSchedule.FromConfig(config));
        TimestepSpacing spacing = TimestepGrid.ReadSpacing(config, "linspace");
        float[] grid = TimestepGrid.WithoutLast(spacing, config.TrainSteps, config.TrainSteps, run.Steps, TimestepGrid.ReadOffset(config));
        bool endsClean = config.Choice("final_sigmas_type", "zero", ("zero", true), ("sigma_min", false));
        return SigmaPlan.Preserving(config, run, schedule, grid, endsClean);
    }
}
