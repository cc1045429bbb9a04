using System.Text.Json.Nodes;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Tests.Schedulers;

namespace LowBitDiffusion.Tests.Randomness;

/// <summary>torch's CPU generator: integers and uniforms to the bit, normals within the last bits of a float.</summary>
public sealed class TorchCpuGeneratorTests
{
    private const float NormalTolerance = 1e-6f;

    private static readonly TestCaseData[] Seeds =
    [
        .. SamplingGoldens.Cases("rng").SelectMany(item => SamplingGoldens.Read((string)item["name"]! + ".json")["seeds"]!.AsArray())
            .Select(seed => new TestCaseData(seed).SetArgDisplayNames((string)seed!["seed"]!.ToString())),
    ];

    [TestCaseSource(nameof(Seeds))]
    public void WordsAreThoseOfMt19937(JsonNode golden)
    {
        TorchCpuGenerator generator = Seeded(golden);
        foreach (JsonNode? expected in golden["raw_uint32"]!.AsArray()) Assert.That(generator.NextUInt32(), Is.EqualTo((uint)expected!));
    }

    [TestCaseSource(nameof(Seeds))]
    public void NormalsAreThoseOfTorch(JsonNode golden)
    {
        foreach (JsonNode? draw in golden["randn"]!.AsArray())
        {
            float[] expected = draw!["values"].Floats();
            float[] actual = new float[expected.Length];
            Seeded(golden).FillNormal(actual);
            Assert.That(actual, Is.EqualTo(expected).Within(NormalTolerance), $"randn of {expected.Length} values");
        }

        foreach (JsonNode? draw in golden["randn_float64"]!.AsArray())
        {
            double[] expected = [.. draw!["values"]!.AsArray().Select(value => (double)value!)];
            double[] actual = new double[expected.Length];
            Seeded(golden).FillNormal(actual);
            Assert.That(actual, Is.EqualTo(expected).Within(1e-14), $"double randn of {expected.Length} values");
        }
    }

    [TestCaseSource(nameof(Seeds))]
    public void UniformsAreThoseOfTorch(JsonNode golden)
    {
        foreach (JsonNode? draw in golden["rand"]!.AsArray())
        {
            float[] expected = draw!["values"].Floats();
            float[] actual = new float[expected.Length];
            Seeded(golden).FillUniform(actual);
            Assert.That(actual, Is.EqualTo(expected), $"rand of {expected.Length} values");
        }

        foreach (JsonNode? draw in golden["rand_float64"]!.AsArray())
        {
            double[] expected = [.. draw!["values"]!.AsArray().Select(value => (double)value!)];
            double[] actual = new double[expected.Length];
            Seeded(golden).FillUniform(actual);
            Assert.That(actual, Is.EqualTo(expected), $"double rand of {expected.Length} values");
        }
    }

    [TestCaseSource(nameof(Seeds))]
    public void IntegersAndPermutationsAreThoseOfTorch(JsonNode golden)
    {
        foreach (JsonNode? draw in golden["randint"]!.AsArray())
        {
            long[] expected = [.. draw!["values"]!.AsArray().Select(value => (long)value!)];
            long[] actual = new long[expected.Length];
            Seeded(golden).FillIntegers((long)draw["low"]!, (long)draw["high"]!, actual);
            Assert.That(actual, Is.EqualTo(expected), $"randint from {draw["low"]} to {draw["high"]}");
        }

        foreach (JsonNode? draw in golden["randperm"]!.AsArray())
        {
            int[] expected = draw!["values"].Integers();
            int[] actual = new int[expected.Length];
            Seeded(golden).FillPermutation(actual);
            Assert.That(actual, Is.EqualTo(expected), $"randperm of {expected.Length}");
        }
    }

    [TestCaseSource(nameof(Seeds))]
    public void MixedDrawsOfOneGeneratorAreThoseOfTorch(JsonNode golden)
    {
        TorchCpuGenerator generator = Seeded(golden);
        JsonArray sequence = golden["one_generator_sequence"]!.AsArray();
        for (int i = 0; i < sequence.Count; i++)
        {
            string kind = (string)sequence[i]!["op"]!;
            float[] expected = sequence[i]!["values"].Floats();
            Assert.That(
                Draw(generator, kind, expected.Length),
                Is.EqualTo(expected).Within(kind == "randn" ? NormalTolerance : 0),
                $"draw {i}, {kind} of {expected.Length}");
        }
    }

    // First and last values of torch.randn(1, 1, 32, 32).
    [TestCase(0ul, new[] { -1.12583983f, -1.15236020f, -0.250578582f, -0.433878809f }, new[] { -1.63396192f, 0.537426710f, 1.08261299f, -1.71046841f })]
    [TestCase(1ul, new[] { -1.5255959f, -0.7502318f, -0.65398091f, -1.60948479f }, new[] { 0.00158541522f, 0.16362053f, 0.84141912f, 1.05615246f })]
    [TestCase(2ul, new[] { -1.04080117f, 0.91660416f, -1.30419040f, -1.10967839f }, new[] { -0.21565524f, -0.24026562f, 1.22522295f, 0.67190385f })]
    public void TheNoiseOfASmallImageIsThatOfTorch(ulong seed, float[] first, float[] last)
    {
        float[] noise = new float[32 * 32];
        new TorchCpuGenerator(seed).FillNormal(noise);
        Assert.That(noise[..4], Is.EqualTo(first).Within(NormalTolerance), "first values");
        Assert.That(noise[^4..], Is.EqualTo(last).Within(NormalTolerance), "last values");
    }

    [Test]
    public void OnlyTheLow32BitsOfTheSeedCount() =>
        Assert.That(new TorchCpuGenerator(5 + (1ul << 32)).NextUInt32(), Is.EqualTo(new TorchCpuGenerator(5).NextUInt32()));

    [Test]
    public void AnEmptyRangeOfIntegersIsRefused() =>
        Assert.That(() => new TorchCpuGenerator(0).FillIntegers(3, 3, new long[1]), Throws.InstanceOf<ArgumentOutOfRangeException>());

    private static float[] Draw(TorchCpuGenerator generator, string kind, int size)
    {
        float[] values = new float[size];
        switch (kind)
        {
            case "randn":
                generator.FillNormal(values);
                return values;
            case "rand":
                generator.FillUniform(values);
                return values;
            case "randint100":
                long[] integers = new long[size];
                generator.FillIntegers(0, 100, integers);
                return Array.ConvertAll(integers, i => (float)i);
            case "randperm":
                int[] permutation = new int[size];
                generator.FillPermutation(permutation);
                return Array.ConvertAll(permutation, i => (float)i);
            default:
                throw new NotSupportedException($"the golden sequence has a draw of unknown kind {kind}");
        }
    }

    private static TorchCpuGenerator Seeded(JsonNode golden) => new((ulong)golden["seed"]!);
}
