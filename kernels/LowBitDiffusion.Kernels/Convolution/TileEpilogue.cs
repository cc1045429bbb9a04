using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>The float half of a tile, in the order of <see cref="ConvEpilogue"/>, in the widest vectors there are.</summary>
internal static unsafe class TileEpilogue
{
    /// <summary>Turns a segment's sums into floats and adds them to the tile's values.</summary>
    internal static void AddSegment(
        int* sums, float* values, int rows, int width, int* weightSums, float* weightScales, int zeroPoint, float scale, bool first)
    {
        if (Avx512F.IsSupported && width % 16 == 0)
        {
            AddSegment<Lanes512, Vector512<float>>(sums, values, rows, width, weightSums, weightScales, zeroPoint, scale, first);
        }
        else if (Avx2.IsSupported && width % 8 == 0)
        {
            AddSegment<Lanes256, Vector256<float>>(sums, values, rows, width, weightSums, weightScales, zeroPoint, scale, first);
        }
        else
        {
            AddSegment<Lanes128, Vector128<float>>(sums, values, rows, width, weightSums, weightScales, zeroPoint, scale, first);
        }
    }

    /// <summary>Finishes a row of a tile, up to the output factor, and writes it to where <paramref name="output"/> points; that may be where it is.</summary>
    internal static void Store(float* values, in ConvEpilogue epilogue, int row, int image, int firstChannel, int channels, float* output)
    {
        float* bias = epilogue.Bias == null ? null : epilogue.Bias + firstChannel;
        float* vector = epilogue.ImageVector == null ? null : epilogue.ImageVector + (image * epilogue.ImageVectorStride) + firstChannel;
        float* residual = epilogue.Residual == null ? null : epilogue.Residual + (row * epilogue.ResidualStride) + firstChannel;
        int done = 0;
        if (Avx512F.IsSupported)
        {
            done = Store<Lanes512, Vector512<float>>(values, bias, vector, residual, epilogue.OutputScale, output, done, channels);
        }
        else if (Avx2.IsSupported)
        {
            done = Store<Lanes256, Vector256<float>>(values, bias, vector, residual, epilogue.OutputScale, output, done, channels);
        }

        done = Store<Lanes128, Vector128<float>>(values, bias, vector, residual, epilogue.OutputScale, output, done, channels);
        _ = Store<Lane, float>(values, bias, vector, residual, epilogue.OutputScale, output, done, channels);
    }

    private static void AddSegment<TLanes, TVector>(
        int* sums, float* values, int rows, int width, int* weightSums, float* weightScales, int zeroPoint, float scale, bool first)
        where TLanes : ILanes<TVector>
    {
        for (int c = 0; c < width; c += TLanes.Count)
        {
            TVector factor = TLanes.Multiply(TLanes.Broadcast(scale), TLanes.Load(weightScales + c));
            for (int r = 0; r < rows; r++)
            {
                int i = (r * width) + c;
                TVector term = TLanes.Multiply(TLanes.Centre(sums + i, weightSums + c, zeroPoint), factor);
                TLanes.Store(values + i, first ? term : TLanes.Add(TLanes.Load(values + i), term));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Store<TLanes, TVector>(
        float* values, float* bias, float* vector, float* residual, float outputScale, float* output, int from, int channels)
        where TLanes : ILanes<TVector>
    {
        int c = from;
        for (; c <= channels - TLanes.Count; c += TLanes.Count)
        {
            TVector value = TLanes.Load(values + c);
            if (bias != null) value = TLanes.Add(value, TLanes.Load(bias + c));
            if (vector != null) value = TLanes.Add(value, TLanes.Load(vector + c));
            if (residual != null) value = TLanes.Add(value, TLanes.Load(residual + c));
            TLanes.Store(output + c, TLanes.Multiply(value, TLanes.Broadcast(outputScale)));
        }

        return c;
    }

    /// <summary>A width of vector.</summary>
    private interface ILanes<TVector>
    {
        static abstract int Count { get; }

        static abstract TVector Load(float* source);

        static abstract void Store(float* target, TVector value);

        static abstract TVector Broadcast(float value);

        static abstract TVector Add(TVector left, TVector right);

        static abstract TVector Multiply(TVector left, TVector right);

        /// <summary>float(S − z·W).</summary>
        static abstract TVector Centre(int* sums, int* weightSums, int zeroPoint);
    }

    private readonly struct Lane : ILanes<float>
    {
        public static int Count => 1;

        public static float Load(float* source) => *source;

        public static void Store(float* target, float value) => *target = value;

        public static float Broadcast(float value) => value;

        public static float Add(float left, float right) => left + right;

        public static float Multiply(float left, float right) => left * right;

        public static float Centre(int* sums, int* weightSums, int zeroPoint) => *sums - (zeroPoint * *weightSums);
    }

    private readonly struct Lanes128 : ILanes<Vector128<float>>
    {
        public static int Count => 4;

        public static Vector128<float> Load(float* source) => Vector128.Load(source);

        public static void Store(float* target, Vector128<float> value) => value.Store(target);

        public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

        public static Vector128<float> Add(Vector128<float> left, Vector128<float> right) => left + right;

        public static Vector128<float> Multiply(Vector128<float> left, Vector128<float> right) => left * right;

        public static Vector128<float> Centre(int* sums, int* weightSums, int zeroPoint) =>
            Vector128.ConvertToSingle(Vector128.Load(sums) - (Vector128.Load(weightSums) * zeroPoint));
    }

    private readonly struct Lanes256 : ILanes<Vector256<float>>
    {
        public static int Count => 8;

        public static Vector256<float> Load(float* source) => Vector256.Load(source);

        public static void Store(float* target, Vector256<float> value) => value.Store(target);

        public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

        public static Vector256<float> Add(Vector256<float> left, Vector256<float> right) => left + right;

        public static Vector256<float> Multiply(Vector256<float> left, Vector256<float> right) => left * right;

        public static Vector256<float> Centre(int* sums, int* weightSums, int zeroPoint) =>
            Vector256.ConvertToSingle(Vector256.Load(sums) - (Vector256.Load(weightSums) * zeroPoint));
    }

    private readonly struct Lanes512 : ILanes<Vector512<float>>
    {
        public static int Count => 16;

        public static Vector512<float> Load(float* source) => Avx512F.LoadVector512(source);

        public static void Store(float* target, Vector512<float> value) => Avx512F.Store(target, value);

        public static Vector512<float> Broadcast(float value) => Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(value));

        public static Vector512<float> Add(Vector512<float> left, Vector512<float> right) => Avx512F.Add(left, right);

        public static Vector512<float> Multiply(Vector512<float> left, Vector512<float> right) => Avx512F.Multiply(left, right);

        public static Vector512<float> Centre(int* sums, int* weightSums, int zeroPoint)
        {
            Vector512<int> correction = Avx512F.MultiplyLow(
                Avx512F.LoadVector512(weightSums), Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(zeroPoint)));
            return Avx512F.ConvertToVector512Single(Avx512F.Subtract(Avx512F.LoadVector512(sums), correction));
        }
    }
}
