using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Tables of rows, and sines of timesteps.</summary>
internal static class EmbeddingArithmetic
{
    public static float[] Lookup(EmbeddingOp op, float[] indices, float[] table, string input)
    {
        float[] y = new float[indices.Length * op.Features];
        for (int i = 0; i < indices.Length; i++)
        {
            if (indices[i] != MathF.Floor(indices[i]) || indices[i] < 0 || indices[i] >= op.Rows)
                throw new InvalidRequestException(input, $"expected a whole number from 0 to {op.Rows - 1}, found {indices[i]}");
            table.AsSpan((int)indices[i] * op.Features, op.Features).CopyTo(y.AsSpan(i * op.Features));
        }

        return y;
    }

    /// <summary>Single precision wherever the reference implementation has it: at t = 999 a double frequency would differ by 6e-5.</summary>
    public static float[] Timestep(TimestepEmbeddingOp op, float[] timesteps)
    {
        int half = op.Features / 2;
        float[] y = new float[timesteps.Length * op.Features];
        for (int n = 0; n < timesteps.Length; n++)
            for (int i = 0; i < half; i++)
            {
                float exponent = (float)-Math.Log(10000) * i / (half - op.Shift);
                float angle = timesteps[n] * (float)Math.Exp(exponent);
                float sine = (float)Math.Sin(angle), cosine = (float)Math.Cos(angle);
                y[n * op.Features + i] = op.CosineFirst ? cosine : sine;
                y[n * op.Features + half + i] = op.CosineFirst ? sine : cosine;
            }

        return y;
    }

    public static float[] Fourier(float[] timesteps, float[] frequencies)
    {
        int half = frequencies.Length;
        float[] y = new float[timesteps.Length * 2 * half];
        for (int n = 0; n < timesteps.Length; n++)
            for (int i = 0; i < half; i++)
            {
                float angle = (float)Math.Log(timesteps[n]) * frequencies[i] * 2 * MathF.PI;
                y[n * 2 * half + i] = (float)Math.Sin(angle);
                y[n * 2 * half + half + i] = (float)Math.Cos(angle);
            }

        return y;
    }

    public static float[] SelectToken(SelectTokenOp op, float[] x, float[] ids, TensorShape shape)
    {
        int length = shape[1], channels = shape[2];
        float[] y = new float[shape[0] * channels];
        for (int n = 0; n < shape[0]; n++)
        {
            ReadOnlySpan<float> sequence = ids.AsSpan(n * length, length);
            int position = Math.Max(0, sequence.IndexOf(op.EndToken ?? sequence.ToArray().Max()));
            x.AsSpan((n * length + position) * channels, channels).CopyTo(y.AsSpan(n * channels));
        }

        return y;
    }

    public static float[] NearestCode(NearestCodeOp op, float[] x, float[] table)
    {
        float[] codes = new float[x.Length / op.Features];
        for (int i = 0; i < codes.Length; i++)
        {
            double nearest = double.PositiveInfinity;
            for (int row = 0; row < op.Rows; row++)
            {
                double distance = 0;
                for (int c = 0; c < op.Features; c++)
                {
                    double difference = (double)x[i * op.Features + c] - table[row * op.Features + c];
                    distance += difference * difference;
                }

                if (distance >= nearest) continue;
                (nearest, codes[i]) = (distance, row);
            }
        }

        return codes;
    }
}
