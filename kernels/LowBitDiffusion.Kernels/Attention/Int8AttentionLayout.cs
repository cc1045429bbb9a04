namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// How the scratch memory of attention in integers is divided; lengths in bytes, multiples of 64.
/// <code>
///   counter | for each image: means, middles, scales of channels | for each head: keys, their scales and starts, values | for each thread: a tile's state
///
///   keys    [key][channel]              s8, rows padded to 8 bytes with zeros
///   values  [key/4][channel][key%4]     s8; behind the last channel one that is 1 for every key, which sums the weights; keys that fill up are 0
/// </code>
/// Four bytes, or two bfloat16, are a group: what one lane multiplies at once. In bfloat16 the rows above have two instead of four.
/// </summary>
internal readonly struct Int8AttentionLayout
{
    /// <summary>Room for the counter in front, which keeps what follows aligned.</summary>
    public const int CounterBytes = 64;

    /// <summary>Queries of a tile: two vectors of 512 bits.</summary>
    public const int QueryTile = 32;

    /// <summary>Keys of a block, twenty tiles of twelve: its scores, 30 KB, stay in the caches next to the registers, and what a block costs beside its products (calls, maxima) comes seldom.</summary>
    public const int KeyBlock = 240;

    /// <summary>Channels that one step of the statistics covers.</summary>
    public const int StatisticsWidth = 64;

    /// <param name="job">Shapes.</param>
    /// <param name="bf16">Whether numbers are bfloat16.</param>
    public Int8AttentionLayout(in AttentionJob job, bool bf16)
    {
        GroupSize = bf16 ? 2 : 4;
        KeyGroups = (job.HeadWidth + GroupSize - 1) / GroupSize;
        KeyRow = RoundUp(KeyGroups * 4, 8);
        ValueGroup = RoundUp(job.ValueWidth + 1, 16) * 4;
        KeyChannels = job.Heads * job.HeadWidth;
        ValueChannels = job.Heads * job.ValueWidth;
        KeyStatistics = Floats(KeyChannels);
        ValueStatistics = Floats(ValueChannels);
        PaddedKeys = RoundUp(job.Keys, 16);
        KeyCodes = RoundUp((long)PaddedKeys * KeyRow, 64);
        KeyFloats = Floats(PaddedKeys);
        ValueCodes = (long)PaddedKeys / GroupSize * ValueGroup;
        QueryTiles = (job.Queries + QueryTile - 1) / QueryTile;
        RowCodes = (long)KeyRow * QueryTile;
        QueryCodes = RoundUp((long)KeyGroups * QueryTile * 4, 64);
        Outputs = (long)(job.ValueWidth + 1) * QueryTile * sizeof(float);
    }

    /// <summary>Numbers in four bytes: 4, or 2 in bfloat16.</summary>
    public int GroupSize { get; }

    /// <summary>Whether numbers are bfloat16.</summary>
    public bool IsBf16 => GroupSize == 2;

    /// <summary>Bytes of a block's weights.</summary>
    public int Weights => KeyBlock / GroupSize * QueryTile * 4;

    /// <summary>Bytes of a key's codes.</summary>
    public int KeyRow { get; }

    /// <summary>Groups of channels of a query.</summary>
    public int KeyGroups { get; }

    /// <summary>Bytes of the values of a group of keys.</summary>
    public int ValueGroup { get; }

    /// <summary>Channels of all heads' keys.</summary>
    public int KeyChannels { get; }

    /// <summary>Channels of all heads' values.</summary>
    public int ValueChannels { get; }

    /// <summary>Keys with those that fill up.</summary>
    public int PaddedKeys { get; }

    /// <summary>Tiles of queries of one head.</summary>
    public int QueryTiles { get; }

    /// <summary>One number per channel of keys.</summary>
    public long KeyStatistics { get; }

    /// <summary>One number per channel of values.</summary>
    public long ValueStatistics { get; }

    /// <summary>Means of keys, middles of values, scales of values.</summary>
    public long Image => KeyStatistics + (2 * ValueStatistics);

    /// <summary>Codes of a head's keys.</summary>
    public long KeyCodes { get; }

    /// <summary>One 32-bit number per key.</summary>
    public long KeyFloats { get; }

    /// <summary>Codes of a head's values.</summary>
    public long ValueCodes { get; }

    /// <summary>Codes, scales and starts of keys, codes of values.</summary>
    public long Head => KeyCodes + (2 * KeyFloats) + ValueCodes;

    /// <summary>Codes of a tile's queries, one after the other.</summary>
    public long RowCodes { get; }

    /// <summary>A tile's queries.</summary>
    public long QueryCodes { get; }

    /// <summary>A tile's running output.</summary>
    public long Outputs { get; }

    /// <summary>A tile's codes, scores, weights, output; factors, offsets, maxima and decays of its queries.</summary>
    public long State => RowCodes + QueryCodes + (KeyBlock * QueryTile * sizeof(float)) + Weights + Outputs + (4 * QueryTile * sizeof(float));

    /// <summary>All of it.</summary>
    public long Total(in AttentionJob job, int threads) => CounterBytes + (job.Batch * Image) + (job.Batch * job.Heads * Head) + (threads * State);

    private static long Floats(int count) => RoundUp((long)count * sizeof(float), 64);

    private static long RoundUp(long value, int unit) => (value + unit - 1) / unit * unit;

    private static int RoundUp(int value, int unit) => (value + unit - 1) / unit * unit;
}

/// <summary>The scratch memory of one run.</summary>
internal readonly unsafe struct Int8AttentionMemory(byte* scratch, Int8AttentionLayout layout, int batch, int heads)
{
    /// <summary>How it is divided.</summary>
    public Int8AttentionLayout Layout { get; } = layout;

    /// <summary>Hands out tiles of queries.</summary>
    public int* Counter => (int*)scratch;

    /// <summary>Mean of each channel of an image's keys.</summary>
    public float* KeyMeans(int image) => (float*)Image(image);

    /// <summary>Middle of the range of each channel of an image's values.</summary>
    public float* ValueMiddles(int image) => (float*)(Image(image) + Layout.KeyStatistics);

    /// <summary>Scale of each channel of an image's values.</summary>
    public float* ValueScales(int image) => (float*)(Image(image) + Layout.KeyStatistics + Layout.ValueStatistics);

    /// <summary>Codes of a head's keys; heads are counted over all images.</summary>
    public sbyte* KeyCodes(int head) => (sbyte*)Head(head);

    /// <summary>Scale of each key.</summary>
    public float* KeyScales(int head) => (float*)(Head(head) + Layout.KeyCodes);

    /// <summary>−128·Σ codes of each key: what takes back that the queries' codes are 128 too large.</summary>
    public int* KeyStarts(int head) => (int*)(Head(head) + Layout.KeyCodes + Layout.KeyFloats);

    /// <summary>Codes of a head's values.</summary>
    public sbyte* ValueCodes(int head) => (sbyte*)(Head(head) + Layout.KeyCodes + (2 * Layout.KeyFloats));

    /// <summary>What a thread keeps for the tile it works on.</summary>
    public Int8TileState State(int thread) => new(Head(batch * heads) + (thread * Layout.State), Layout);

    private byte* Image(int image) => scratch + Int8AttentionLayout.CounterBytes + (image * Layout.Image);

    private byte* Head(int head) => Image(batch) + (head * Layout.Head);
}

/// <summary>What is kept for one tile of queries.</summary>
internal readonly unsafe struct Int8TileState(byte* memory, Int8AttentionLayout layout)
{
    private const int Tile = Int8AttentionLayout.QueryTile, Block = Int8AttentionLayout.KeyBlock;

    /// <summary>Queries plus 128, <c>[channel/4][query][channel%4]</c>.</summary>
    public byte* Queries => memory;

    /// <summary>Scores <c>[key][query]</c> but for the query's factor.</summary>
    public float* Scores => (float*)(memory + layout.QueryCodes);

    /// <summary>Weights <c>[key/4][query][key%4]</c>.</summary>
    public byte* Weights => (byte*)(Scores + (Block * Tile));

    /// <summary>Running output <c>[channel][query]</c>; behind the last channel the sum of weights.</summary>
    public float* Outputs => (float*)(Weights + layout.Weights);

    /// <summary>a of each query.</summary>
    public float* Factors => Outputs + (layout.Outputs / sizeof(float));

    /// <summary>c of each query.</summary>
    public float* Offsets => Factors + Tile;

    /// <summary>Running maximum of each query's scores.</summary>
    public float* Maxima => Offsets + Tile;

    /// <summary>What the running output of each query is multiplied with before a block is added.</summary>
    public float* Decays => Maxima + Tile;

    /// <summary>Queries plus 128, one after the other.</summary>
    public byte* RowCodes => (byte*)(Decays + Tile);
}
