using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>The definition, written out. Every other kernel must give the same bits.</summary>
internal sealed unsafe class ScalarQuantizedConv : QuantizedConvKernel
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Scalar;

    /// <inheritdoc/>
    public override string Name => "scalar";

    /// <inheritdoc/>
    internal override int PanelWidth => 2;

    /// <inheritdoc/>
    private protected override void Execute(WorkerPool pool, in QuantizedConvArguments arguments) =>
        pool.For(arguments.Geometry.Rows, new Row(arguments));

    private readonly struct Row(QuantizedConvArguments arguments) : IParallelBody
    {
        public void Run(int row)
        {
            ConvGeometry geometry = arguments.Geometry;
            ConvEpilogue epilogue = arguments.Epilogue;
            (int image, int pixel) = Math.DivRem(row, geometry.OutHeight * geometry.OutWidth);
            (int y, int x) = Math.DivRem(pixel, geometry.OutWidth);
            float* pair = stackalloc float[2];
            for (int o = 0; o < geometry.OutChannels; o++)
            {
                float value = Value(image, y, x, o);
                if (epilogue.Bias != null) value += epilogue.Bias[o];
                if (epilogue.ImageVector != null) value += epilogue.ImageVector[(image * epilogue.ImageVectorStride) + o];
                if (epilogue.Residual != null) value += epilogue.Residual[(row * epilogue.ResidualStride) + o];
                value *= epilogue.OutputScale;
                if (!epilogue.NeedsFinish)
                {
                    epilogue.Output[(row * epilogue.OutputStride) + o] = value;
                    continue;
                }

                pair[o % 2] = value;
                if (o % 2 == 1 || o + 1 == geometry.OutChannels) TileFinish.Write(epilogue, pair, &row, 1, o / 2, 2, geometry.OutChannels);
            }
        }

        private float Value(int image, int y, int x, int o)
        {
            PackedWeights weights = arguments.Weights;
            float value = 0;
            for (int s = 0; s < weights.Plan.Segments.Length; s++)
            {
                int centred = Sum(image, y, x, o, s) - (arguments.InputZeroPoints[s] * weights.WeightSums(s)[o]);
                float term = centred * (arguments.InputScales[s] * weights.Scales(s)[o]);
                value = s == 0 ? term : value + term;
            }

            return value;
        }

        private int Sum(int image, int y, int x, int o, int s)
        {
            ConvGeometry geometry = arguments.Geometry;
            PackedWeights weights = arguments.Weights;
            SegmentPlan plan = weights.Plan.Segments[s];
            bool nibbles = weights.FourBit;
            int lane = o % 2, lowest = nibbles ? weights.Lowest(s)[o] : 0;
            byte* group = weights.Codes(o / 2, s);
            int sum = 0;
            for (int r = 0; r < geometry.KernelHeight; r++)
            {
                for (int c = 0; c < geometry.KernelWidth; c++)
                {
                    byte* pixel = arguments.Input + geometry.Pixel(image, (y * geometry.Stride) + r, (x * geometry.Stride) + c) + plan.Start;
                    for (int j = 0; j < plan.Length; j += 4, group += nibbles ? 4 : 8)
                    {
                        for (int i = 0; i < Math.Min(4, plan.Length - j); i++)
                        {
                            int weight = nibbles ? lowest + ((group[i] >> (4 * lane)) & 15) : (sbyte)group[(4 * lane) + i];
                            sum += pixel[j + i] * weight;
                        }
                    }
                }
            }

            return sum;
        }
    }
}
