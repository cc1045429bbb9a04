using System.Runtime.InteropServices;
using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Every file that PyTorch and diffusers wrote for the golden cases can be read.</summary>
[TestFixture]
public sealed class GoldenFilesTests
{
    private static IEnumerable<string> Files(string pattern) => Directory.EnumerateFiles(Repository.GoldenFolder, pattern, SearchOption.AllDirectories).Order(StringComparer.Ordinal);

    private static IEnumerable<TestCaseData> TensorFiles() => Named(Files("*.safetensors"));

    private static IEnumerable<TestCaseData> ConfigFiles() => Named(Files("config.json").Concat(Files("scheduler_config.json")));

    private static IEnumerable<TestCaseData> ModelCases()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(Repository.Golden("index.json")));
        foreach (JsonElement entry in index.RootElement.GetProperty("cases").EnumerateArray().Where(entry => entry.GetProperty("kind").GetString() == "model"))
            yield return new TestCaseData(entry.GetProperty("name").GetString(), entry.GetProperty("class").GetString(), entry.GetProperty("parameters").GetInt64()).SetArgDisplayNames(entry.GetProperty("name").GetString()!);
    }

    [TestCaseSource(nameof(TensorFiles))]
    public async Task A_file_reads_the_same_in_place_and_streamed(string path)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        await using FileStream content = File.OpenRead(path);
        SafeTensorsStream stream = await SafeTensorsStream.OpenAsync(content, path);
        int tensors = 0;
        await foreach ((TensorInfo info, byte[] bytes) in stream.ReadTensorsAsync())
        {
            tensors++;
            Assert.That(bytes.AsSpan().SequenceEqual(file.ReadBytes(info.Name)), Is.True, info.Name);
            float[] values = file.ReadSingles(info.Name);
            Assert.That(values, Has.Length.EqualTo(info.Elements), info.Name);
            if (info.DType == DType.F32) Assert.That(MemoryMarshal.AsBytes(values.AsSpan()).SequenceEqual(bytes), Is.True, info.Name);
        }

        Assert.That(file.Tensors, Has.Count.EqualTo(tensors).And.Not.Empty);
    }

    [TestCaseSource(nameof(ConfigFiles))]
    public void A_configuration_is_an_object(string path) => Assert.That(JsonConfig.Open(path).Keys, Is.Not.Empty);

    [TestCaseSource(nameof(ModelCases))]
    public void A_model_opens_with_all_its_parameters(string name, string className, long parameters)
    {
        using ComponentFolder component = ComponentFolder.Open(Repository.Golden(name));
        long stored = component.Weights.Tensors.Values.Where(info => info.DType == DType.F32).Sum(info => info.Elements);
        Assert.That(component.ClassName, Is.EqualTo(className));
        Assert.That(stored, Is.EqualTo(parameters));
    }

    private static IEnumerable<TestCaseData> Named(IEnumerable<string> paths)
        => paths.Select(path => new TestCaseData(path).SetArgDisplayNames(Path.GetRelativePath(Repository.GoldenFolder, path)));
}
