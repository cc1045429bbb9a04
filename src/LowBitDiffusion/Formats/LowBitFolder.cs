using System.Text.Encodings.Web;
using System.Text.Json;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>Writes a network in the project's low-bit layout: the float network's folder with other weights and a <c>quantization_config</c>.</summary>
public static class LowBitFolder
{
    /// <summary>Writes <c>config.json</c> and the weights. Memory beside the modules is bounded by the largest tensor.</summary>
    /// <param name="folder">The component's folder; it must exist.</param>
    /// <param name="network">The float network's configuration; a <c>quantization_config</c> in it is replaced.</param>
    /// <param name="quantization">How it was quantized. Its per-module precisions are taken from <paramref name="modules"/>.</param>
    /// <param name="modules">The quantized modules.</param>
    /// <param name="floats">All other tensors under the names they will have: norms, embeddings, modules in float.</param>
    /// <param name="floatType">How F32 tensors among them are stored: F32, F16 or BF16. Tensors of other types are copied.</param>
    /// <param name="progress">Told the fraction written.</param>
    /// <param name="cancellationToken">Checked between tensors; nothing is left of a cancelled file.</param>
    /// <exception cref="ArgumentException">A module's arrays do not fit it, or its timesteps are not those of <paramref name="quantization"/>.</exception>
    /// <exception cref="ModelFormatException"><paramref name="floats"/> cannot be read.</exception>
    /// <exception cref="InvalidRequestException">A value is too large for <paramref name="floatType"/>.</exception>
    /// <exception cref="OutputException">The folder cannot be written.</exception>
    public static void Write(
        string folder,
        JsonConfig network,
        QuantizationConfig quantization,
        IReadOnlyCollection<QuantizedModule> modules,
        ITensorSource floats,
        DType floatType = DType.F32,
        IProgress<double>? progress = null,
        CancellationToken cancellationToken = default)
    {
        foreach (QuantizedModule module in modules)
        {
            if (!module.Input.IsStatic && !module.Input.Timesteps.SequenceEqual([.. quantization.Timesteps]))
                throw new ArgumentException($"'{module.Name}': its timesteps are not those of the network", nameof(modules));
        }

        List<TensorInfo> infos = [.. modules.SelectMany(LowBitCodec.Describe)];
        foreach (TensorInfo info in floats.Tensors.Values) infos.Add(Stored(info));
        long total = infos.Sum(info => info.ByteLength), done = 0;

        // The configuration comes last: a folder with one has its weights.
        using (SafeTensorsWriter writer = SafeTensorsWriter.Create(Path.Combine(folder, ComponentFolder.WeightFileOf(network)), infos))
        {
            foreach (QuantizedModule module in modules)
            {
                foreach ((TensorInfo info, byte[] bytes) in LowBitCodec.Write(module)) Write(info, () => writer.Write(info.Name, bytes));
            }

            foreach (TensorInfo info in floats.Tensors.Values) Write(Stored(info), () => FloatStorage.Copy(floats, info, writer, Stored(info).DType));
            writer.Complete();
        }

        OutputFile.WriteAllBytes(Path.Combine(folder, "config.json"), Configuration(network, quantization.WithModules(modules)));

        TensorInfo Stored(TensorInfo info) => info.DType == DType.F32 ? new TensorInfo(info.Name, floatType, info.Shape) : info;

        void Write(TensorInfo info, Action write)
        {
            cancellationToken.ThrowIfCancellationRequested();
            write();
            done += info.ByteLength;
            progress?.Report((double)done / total);
        }
    }

    private static byte[] Configuration(JsonConfig network, QuantizationConfig quantization)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            foreach (JsonProperty property in network.Root.EnumerateObject().Where(property => property.Name != "quantization_config")) property.WriteTo(json);
            json.WritePropertyName("quantization_config");
            quantization.Write(json);
            json.WriteEndObject();
        }

        return stream.ToArray();
    }
}
