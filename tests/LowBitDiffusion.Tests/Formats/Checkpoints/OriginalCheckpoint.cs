using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>A Stable Diffusion model with random weights, of any size, written as the training code writes it.</summary>
internal sealed class OriginalCheckpoint
{
    private const int Seed = 5;

    private readonly Dictionary<string, JsonObject> _configs = [];
    private readonly Dictionary<string, ITensorSource> _networks = [];
    private readonly Dictionary<string, (TensorInfo Info, Func<float[]> Read)> _tensors = [];

    /// <summary>diffusers' configuration of each network.</summary>
    public IReadOnlyDictionary<string, JsonObject> Configs => _configs;

    /// <summary>Each network's tensors under diffusers' names.</summary>
    public IReadOnlyDictionary<string, ITensorSource> Networks => _networks;

    /// <summary>Shapes under the training code's names.</summary>
    public IEnumerable<TensorInfo> Infos => _tensors.Values.Select(tensor => tensor.Info);

    /// <summary>Makes a model of these configurations: <c>unet</c>, <c>vae</c>, <c>text_encoder</c>, and for XL <c>text_encoder_2</c>.</summary>
    /// <param name="configs">diffusers' configurations.</param>
    /// <param name="openClip">Whether the first text encoder has open_clip's names.</param>
    /// <param name="weights">Weights under diffusers' names; null for random ones.</param>
    public static OriginalCheckpoint Create(IReadOnlyDictionary<string, JsonObject> configs, bool openClip, Func<string, ITensorSource>? weights = null)
    {
        OriginalCheckpoint result = new();
        bool two = configs.ContainsKey("text_encoder_2");
        foreach ((string component, JsonObject config) in configs)
        {
            INetwork network = NetworkRegistry.Create(JsonConfig.Parse(component, config.ToJsonString()));
            ITensorSource tensors = weights?.Invoke(component) ?? new RandomTensors(network.Build(Inputs(network)), Seed, component);
            result._configs.Add(component, config);
            result._networks.Add(component, tensors);
            switch (component)
            {
                case "unet": result.AddUNet(tensors, config["layers_per_block"]!.GetValue<int>()); break;
                case "vae": result.AddAutoencoder(tensors, config["block_out_channels"]!.AsArray().Count); break;
                case "text_encoder_2": result.AddOpenClip("conditioner.embedders.1.model.", tensors); break;
                default:
                    string prefix = two ? "conditioner.embedders.0." : "cond_stage_model.";
                    if (openClip) result.AddOpenClip($"{prefix}model.", tensors);
                    else result.AddTransformers($"{prefix}transformer.", tensors);
                    break;
            }
        }

        result.AddExtra("alphas_cumprod", [1000]);
        return result;
    }

    /// <summary>A tensor of zeros that belongs to no network.</summary>
    public OriginalCheckpoint AddExtra(string name, long[] shape)
    {
        Add(name, shape, () => new float[DTypes.ByteLength(DType.U8, shape)]);
        return this;
    }

    /// <summary>A tensor less.</summary>
    public OriginalCheckpoint Remove(Func<string, bool> which)
    {
        foreach (string name in _tensors.Keys.Where(which).ToArray()) _tensors.Remove(name);
        return this;
    }

    /// <summary>A running average of the UNet: its weights times a factor, under names without dots.</summary>
    public OriginalCheckpoint AddAverage(float factor)
    {
        foreach ((string name, (TensorInfo info, Func<float[]> read)) in _tensors.ToArray())
        {
            if (!name.StartsWith("model.diffusion_model.", StringComparison.Ordinal)) continue;
            Add($"model_ema.{name["model.".Length..].Replace(".", "", StringComparison.Ordinal)}", info.Shape, () => Array.ConvertAll(read(), value => value * factor));
        }

        return AddExtra("model_ema.decay", []).AddExtra("model_ema.num_updates", []);
    }

    /// <summary>The tensors with their bytes in a type.</summary>
    public IEnumerable<(TensorInfo Info, byte[] Bytes)> Stored(DType type) =>
        _tensors.Values.Select(tensor => (new TensorInfo(tensor.Info.Name, type, tensor.Info.Shape), TensorConversion.FromSingles(type, tensor.Read())));

    /// <summary>Writes a safetensors file, tensor by tensor.</summary>
    public void WriteSafeTensors(string path, DType type)
    {
        using SafeTensorsWriter writer = SafeTensorsWriter.Create(path, Infos.Select(info => new TensorInfo(info.Name, type, info.Shape)));
        foreach ((TensorInfo info, byte[] bytes) in Stored(type)) writer.Write(info.Name, bytes);
        writer.Complete();
    }

    /// <summary>Writes a PyTorch archive as training code saves it: the network as one entry of several.</summary>
    public void WriteArchive(string path, DType type, long trainingStep)
    {
        TorchFile file = new();
        file.Pickle.Dictionary(("state_dict", p => p.Dictionary([.. Stored(type).Select(tensor => (tensor.Info.Name, (Action<PickleWriter>)(p => file.Tensor(p, tensor.Info, tensor.Bytes))))])), ("global_step", p => p.Integer(trainingStep)));
        file.Write(path);
    }

    private static Dictionary<string, TensorShape> Inputs(INetwork network)
    {
        Dictionary<string, TensorShape> inputs = network.NativeInputs(1).ToDictionary();
        if (network is AutoencoderKL vae) inputs["image"] = new(1, 3, inputs["latent"][2] * vae.Factor, inputs["latent"][3] * vae.Factor);
        return inputs;
    }

    private void AddUNet(ITensorSource tensors, int layers)
    {
        foreach (string name in tensors.Tensors.Keys) Copy($"model.diffusion_model.{OriginalNames.UNet(name, layers, tensors.Tensors.ContainsKey)}", tensors, name);
    }

    private void AddAutoencoder(ITensorSource tensors, int levels)
    {
        foreach (string name in tensors.Tensors.Keys)
        {
            string original = OriginalNames.Autoencoder(name, levels);
            IReadOnlyList<long> shape = tensors.Tensors[name].Shape;
            bool projection = original.Contains("attn_1", StringComparison.Ordinal) && shape.Count == 2;
            Add($"first_stage_model.{original}", projection ? [.. shape, 1, 1] : shape, () => tensors.ReadSingles(name));
        }
    }

    private void AddTransformers(string prefix, ITensorSource tensors)
    {
        foreach (string name in tensors.Tensors.Keys) Copy($"{prefix}text_model.{Bare(name)}", tensors, name);
        AddExtra($"{prefix}text_model.embeddings.position_ids", [1, 77]);
    }

    private void AddOpenClip(string prefix, ITensorSource tensors)
    {
        int layers = 0;
        foreach (string name in tensors.Tensors.Keys)
        {
            string bare = Bare(name);
            string[] words = bare.Split('.');
            switch (bare)
            {
                case "embeddings.token_embedding.weight": Copy($"{prefix}token_embedding.weight", tensors, name); break;
                case "embeddings.position_embedding.weight": Copy($"{prefix}positional_embedding", tensors, name); break;
                case "final_layer_norm.weight" or "final_layer_norm.bias": Copy($"{prefix}ln_final.{words[1]}", tensors, name); break;
                case "text_projection.weight": AddTransposed($"{prefix}text_projection", tensors, name); break;
                default: layers = Math.Max(layers, AddOpenClipLayer(prefix, tensors, name, words) + 1); break;
            }
        }

        AddExtra($"{prefix}logit_scale", []);
        if (tensors.Tensors.ContainsKey("text_projection.weight")) return;
        // Stable Diffusion 2 has the projection and the last layer in the file and uses neither.
        AddExtra($"{prefix}text_projection", [4, 4]);
        foreach (string part in (string[])["ln_1.weight", "attn.in_proj_weight", "mlp.c_fc.bias"]) AddExtra($"{prefix}transformer.resblocks.{layers}.{part}", [6]);
    }

    // encoder.layers.3.self_attn.q_proj.weight
    private int AddOpenClipLayer(string prefix, ITensorSource tensors, string name, string[] words)
    {
        int layer = int.Parse(words[2], System.Globalization.CultureInfo.InvariantCulture);
        string block = $"{prefix}transformer.resblocks.{layer}", kind = words[^1];
        switch (words[^2])
        {
            case "layer_norm1": Copy($"{block}.ln_1.{kind}", tensors, name); break;
            case "layer_norm2": Copy($"{block}.ln_2.{kind}", tensors, name); break;
            case "fc1": Copy($"{block}.mlp.c_fc.{kind}", tensors, name); break;
            case "fc2": Copy($"{block}.mlp.c_proj.{kind}", tensors, name); break;
            case "out_proj": Copy($"{block}.attn.out_proj.{kind}", tensors, name); break;
            case "q_proj":
                IReadOnlyList<long> shape = tensors.Tensors[name].Shape;
                string Part(string part) => name.Replace("q_proj", part, StringComparison.Ordinal);
                Add($"{block}.attn.in_proj_{kind}", [3 * shape[0], .. shape.Skip(1)], () => [.. tensors.ReadSingles(name), .. tensors.ReadSingles(Part("k_proj")), .. tensors.ReadSingles(Part("v_proj"))]);
                break;
        }

        return layer;
    }

    private void AddTransposed(string name, ITensorSource tensors, string source)
    {
        int rows = (int)tensors.Tensors[source].Shape[0], columns = (int)tensors.Tensors[source].Shape[1];
        Add(name, [columns, rows], () =>
        {
            float[] values = tensors.ReadSingles(source);
            return [.. from column in Enumerable.Range(0, columns) from row in Enumerable.Range(0, rows) select values[row * columns + column]];
        });
    }

    private static string Bare(string name) => name.StartsWith("text_model.", StringComparison.Ordinal) ? name["text_model.".Length..] : name;

    private void Copy(string name, ITensorSource tensors, string source) => Add(name, tensors.Tensors[source].Shape, () => tensors.ReadSingles(source));

    private void Add(string name, IReadOnlyList<long> shape, Func<float[]> read) => _tensors.Add(name, (new TensorInfo(name, DType.F32, shape), read));
}
