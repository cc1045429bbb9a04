using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// The end of an epilogue that is not a store: gate, activation, codes. The kernel leaves a few tiles of one panel in a buffer that stays in the first-level
/// cache, from where they are finished; the floats of the layer never reach memory.
/// <code>
///   buffer [rows][P]   v0 … | v P/2 …          gated: the panel's second half gates its first      →  [rows][P/2] of the output
///                                              else                                                →  [rows][P]
/// </code>
/// </summary>
internal static unsafe class TileFinish
{
    /// <summary>Rows that are finished at once: their values and the codes that made them share the first-level cache.</summary>
    internal const int Rows = 48;

    /// <summary>Finishes rows of one panel.</summary>
    /// <param name="epilogue">What is to be done.</param>
    /// <param name="values">Rows of a panel's width, finished up to the output factor.</param>
    /// <param name="places">For each row, which of the output's it is.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="panel">Which panel.</param>
    /// <param name="width">Output channels of a panel.</param>
    /// <param name="outChannels">Output channels of the layer.</param>
    internal static void Write(in ConvEpilogue epilogue, float* values, int* places, int rows, int panel, int width, int outChannels)
    {
        int produced = epilogue.Gated ? width / 2 : width, first = panel * produced;
        Block block = new()
        {
            Values = values,
            Width = width,
            Places = places,
            Rows = rows,
            Channels = Math.Min(produced, (epilogue.Gated ? outChannels / 2 : outChannels) - first),
            Gate = width / 2,
            Stride = epilogue.OutputStride,
            Range = new StagingRange
            {
                InverseScales = epilogue.InverseScales == null ? null : epilogue.InverseScales + first,
                InverseScale = epilogue.Quantizer.InverseScale,
                ZeroPoint = epilogue.Quantizer.ZeroPoint,
                MaxCode = epilogue.MaxCode,
            },
        };
        if (epilogue.Codes == null) Run<Floats, float>(epilogue, block, epilogue.Output + first);
        else if (epilogue.InverseScales == null) Run<UniformCodes, byte>(epilogue, block, epilogue.Codes + first);
        else Run<ChannelCodes, byte>(epilogue, block, epilogue.Codes + first);
    }

    private static void Run<TDestination, TElement>(in ConvEpilogue epilogue, in Block block, TElement* output)
        where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
    {
        LevelJob<TDestination, TElement> job = new(epilogue.Gated, epilogue.Activation, block, output);
        SimdDispatch.Run(SimdLevel.Auto, ref job);
    }

    private struct Block
    {
        public float* Values;
        public int* Places;
        public int Width, Rows, Channels, Gate;
        public nint Stride;
        public StagingRange Range;
    }

    /// <summary>What a value becomes before it is stored.</summary>
    private interface IValue
    {
        static abstract TVector Invoke<TSimd, TVector>(float* value, int gate) where TSimd : struct, ISimd<TVector> where TVector : struct;
    }

    private readonly struct GatedValue : IValue
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke<TSimd, TVector>(float* value, int gate) where TSimd : struct, ISimd<TVector> where TVector : struct =>
            TSimd.Multiply(TSimd.Load(value), GeluActivation.Invoke<TSimd, TVector>(TSimd.Load(value + gate)));
    }

    private readonly struct ActivatedValue<TActivation> : IValue where TActivation : struct, IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke<TSimd, TVector>(float* value, int gate) where TSimd : struct, ISimd<TVector> where TVector : struct =>
            TActivation.Invoke<TSimd, TVector>(TSimd.Load(value));
    }

    private readonly struct LevelJob<TDestination, TElement>(bool gated, Activation activation, Block block, TElement* output) : ISimdJob
        where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            if (gated)
            {
                Rows<TSimd, TVector, GatedValue>(block, output);
                return;
            }

            switch (activation)
            {
                case Activation.None: Rows<TSimd, TVector, ActivatedValue<IdentityActivation>>(block, output); break;
                case Activation.Silu: Rows<TSimd, TVector, ActivatedValue<SiluActivation>>(block, output); break;
                case Activation.Gelu: Rows<TSimd, TVector, ActivatedValue<GeluActivation>>(block, output); break;
                case Activation.GeluTanh: Rows<TSimd, TVector, ActivatedValue<GeluTanhActivation>>(block, output); break;
                case Activation.QuickGelu: Rows<TSimd, TVector, ActivatedValue<QuickGeluActivation>>(block, output); break;
                default: throw new ArgumentException($"no activation {activation}");
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Rows<TSimd, TVector, TValue>(Block block, TElement* output) where TSimd : struct, ISimd<TVector> where TVector : struct where TValue : struct, IValue
        {
            float* values = block.Values;
            for (int row = 0; row < block.Rows; row++, values += block.Width)
            {
                TElement* target = output + (block.Places[row] * block.Stride);
                int c = 0;
                for (; c <= block.Channels - TSimd.Count; c += TSimd.Count)
                {
                    TDestination.Store<TSimd, TVector>(block.Range, c, target, TValue.Invoke<TSimd, TVector>(values + c, block.Gate));
                }

                for (; c < block.Channels; c++) TDestination.Store<Simd1, float>(block.Range, c, target, TValue.Invoke<Simd1, float>(values + c, block.Gate));
            }
        }
    }
}
