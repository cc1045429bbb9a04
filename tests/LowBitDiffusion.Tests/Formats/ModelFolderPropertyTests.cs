using FsCheck;
using FsCheck.Fluent;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>However a model's files are damaged, it opens or there is a <see cref="ModelFormatException"/>; what opens satisfies the integer contract.</summary>
[TestFixture]
public sealed class ModelFolderPropertyTests
{
    private static readonly QuantizedModule[] s_modules =
    [
        LowBitSample.Module("a", 4, symmetric: false, group: 18),
        LowBitSample.Module("b", 8, channels: true),
        LowBitSample.Module("c", 3, split: 2, splitScales: true, activationBits: 4),
    ];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    private static IEnumerable<string> Files() => ["config.json", ComponentFolder.WeightFile];

    [TestCaseSource(nameof(Files))]
    public void A_damaged_low_bit_network(string damaged)
    {
        QuantizationConfig config = new() { Method = "mse", Default = new ModulePrecision(4, 0, true, 8), Timesteps = LowBitSample.Timesteps };
        LowBitFolder.Write(_folder.Path, JsonConfig.Parse("config.json", "{}"), config, s_modules, new InMemoryTensors());
        Property(File.ReadAllBytes(_folder[damaged]), bytes =>
        {
            File.WriteAllBytes(_folder[damaged], bytes);
            using ComponentFolder component = ComponentFolder.Open(_folder.Path);
            foreach (QuantizedModule module in s_modules)
            {
                if (component.Quantization is null) continue;
                QuantizedModule found = LowBitCodec.Read(component.Weights, component.Quantization, module.Name, module.WeightShape, hasBias: true);
                Assert.That(found.Codes, Has.Length.EqualTo(module.Codes.Length).And.None.EqualTo(sbyte.MinValue));
                Assert.That(found.WeightScales, Has.All.GreaterThan(0f));
                Assert.That(found.Segments.Sum(segment => segment.Count), Is.EqualTo(found.InChannels));
            }
        });
    }

    [Test]
    public void A_damaged_index() => Property("""
        {"_class_name": "P", "unet": ["diffusers", "X"], "id2label": {"0": "\u00e4", "1": "b"}, "null_label": 2, "default_guidance_scale": -Infinity, "x": [null, 1.5e3, true]}
        """u8.ToArray(), bytes =>
    {
        _folder.Write("model_index.json", bytes);
        ModelFolder model = ModelFolder.Open(_folder.Path);
        Assert.That(model.Components.Keys, Has.None.Contains("/"));
    });

    /// <summary>Few changes, so that damage reaches beyond the parser.</summary>
    private static void Property(byte[] valid, Action<byte[]> open)
    {
        Gen<(int At, byte Value)> change = from at in Gen.Choose(0, valid.Length - 1) from value in Gen.Frequency((3, Gen.Choose(0x20, 0x7e)), (1, Gen.Choose(0, 255))) select (at, (byte)value);
        Assert.That(() => open(valid), Throws.Nothing, "undamaged");
        Prop.ForAll(change.ListOf().ToArbitrary(), changes =>
        {
            byte[] bytes = [.. valid];
            foreach ((int at, byte value) in changes.Take(3)) bytes[at] = value;
            try
            {
                open(bytes);
            }
            catch (ModelFormatException)
            {
                // The one error that is allowed.
            }

            return true;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(1000).WithReplay(20240229, 7));
    }
}
