using System.Text.Json;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>Tests around a tiny float model, which each finds in a folder of its own.</summary>
internal abstract class TinyModelFixture
{
    /// <summary>The test's folder; the model is in <c>float</c>.</summary>
    protected TemporaryFolder Folder { get; private set; } = null!;

    [SetUp]
    public void WriteModel()
    {
        Folder = new TemporaryFolder();
        TinyModel.Write(Folder["float"]);
    }

    [TearDown]
    public void RemoveFolder() => Folder.Dispose();

    /// <summary>A JSON file of the folder.</summary>
    protected JsonElement Json(string file) => JsonDocument.Parse(File.ReadAllBytes(Folder[file])).RootElement;
}
