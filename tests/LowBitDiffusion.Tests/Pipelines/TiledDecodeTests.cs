using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>Decoding in tiles differs from decoding at once by what each tile's group norms and attention see, and by no seam.</summary>
public sealed class TiledDecodeTests
{
    [Test]
    public void Tiles_cover_an_axis_with_weights_that_sum_to_one()
    {
        Prop.ForAll(Gen.Choose(1, 200).Four().ToArbitrary(), drawn =>
        {
            (int extent, int size, int overlapOf, int factorOf) = drawn;
            int overlap = overlapOf % size, factor = 1 + factorOf % 8;
            TileAxis axis = new(extent, new DecodeTiling(size, overlap), factor);
            double[] sums = new double[extent * factor];
            for (int tile = 0; tile < axis.Starts.Count; tile++)
            {
                if (tile > 0 && axis.Starts[tile - 1] + axis.Size - axis.Starts[tile] < overlap) return false;
                for (int p = 0; p < axis.Size * factor; p++) sums[axis.Starts[tile] * factor + p] += axis.Weights(tile)[p];
            }

            return sums.All(sum => Math.Abs(sum - 1) < 1e-5) && axis.Starts[0] == 0 && axis.Starts[^1] + axis.Size == extent;
        }).QuickCheckThrowOnFailure();
    }

    [Test]
    public void One_tile_is_the_whole_latent()
    {
        float[] latent = RandomModel.Normal(new Random(1), 4 * 12 * 9);

        Assert.That(Decode(latent, 12, 9, new DecodeTiling(16, 4)), Is.EqualTo(Decode(latent, 12, 9, null)));
    }

    // The golden autoencoder is random and its latents are noise: its norms and its attention vary from tile to tile more than those of trained ones do on pictures.
    [TestCase(24, 8, 0.12, TestName = "Tiles of 24 with 8 shared")]
    [TestCase(32, 8, 0.08, TestName = "Tiles of 32 with 8 shared")]
    public void Tiles_differ_little_and_without_seams(int size, int overlap, double bound)
    {
        const int factor = 4;
        int height = 2 * size, width = 2 * size, columns = width * factor, rows = height * factor;
        float[] latent = RandomModel.Normal(new Random(5), 4 * height * width);

        float[] whole = Decode(latent, height, width, null), tiled = Decode(latent, height, width, new DecodeTiling(size, overlap));
        float[] difference = [.. whole.Zip(tiled, (a, b) => b - a)];

        double error = Rms(difference) / Rms(whole);
        double jump = Rms(Jumps(tiled, 0, columns, rows)), usual = Rms(Jumps(whole, 0, columns, rows)), ofDifference = Jumps(difference, 0, columns, rows).Max(Math.Abs) / usual;
        TestContext.Out.WriteLine($"relative error {error:g3}, jumps between neighbours {jump:g4} instead of {usual:g4}, largest jump of the difference {ofDifference:g3} of a usual one");
        Assert.That(error, Is.LessThan(bound), "error against the whole latent");
        Assert.That(jump, Is.EqualTo(usual).Within(3).Percent, "difference of neighbouring pixels");

        // Without overlap there is a seam, so that this test would show one.
        double seam = SeamJump(Decode(latent, height, width, new DecodeTiling(size, 0)), whole, size), blended = SeamJump(tiled, whole, size);
        TestContext.Out.WriteLine($"jump of the difference at the tile's end: {seam:g3} without overlap, {blended:g3} with");
        Assert.That(blended, Is.LessThan(seam / 2), "jump at the tile's end");

        double SeamJump(float[] found, float[] whole, int size)
        {
            float[] difference = [.. whole.Zip(found, (a, b) => b - a)];
            return Rms([.. Enumerable.Range(0, 3 * rows).Select(line => difference[line * columns + size * factor] - difference[line * columns + size * factor - 1])]);
        }
    }

    private static double Rms(float[] values) => Math.Sqrt(values.Average(value => (double)value * value));

    private static float[] Jumps(float[] image, int plane, int columns, int rows) =>
        [.. Enumerable.Range(0, (columns - 1) * rows).Select(i => plane * columns * rows + i / (columns - 1) * columns + i % (columns - 1)).Select(i => image[i + 1] - image[i])];

    private static float[] Decode(float[] latent, int height, int width, DecodeTiling? tiling)
    {
        using TemporaryFolder folder = new();
        using WorkerPool pool = new(2);
        using LatentAutoencoder autoencoder = new(new ModelComponent(ModelFolder.Open(TinyFolder.DiT(folder.Path)), "vae", ["AutoencoderKL"], pool, 1));
        using LatentDecoder decoder = autoencoder.Decoder(height, width, tiling, Keep.Everything, default);
        return decoder.Decode(latent, progress: null, default);
    }
}
