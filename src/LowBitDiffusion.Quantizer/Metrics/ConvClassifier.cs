using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Metrics;

/// <summary>
/// A plain convolutional classifier: convolutions with SiLU, the mean over height and width (the features), a linear head (the logits). It measures generated
/// pictures: does the label come back, and how far are the features from those of real pictures. Safe for concurrent use.
/// </summary>
public sealed class ConvClassifier
{
    private readonly ClassifierConvolution[] _convolutions;
    private readonly float[] _headWeight;
    private readonly float[] _headBias;

    private ConvClassifier(ClassifierConvolution[] convolutions, float[] headWeight, float[] headBias) => (_convolutions, _headWeight, _headBias) = (convolutions, headWeight, headBias);

    /// <summary>Channels of a picture.</summary>
    public int Channels => _convolutions[0].InChannels;

    /// <summary>Length of a feature vector.</summary>
    public int Features => _convolutions[^1].OutChannels;

    /// <summary>How many labels there are.</summary>
    public int Classes => _headBias.Length;

    /// <summary>Reads <c>config.json</c> and <c>model.safetensors</c> of a folder.</summary>
    /// <exception cref="ModelFormatException">A file is missing or does not say what this class can compute.</exception>
    public static ConvClassifier Load(string folder)
    {
        string path = Path.Combine(folder, "config.json");
        try
        {
            using JsonDocument config = JsonDocument.Parse(File.ReadAllBytes(path));
            using SafeTensorsFile weights = SafeTensorsFile.Open(Path.Combine(folder, "model.safetensors"));
            return Read(config.RootElement, path, weights);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new ModelFormatException(path, null, $"cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Features and logits of some pictures, worked on in parallel.</summary>
    /// <param name="images"><c>[count, channels, height, width]</c>, values in [−1, 1].</param>
    /// <param name="height">Rows.</param>
    /// <param name="width">Columns.</param>
    /// <param name="cancellationToken">Checked between pictures.</param>
    /// <returns>Features <c>[count, Features]</c> and logits <c>[count, Classes]</c>.</returns>
    /// <exception cref="ArgumentException">The length is not a multiple of a picture's.</exception>
    public (float[] Features, float[] Logits) Run(ReadOnlyMemory<float> images, int height, int width, CancellationToken cancellationToken = default)
    {
        int length = Channels * height * width;
        if (height < 1 || width < 1 || images.Length % length != 0) throw new ArgumentException($"{images.Length} values are not pictures of {Channels}x{height}x{width}");
        int count = images.Length / length;
        float[] features = new float[count * Features], logits = new float[count * Classes];
        Parallel.For(0, count, new ParallelOptions { CancellationToken = cancellationToken }, n =>
        {
            Span<float> vector = features.AsSpan(n * Features, Features);
            RunOne(images.Span.Slice(n * length, length), height, width, vector);
            for (int o = 0; o < Classes; o++)
            {
                float sum = _headBias[o];
                for (int i = 0; i < vector.Length; i++) sum += vector[i] * _headWeight[o * vector.Length + i];
                logits[n * Classes + o] = sum;
            }
        });
        return (features, logits);
    }

    /// <summary>The label with the largest logit; of equals the first.</summary>
    public static int Label(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            if (logits[i] > logits[best]) best = i;
        }

        return best;
    }

    private static ConvClassifier Read(JsonElement config, string path, SafeTensorsFile weights)
    {
        Require("_class_name", "ConvClassifier");
        Require("act_fn", "silu");
        int kernel = config.GetProperty("kernel_size").GetInt32(), padding = config.GetProperty("padding").GetInt32(), channels = config.GetProperty("in_channels").GetInt32();
        int[] widths = [.. config.GetProperty("channels").EnumerateArray().Select(c => c.GetInt32())], strides = [.. config.GetProperty("strides").EnumerateArray().Select(s => s.GetInt32())];
        int classes = config.GetProperty("num_classes").GetInt32();
        if (widths.Length == 0 || widths.Length != strides.Length || widths.Concat(strides).Concat([kernel, channels, classes]).Any(n => n < 1) || padding < 0)
            throw new ModelFormatException(path, "channels", $"expected as many positive channels as strides, found {widths.Length} and {strides.Length}");
        ClassifierConvolution[] convolutions = new ClassifierConvolution[widths.Length];
        for (int i = 0; i < widths.Length; i++)
        {
            float[] weight = weights.ReadSingles($"convs.{i}.weight", new TensorShape(widths[i], channels, kernel, kernel));
            convolutions[i] = new ClassifierConvolution(weight, weights.ReadSingles($"convs.{i}.bias", new TensorShape(widths[i])), channels, kernel, strides[i], padding);
            channels = widths[i];
        }

        return new ConvClassifier(convolutions, weights.ReadSingles("head.weight", new TensorShape(classes, channels)), weights.ReadSingles("head.bias", new TensorShape(classes)));

        void Require(string key, string expected)
        {
            string? found = config.GetProperty(key).GetString();
            if (found != expected) throw new ModelFormatException(path, key, $"expected '{expected}', found '{found}'");
        }
    }

    private void RunOne(ReadOnlySpan<float> image, int height, int width, Span<float> features)
    {
        int pixels = height * width;
        float[] x = new float[image.Length];
        for (int i = 0; i < image.Length; i++) x[i % pixels * Channels + i / pixels] = image[i];
        int stride = Channels;
        foreach (ClassifierConvolution convolution in _convolutions)
        {
            x = convolution.Run(x, stride, ref height, ref width);
            stride = convolution.PaddedChannels;
        }

        for (int c = 0; c < features.Length; c++)
        {
            double sum = 0;
            for (int i = 0; i < height * width; i++) sum += x[i * stride + c];
            features[c] = (float)(sum / (height * width));
        }
    }
}
