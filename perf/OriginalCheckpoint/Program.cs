using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Formats.Checkpoints;

// Writes a Stable Diffusion folder in diffusers' layout (lbd random makes one) as the single F16 file that training code writes, with the UNet's running average, to measure
// conversion and drawing from single files at real sizes:  dotnet run -c Release --project perf/OriginalCheckpoint -- FOLDER FILE.safetensors
if (args.Length != 2)
{
    Console.Error.WriteLine("expected a folder in diffusers' layout and a file to write");
    return 2;
}

ModelFolder folder = ModelFolder.Open(args[0]);
List<ComponentFolder> networks = [];
string[] names = [.. new[] { "unet", "vae", "text_encoder", "text_encoder_2" }.Where(folder.Components.ContainsKey)];
Dictionary<string, JsonObject> configs = names.ToDictionary(name => name, name => JsonNode.Parse(folder.ReadFile(name, "config.json"))!.AsObject());
bool openClip = names.Length == 3 && configs["text_encoder"]["hidden_size"]!.GetValue<int>() == 1024;
OriginalCheckpoint.Create(configs, openClip, name =>
{
    networks.Add(folder.OpenComponent(name));
    return networks[^1].Weights;
}).AddAverage(0.5f).WriteSafeTensors(args[1], DType.F16);
networks.ForEach(network => network.Dispose());
return 0;
