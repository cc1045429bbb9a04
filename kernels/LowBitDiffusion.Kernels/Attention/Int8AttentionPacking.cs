using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>Means of keys, ranges of values: 64 channels of one image a piece, which are whole cache lines beside each other, token after token, so that every width adds in the same order.</summary>
internal readonly unsafe struct Int8StatisticsBody<TSimd, TVector>(AttentionJob job, Int8AttentionMemory memory) : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
{
    private const int Width = Int8AttentionLayout.StatisticsWidth;

    private int KeyPieces => (memory.Layout.KeyChannels + Width - 1) / Width;

    private int PiecesOfImage => KeyPieces + ((memory.Layout.ValueChannels + Width - 1) / Width);

    /// <summary>All pieces.</summary>
    public int Pieces => job.Batch * PiecesOfImage;

    /// <inheritdoc/>
    public void Run(int index)
    {
        (int image, int piece) = Math.DivRem(index, PiecesOfImage);
        int channels = piece < KeyPieces ? memory.Layout.KeyChannels : memory.Layout.ValueChannels;
        int channel = (piece < KeyPieces ? piece : piece - KeyPieces) * Width, end = Math.Min(channel + Width, channels);
        bool ofKeys = piece < KeyPieces;
        for (; channel <= end - (4 * TSimd.Count); channel += 4 * TSimd.Count)
        {
            if (ofKeys) Means(image, channel);
            else Ranges(image, channel);
        }

        for (; channel < end; channel++)
        {
            if (ofKeys) Mean(image, channel);
            else Range(image, channel);
        }
    }

    private (nint First, nint End) Rows(int image) => ((nint)image * job.Keys, (nint)(image + 1) * job.Keys);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Means(int image, int channel)
    {
        TVector s0 = default, s1 = default, s2 = default, s3 = default;
        (nint row, nint end) = Rows(image);
        for (; row < end; row++)
        {
            float* key = job.Key.Row(row) + channel;
            s0 = TSimd.Add(s0, TSimd.Load(key));
            s1 = TSimd.Add(s1, TSimd.Load(key + TSimd.Count));
            s2 = TSimd.Add(s2, TSimd.Load(key + (2 * TSimd.Count)));
            s3 = TSimd.Add(s3, TSimd.Load(key + (3 * TSimd.Count)));
        }

        float* means = memory.KeyMeans(image) + channel;
        TVector count = TSimd.Create(job.Keys);
        TSimd.Store(means, TSimd.Divide(s0, count));
        TSimd.Store(means + TSimd.Count, TSimd.Divide(s1, count));
        TSimd.Store(means + (2 * TSimd.Count), TSimd.Divide(s2, count));
        TSimd.Store(means + (3 * TSimd.Count), TSimd.Divide(s3, count));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Ranges(int image, int channel)
    {
        (nint row, nint end) = Rows(image);
        float* value = job.Value.Row(row) + channel;
        TVector least0 = TSimd.Load(value), least1 = TSimd.Load(value + TSimd.Count), least2 = TSimd.Load(value + (2 * TSimd.Count)), least3 = TSimd.Load(value + (3 * TSimd.Count));
        TVector most0 = least0, most1 = least1, most2 = least2, most3 = least3;
        while (++row < end)
        {
            value = job.Value.Row(row) + channel;
            Widen(value, ref least0, ref most0);
            Widen(value + TSimd.Count, ref least1, ref most1);
            Widen(value + (2 * TSimd.Count), ref least2, ref most2);
            Widen(value + (3 * TSimd.Count), ref least3, ref most3);
        }

        Store<TSimd, TVector>(image, channel, least0, most0);
        Store<TSimd, TVector>(image, channel + TSimd.Count, least1, most1);
        Store<TSimd, TVector>(image, channel + (2 * TSimd.Count), least2, most2);
        Store<TSimd, TVector>(image, channel + (3 * TSimd.Count), least3, most3);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Widen(float* value, ref TVector least, ref TVector most)
        {
            TVector v = TSimd.Load(value);
            least = TSimd.Min(least, v);
            most = TSimd.Max(most, v);
        }
    }

    private void Mean(int image, int channel)
    {
        float sum = 0;
        (nint row, nint end) = Rows(image);
        for (; row < end; row++) sum += job.Key.Row(row)[channel];
        memory.KeyMeans(image)[channel] = sum / job.Keys;
    }

    private void Range(int image, int channel)
    {
        (nint row, nint end) = Rows(image);
        float least = job.Value.Row(row)[channel], most = least;
        while (++row < end)
        {
            float value = job.Value.Row(row)[channel];
            least = Simd1.Min(least, value);
            most = Simd1.Max(most, value);
        }

        Store<Simd1, float>(image, channel, least, most);
    }

    private void Store<TS, TV>(int image, int channel, TV least, TV most) where TS : struct, ISimd<TV> where TV : struct
    {
        TV half = TS.Create(0.5f), low = TS.Multiply(least, half), high = TS.Multiply(most, half);
        TS.Store(memory.ValueMiddles(image) + channel, TS.Add(high, low));
        TS.Store(memory.ValueScales(image) + channel, memory.Layout.IsBf16 ? TS.Create(1) : TS.Divide(TS.Subtract(high, low), TS.Create(Int8Rows<TS, TV>.MaxCode)));
    }
}

/// <summary>Codes, or bfloat16, of keys and values: sixteen keys of all heads of an image a piece.</summary>
internal readonly unsafe struct Int8PackBody<TSimd, TLanes, TFloat, TInt>(AttentionJob job, Int8AttentionMemory memory) : IParallelBody
    where TSimd : struct, ISimd<TFloat>
    where TLanes : struct, IByteLanes<TFloat, TInt>
    where TFloat : struct
    where TInt : struct
{
    private const int KeysOfPiece = 16;

    private int PiecesOfImage => memory.Layout.PaddedKeys / KeysOfPiece;

    /// <summary>All pieces.</summary>
    public int Pieces => job.Batch * PiecesOfImage;

    /// <inheritdoc/>
    public void Run(int index)
    {
        (int image, int piece) = Math.DivRem(index, PiecesOfImage);
        int first = piece * KeysOfPiece, end = Math.Min(first + KeysOfPiece, job.Keys);
        for (int key = first; key < end; key++)
        {
            for (int head = 0; head < job.Heads; head++) PackKey(image, head, key);
        }

        for (int head = 0; head < job.Heads; head++) PackValues(image, head, first, end);
    }

    private void PackKey(int image, int headOfImage, int key)
    {
        int head = (image * job.Heads) + headOfImage, channel = headOfImage * job.HeadWidth, width = job.HeadWidth, padded = memory.Layout.KeyRow;
        float* row = job.Key.Row(((nint)image * job.Keys) + key) + channel, means = memory.KeyMeans(image) + channel;
        byte* codes = (byte*)memory.KeyCodes(head) + ((nint)key * padded);
        if (memory.Layout.IsBf16)
        {
            *(ulong*)(codes + padded - 8) = 0;
            Bf16Rows.Round(row, means, (ushort*)codes, width);
            return;
        }

        float largest = Int8Rows<TSimd, TFloat>.Largest(row, means, width);
        Int8Rows<TSimd, TFloat>.Quantize(row, means, codes, width, largest);
        new Span<byte>(codes + width, padded - width).Fill(128);

        // Eight bytes at a time: as unsigned ones they are 128 too large, which turning over the highest bits takes back.
        ulong sum = 0;
        for (ulong* eight = (ulong*)codes, end = (ulong*)(codes + padded); eight < end; eight++)
        {
            ulong pairs = (*eight & 0x00FF00FF00FF00FF) + ((*eight >> 8) & 0x00FF00FF00FF00FF);
            sum += (pairs * 0x0001000100010001) >> 48;
            *eight ^= 0x8080808080808080;
        }

        memory.KeyScales(head)[key] = largest / Int8Rows<TSimd, TFloat>.MaxCode;
        memory.KeyStarts(head)[key] = -128 * ((int)sum - (128 * padded));
    }

    /// <summary>Vector after vector of channels, of which the last may cover channels that the one before it has covered; for each all keys of the piece.</summary>
    private void PackValues(int image, int headOfImage, int first, int end)
    {
        if (memory.Layout.IsBf16)
        {
            PackPairs(image, headOfImage, first, end);
            return;
        }

        if (job.ValueWidth >= TSimd.Count)
        {
            for (int c = 0; c < job.ValueWidth; c += TSimd.Count)
                PackChannels<TSimd, TLanes, TFloat, TInt>(image, headOfImage, Math.Min(c, job.ValueWidth - TSimd.Count), first, end);
        }
        else
        {
            for (int c = 0; c < job.ValueWidth; c++) PackChannels<Simd1, ByteLanes1, float, int>(image, headOfImage, c, first, end);
        }

        // Behind the last channel the one that counts; keys that fill up a group of four are nothing.
        for (int key = first; key < end; key += 4)
        {
            int* group = (int*)(memory.ValueCodes((image * job.Heads) + headOfImage) + ((nint)key / 4 * memory.Layout.ValueGroup));
            group[job.ValueWidth] = 0x01010101;
            if (end - key >= 4) continue;
            for (int c = 0; c <= job.ValueWidth; c++) group[c] &= (1 << (8 * (end - key))) - 1;
        }
    }

    /// <summary>Two keys share a lane; groups are whole up to four keys.</summary>
    private void PackPairs(int image, int headOfImage, int first, int end)
    {
        int channel = headOfImage * job.ValueWidth;
        float* middles = memory.ValueMiddles(image) + channel;
        for (int key = first; key < end + (-end & 3); key++)
        {
            ushort* target = (ushort*)(memory.ValueCodes((image * job.Heads) + headOfImage) + ((nint)key / 2 * memory.Layout.ValueGroup)) + (key & 1);
            float* row = job.Value.Row(((nint)image * job.Keys) + Math.Min(key, end - 1)) + channel;
            for (int c = 0; c < job.ValueWidth; c++) target[2 * c] = key < end ? Bf16Rows.Round(row[c] - middles[c]) : (ushort)0;
            target[2 * job.ValueWidth] = key < end ? Bf16Rows.One : (ushort)0;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void PackChannels<TS, TL, TF, TI>(int image, int headOfImage, int c, int first, int end)
        where TS : struct, ISimd<TF>
        where TL : struct, IByteLanes<TF, TI>
        where TF : struct
        where TI : struct
    {
        int channel = (headOfImage * job.ValueWidth) + c;
        sbyte* target = memory.ValueCodes((image * job.Heads) + headOfImage) + ((nint)first / 4 * memory.Layout.ValueGroup) + (c * 4);
        RowView rows = job.Value.From(channel);
        nint row = (nint)image * job.Keys;
        // A channel that never changes has scale 0, and nothing left of it without its middle.
        TF middle = TS.Load(memory.ValueMiddles(image) + channel), scale = TS.Load(memory.ValueScales(image) + channel);
        TF inverse = TS.Divide(TS.Create(1), TS.Max(scale, TS.Create(Int8Rows<TS, TF>.Least)));
        for (int key = first; key < end; key += 4, target += memory.Layout.ValueGroup)
        {
            TI codes = TL.Interleave(Code(key), Code(Math.Min(key + 1, end - 1)), Code(Math.Min(key + 2, end - 1)), Code(Math.Min(key + 3, end - 1)));
            TL.Store(target, TL.Xor(codes, TL.Create(unchecked((int)0x80808080))));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        TI Code(int key) => Int8Rows<TS, TF>.Code<TL, TI>(TS.Subtract(TS.Load(rows.Row(row + key)), middle), inverse);
    }
}
