using System.Globalization;
using System.Text.RegularExpressions;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>
/// diffusers' names back to those of the training code, written from the numbering of its blocks rather than from what a file holds: with L residual blocks a resolution, block
/// <c>1 + i·(L + 1) + j</c> of the input and <c>i·(L + 1) + j</c> of the output is block j of resolution i.
/// </summary>
internal static partial class OriginalNames
{
    public static string UNet(string name, int layers, Func<string, bool> exists)
    {
        int n = layers + 1;
        foreach ((string now, string old) in (ReadOnlySpan<(string, string)>)
        [
            ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"), ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
            ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
        ])
        {
            if (name.StartsWith($"{now}.", StringComparison.Ordinal)) return old + name[now.Length..];
        }

        if (name.StartsWith("mid_block.attentions.0.", StringComparison.Ordinal)) return name.Replace("mid_block.attentions.0.", "middle_block.1.", StringComparison.Ordinal);
        if (name.StartsWith("mid_block.resnets.", StringComparison.Ordinal)) return Resnet(name.Replace("mid_block.resnets.0", "middle_block.0", StringComparison.Ordinal).Replace("mid_block.resnets.1", "middle_block.2", StringComparison.Ordinal));
        Match match = Block().Match(name);
        int level = Number(match, 2), part = Number(match, 4);
        string rest = match.Groups[5].Value;
        return (match.Groups[1].Value, match.Groups[3].Value) switch
        {
            ("down", "resnets") => Resnet($"input_blocks.{1 + level * n + part}.0{rest}"),
            ("down", "attentions") => $"input_blocks.{1 + level * n + part}.1{rest}",
            ("down", _) => $"input_blocks.{(level + 1) * n}.0.op{rest[".conv".Length..]}",
            ("up", "resnets") => Resnet($"output_blocks.{level * n + part}.0{rest}"),
            ("up", "attentions") => $"output_blocks.{level * n + part}.1{rest}",
            _ => $"output_blocks.{level * n + layers}.{(exists($"up_blocks.{level}.attentions.0.norm.weight") ? 2 : 1)}{rest}",
        };
    }

    public static string Autoencoder(string name, int levels)
    {
        name = Level().Replace(name, match => match.Groups[1].Value == "down" ? $"down.{match.Groups[2].Value}" : $"up.{levels - 1 - Number(match, 2)}");
        foreach ((string now, string old) in (ReadOnlySpan<(string, string)>)
        [
            ("conv_norm_out", "norm_out"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"), ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"), ("mid_block.attentions.0.to_", "mid.attn_1."),
            (".resnets.", ".block."), ("conv_shortcut", "nin_shortcut"),
        ])
        {
            name = name.Replace(now, old, StringComparison.Ordinal);
        }

        return name;
    }

    private static string Resnet(string name)
    {
        foreach ((string now, string old) in (ReadOnlySpan<(string, string)>)
        [
            (".norm1.", ".in_layers.0."), (".conv1.", ".in_layers.2."), (".time_emb_proj.", ".emb_layers.1."), (".norm2.", ".out_layers.0."), (".conv2.", ".out_layers.3."),
            (".conv_shortcut.", ".skip_connection."),
        ])
        {
            name = name.Replace(now, old, StringComparison.Ordinal);
        }

        return name;
    }

    private static int Number(Match match, int group) => int.Parse(match.Groups[group].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)(\..*)$")]
    private static partial Regex Block();

    [GeneratedRegex(@"(down|up)_blocks\.(\d+)")]
    private static partial Regex Level();
}
