using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Tests.Quantizers;

/// <summary>Ranges of activations are found without storing activations.</summary>
[TestFixture]
internal sealed class RangeObserverTests
{
    private static readonly float[][] s_batches = [[-1, 0.5f, 3], [-2, 1], [-0.5f, 4, 2, 0]];

    [Test]
    public void MinMaxSpansAllBatches()
    {
        AffineQuantizer quantizer = Observe(new MinMaxObserver(), s_batches).Quantizer(8);
        Assert.That(quantizer, Is.EqualTo(AffineQuantizer.FromRange(-2, 4, 8)));
    }

    [Test]
    public void MovingAverageStartsFromTheFirstBatch()
    {
        AffineQuantizer quantizer = Observe(new EmaMinMaxObserver(), s_batches).Quantizer(8);
        double min = 0.95 * (0.95 * -1 + 0.05 * -2) + 0.05 * -0.5, max = 0.95 * (0.95 * 3 + 0.05 * 1) + 0.05 * 4;
        Assert.That(quantizer, Is.EqualTo(AffineQuantizer.FromRange(min, max, 8)));
    }

    [Test]
    public void MovingAverageCountsABatchInPiecesOnce()
    {
        EmaMinMaxObserver observer = new();
        observer.Observe([-1]);
        observer.Observe([5]);
        observer.EndBatch();
        Assert.That(observer.Quantizer(4), Is.EqualTo(AffineQuantizer.FromRange(-1, 5, 4)));
    }

    [TestCase(4)]
    [TestCase(8)]
    public void HistogramSearchComesCloseToTheExactSearch(int bits)
    {
        Random random = new(3);
        float[] values = [.. Enumerable.Range(0, 20_000).Select(_ => Silu(2 * Gaussian(random)))];
        HistogramObserver observer = new();
        observer.Observe(values);
        RangeSearchResult<AffineQuantizer> exact = RangeSearch.Affine(values, bits), approximate = observer.Search(bits);
        Assert.That(approximate.Score, Is.EqualTo(exact.Score).Within(1).Percent, "score of the histogram");
        double achieved = values.Average(x => Math.Pow(Math.Abs(x - approximate.Quantizer.Apply(x)), RangeSearch.Exponent));
        Assert.That(achieved, Is.LessThan(1.01 * exact.Score), "true score of the histogram's choice");
    }

    [Test]
    public void GridIsNeverWorseThanShrinkingBothEndsAlike([Values(2, 3, 4, 8)] int bits, [Values(0.5, 2, 6)] double spread)
    {
        Random random = new(5);
        float[] values = [.. Enumerable.Range(0, 4_000).Select(_ => Silu((float)spread * Gaussian(random)))];
        Assert.That(RangeSearch.Affine(values, bits, grid: true).Score, Is.LessThanOrEqualTo(RangeSearch.Affine(values, bits).Score));
    }

    [Test]
    public void GridKeepsTheNegativeLobeThatAZeroPointRoundedToZeroWouldLose()
    {
        // SiLU's lobe below one value far above the rest: both ends shrunk alike keep their ratio, and with it the zero point 15·0.27/9.27, rounded to 0.
        float[] values = [.. Enumerable.Range(0, 3_000).Select(i => -0.27f + i % 5 * 0.01f), .. Enumerable.Range(0, 300).Select(i => i / 300f * 4), 9];
        AffineQuantizer alike = RangeSearch.Affine(values, 4).Quantizer, grid = RangeSearch.Affine(values, 4, grid: true).Quantizer;
        Assert.That(alike.ZeroPoint, Is.Zero, "shrunk alike");
        Assert.That(grid.ZeroPoint, Is.GreaterThan(0), "grid");
        Assert.That(Noise(grid), Is.LessThan(0.5 * Noise(alike)), "squared error");

        double Noise(AffineQuantizer quantizer) => values.Sum(x => Math.Pow(x - quantizer.Apply(x), 2));
    }

    [Test]
    public void HistogramDependsOnTheValuesAlone()
    {
        Gen<float[]> values = ArbMap.Default.GeneratorFor<NormalFloat>().Select(x => (float)Math.Clamp(x.Get, -1e30, 1e30)).ArrayOf();
        Prop.ForAll(values.ToArbitrary(), ArbMap.Default.ArbFor<PositiveInt>(), (all, size) =>
        {
            HistogramObserver whole = new(), pieces = new();
            whole.Observe(all);
            foreach (float[] chunk in all.Reverse().Chunk(size.Get)) pieces.Observe(chunk);
            return whole.Bins.SequenceEqual(pieces.Bins) && whole.Bins.Sum(b => b.Count) == all.Length && whole.Search(4) == pieces.Search(4);
        }).QuickCheckThrowOnFailure();
    }

    [Test]
    public void HistogramStaysSmallAndFine()
    {
        HistogramObserver observer = new();
        observer.Observe([0, 0, 0]);
        observer.Observe([1e-20f]);
        observer.Observe([-3, 1000]);
        Assert.That(observer.Bins.Sum(b => b.Count), Is.EqualTo(6), "no value is lost while the bins grow");
        Assert.That(1003 / observer.BinWidth, Is.InRange(HistogramObserver.MaxBins / 2 - 2, HistogramObserver.MaxBins), "bins over the range");
    }

    [TestCase(RangeMethod.MinMax)]
    [TestCase(RangeMethod.EmaMinMax)]
    [TestCase(RangeMethod.Mse)]
    [TestCase(RangeMethod.Grid)]
    public void NothingSeenIsAnEmptyRange(RangeMethod method) =>
        Assert.That(RangeObserver.Create(method).Quantizer(8), Is.EqualTo(new AffineQuantizer(1, 0, 8)));

    [TestCase(RangeMethod.MinMax, float.NaN)]
    [TestCase(RangeMethod.EmaMinMax, float.PositiveInfinity)]
    [TestCase(RangeMethod.Mse, float.NegativeInfinity)]
    [TestCase(RangeMethod.Grid, float.NaN)]
    public void ValuesMustBeFinite(RangeMethod method, float value) =>
        Assert.That(() => RangeObserver.Create(method).Observe([.. new float[20], value]), Throws.ArgumentException);

    [Test]
    public void HalvesOfASplitHaveRangesOfTheirOwn()
    {
        ActivationRange statistics = new([1], RangeMethod.MinMax, splitChannel: 2);
        statistics.Observe(0, [1, 2, -3, -4, -1, 1, -2, -1], channels: 4);
        Assert.That(statistics[0, 0].Seen, Is.EqualTo(new ValueRange(-1, 2)), "first half");
        Assert.That(statistics[0, 1].Seen, Is.EqualTo(new ValueRange(-4, 0)), "second half");
    }

    [Test]
    public void EveryTimestepHasAnEntry()
    {
        ActivationRange statistics = new([10, 20], RangeMethod.MinMax);
        statistics.Observe(0, [-1, 2], channels: 2);
        statistics.Observe(1, [-2, 1], channels: 2);
        TimestepTable table = statistics.ToTable(4);
        foreach ((float timestep, double min, double max) in new[] { (10f, -1.0, 2.0), (20f, -2.0, 1.0) })
        {
            AffineQuantizer expected = AffineQuantizer.FromRange(min, max, 4);
            Assert.That(table.At(timestep), Is.EqualTo((expected.Scale, expected.ZeroPoint)), $"timestep {timestep}");
        }
    }

    [Test]
    public void DilatedChannelsAreDividedFirst()
    {
        ActivationRange statistics = new([0], RangeMethod.MinMax, channelScales: [1, 4]);
        statistics.Observe(0, [1, 8, 2, 4], channels: 2);
        Assert.That(statistics[0, 0].Seen, Is.EqualTo(new ValueRange(0, 2)), "8 / 4 and 2 are the largest");
    }

    private static RangeObserver Observe(RangeObserver observer, float[][] batches)
    {
        foreach (float[] batch in batches)
        {
            observer.Observe(batch);
            observer.EndBatch();
        }

        return observer;
    }

    private static float Gaussian(Random random) => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

    private static float Silu(float x) => x / (1 + MathF.Exp(-x));
}
