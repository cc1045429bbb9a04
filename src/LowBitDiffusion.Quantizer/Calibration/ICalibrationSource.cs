using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>Runs the network that is looked at.</summary>
/// <param name="call">Index into <see cref="ICalibrationSource.Timesteps"/>.</param>
/// <param name="inputs">All of its inputs by name.</param>
/// <returns>Its outputs by name.</returns>
public delegate IReadOnlyDictionary<string, float[]> NetworkCall(int call, IReadOnlyDictionary<string, float[]> inputs);

/// <summary>Told a result by which two networks are compared.</summary>
/// <param name="point">Index into <see cref="ICalibrationSource.Points"/>.</param>
/// <param name="values">What came out; valid while it is told.</param>
public delegate void ResultObserver(int point, ReadOnlySpan<float> values);

/// <summary>A result by which two networks are compared.</summary>
/// <param name="Output">The network's output; null for the sample that a sampler makes of it.</param>
/// <param name="Timestep">The timestep of the call after which it is compared.</param>
/// <param name="Range">The range that counts as peak; null for that of the float network's values.</param>
public sealed record ComparisonPoint(string? Output, float Timestep, double? Range);

/// <summary>
/// What a network is shown while it is quantized. Items are numbered without end, and some are shown at once, in a pass of one call or, where an input depends on what the network said before, of several:
/// <code>
///   denoiser        trajectories: noise to picture, a call for each step           <see cref="TrajectorySource"/>
///   autoencoder     latents and their pictures, for both halves in one call        <see cref="AutoencoderSource"/>
///   text encoder    tokens of texts                                                <see cref="TokenSource"/>
/// </code>
/// All else (ranges, calibration sets, distillation, reports) knows nothing but this.
/// </summary>
public interface ICalibrationSource
{
    /// <summary>Shapes of the network's inputs in every call.</summary>
    IReadOnlyDictionary<string, TensorShape> InputShapes { get; }

    /// <summary>Items of a pass.</summary>
    int Items { get; }

    /// <summary>The timestep of every call of a pass; a network without a timestep has one call, at 0.</summary>
    IReadOnlyList<float> Timesteps { get; }

    /// <summary>How many of the first items are worth looking at: there are no others, or each takes its time. Null for as many as one likes.</summary>
    int? Worthwhile { get; }

    /// <summary>What two networks are compared by after a pass.</summary>
    IReadOnlyList<ComparisonPoint> Points { get; }

    /// <summary>Shows items.</summary>
    /// <param name="first">Number of the first item.</param>
    /// <param name="run">Runs the network.</param>
    /// <param name="onResult">Told every point of <see cref="Points"/>.</param>
    /// <param name="cancellationToken">Checked between layers and calls.</param>
    void Pass(int first, NetworkCall run, ResultObserver? onResult = null, CancellationToken cancellationToken = default);

    /// <summary>What is made of an output before anybody sees it: a sampler's guided prediction.</summary>
    float[] Result(string output, float[] values) => values;

    /// <summary>The gradient of an output of <paramref name="length"/> elements, from that of <see cref="Result"/>.</summary>
    float[] ResultBackward(string output, float[] gradient, int length) => gradient;
}

/// <summary>Makes a source that shows so many items at once.</summary>
public delegate ICalibrationSource CalibrationSourceFactory(int items);
