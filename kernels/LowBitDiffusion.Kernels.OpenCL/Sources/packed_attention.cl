// Attention in 8-bit integers or, with BF16, in bfloat16, as one streaming pass. The equations and the layout of the scratch memory are the processor's (Int8Attention.cs, Bf16Attention.cs,
// Int8AttentionLayout.cs), and so are the bits where divisions round correctly.
//
//    packed_statistics   one item per channel of an image: mean of the keys, middle and scale of the values, token after token
//    packed_keys         one item per key of a head: its words, and in integers its scale and start
//    packed_values       one item per channel and group of keys
//    packed_attention    a group of ITEMS items, V queries an item: their words and running outputs in registers; keys come in blocks of BLOCK, by pieces through local memory
//
//        block      │ KEYS × WORDS │ KEYS × WORDS │ …  →  scores of BLOCK keys  →  maximum  →  weights, GROUP to a word
//                   │ groups × CHANNELS │ groups × CHANNELS │ …  →  outputs = outputs·decay + sums
//
// A word holds GROUP numbers: four bytes or two bfloat16. WIDTH and VALUE_WIDTH are the channels of a head, BLOCK is the processor's.

#include "dot.cl"

#ifdef BF16
#define GROUP 2
#define SUM REAL
#define ONES 0x3F803F80u
#else
#define GROUP 4
#define SUM INTEGER
#define ONES 0x01010101u
#endif

#define TILE 2304
#define WORDS ((WIDTH + GROUP - 1) / GROUP)
#define KEYS (TILE / WORDS < BLOCK ? TILE / WORDS : BLOCK)
#define CHANNELS (TILE / (BLOCK / GROUP))
#define LEAST 1e-30f

typedef struct {
    ulong image, firstHead, head, valueMiddles, valueScales, keyScales, keyStarts, values;   // in bytes; from the beginning, of an image or of a head
    int heads, queries, keys, queryStride, keyStride, valueStride, outputStride, keyRow, valueGroup;
    float scale;
} PackedAttention;

#define IN_IMAGE(T, i, offset) ((__global T *)(scratch + START + (i) * job.image + (offset)))
#define IN_HEAD(T, h, offset) ((__global T *)(scratch + job.firstHead + (h) * job.head + (offset)))
#define START 64

inline uint toBf16(float x) {
    const uint bits = as_uint(x);
    return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

inline int codeOfOne(float x, float inverse) { return (int)rint(fma(x, inverse, 128.0f)); }

__kernel void packed_statistics(PLACE(const VALUE, key), PLACE(const VALUE, value), PLACE(uchar, scratch), const PackedAttention job) {
    OPEN(const VALUE, key);
    OPEN(const VALUE, value);
    OPEN(uchar, scratch);
    const int item = get_global_id(0), keyChannels = job.heads * WIDTH, channel = item < keyChannels ? item : item - keyChannels;
    const size_t image = get_global_id(1), row = image * job.keys;
    if (item < keyChannels) {
        float sum = 0.0f;
        for (int i = 0; i < job.keys; i++) sum = sum + getValue(key, (row + i) * job.keyStride + channel);
        IN_IMAGE(float, image, 0)[channel] = sum / (float)job.keys;
    } else if (channel < job.heads * VALUE_WIDTH) {
        float least = getValue(value, row * job.valueStride + channel), most = least;
        for (int i = 1; i < job.keys; i++) {
            const float x = getValue(value, (row + i) * job.valueStride + channel);
            least = least < x ? least : x;
            most = most > x ? most : x;
        }
        const float low = least * 0.5f, high = most * 0.5f;
        IN_IMAGE(float, image, job.valueMiddles)[channel] = high + low;
#ifdef BF16
        IN_IMAGE(float, image, job.valueScales)[channel] = 1.0f;
#else
        IN_IMAGE(float, image, job.valueScales)[channel] = (high - low) / 127.0f;
#endif
    }
}

__kernel void packed_keys(PLACE(const VALUE, key), PLACE(uchar, scratch), const PackedAttention job) {
    OPEN(const VALUE, key);
    OPEN(uchar, scratch);
    const int index = get_global_id(0), image = (int)get_global_id(1) / job.heads, head = (int)get_global_id(1) - image * job.heads;
    if (index >= job.keys) return;
    __global const VALUE *row = key + ((size_t)image * job.keys + index) * job.keyStride + head * WIDTH;
    __global const float *means = IN_IMAGE(const float, image, 0) + head * WIDTH;
    __global uint *words = IN_HEAD(uint, get_global_id(1), 0) + (size_t)index * job.keyRow;
#ifdef BF16
    for (int w = 0; w < WORDS; w++) words[w] = toBf16(getValue(row, 2 * w) - means[2 * w]) | (2 * w + 1 < WIDTH ? toBf16(getValue(row, 2 * w + 1) - means[2 * w + 1]) << 16 : 0u);
#else
    float largest = 0.0f;
    for (int c = 0; c < WIDTH; c++) largest = fmax(largest, fabs(getValue(row, c) - means[c]));
    const float inverse = 127.0f / fmax(largest, LEAST);
    int sum = 0;
    for (int w = 0; w < WORDS; w++) {
        uint word = 0;
        for (int c = 4 * w; c < min(4 * w + 4, WIDTH); c++) {
            const int code = codeOfOne(getValue(row, c) - means[c], inverse) - 128;
            sum += code;
            word |= (uint)(code & 255) << (8 * (c % 4));
        }
        words[w] = word;
    }
    IN_HEAD(float, get_global_id(1), job.keyScales)[index] = largest / 127.0f;
    IN_HEAD(int, get_global_id(1), job.keyStarts)[index] = -128 * sum;
#endif
}

__kernel void packed_values(PLACE(const VALUE, value), PLACE(uchar, scratch), const PackedAttention job) {
    OPEN(const VALUE, value);
    OPEN(uchar, scratch);
    const int group = get_global_id(0) / VALUE_WIDTH, c = get_global_id(0) % VALUE_WIDTH, image = (int)get_global_id(1) / job.heads, head = (int)get_global_id(1) - image * job.heads;
    if (group * GROUP >= job.keys) return;
    __global const VALUE *from = value + ((size_t)image * job.keys + group * GROUP) * job.valueStride + head * VALUE_WIDTH + c;
    const float middle = IN_IMAGE(float, image, job.valueMiddles)[head * VALUE_WIDTH + c];
    uint word = 0;
#ifndef BF16
    const float inverse = 1.0f / fmax(IN_IMAGE(float, image, job.valueScales)[head * VALUE_WIDTH + c], LEAST);
#endif
    for (int i = 0; i < min(GROUP, job.keys - group * GROUP); i++) {
        const float x = getValue(from, (size_t)i * job.valueStride) - middle;
#ifdef BF16
        word |= toBf16(x) << (16 * i);
#else
        word |= (uint)((codeOfOne(x, inverse) - 128) & 255) << (8 * i);
#endif
    }
    IN_HEAD(uint, get_global_id(1), job.values)[(size_t)group * job.valueGroup + c] = word;
}

// 255·2^x as a weight, x ≤ 0: 2^r for r = x − ⌊x⌋ is a polynomial, 2^⌊x⌋ an exponent.
inline WORD weightOf(REAL x) {
    const REAL whole = floor(x), r = x - whole;
    REAL p = fma((REAL)19.89625358581543f, r, (REAL)57.647125244140625f);
    p = fma(p, r, (REAL)177.4375457763672f);
    p = fma(p, r, (REAL)254.98092651367188f);
#ifdef BF16
    p = scaleByPowerOfTwo(p, fmax(whole, -150.0f));
    p = p < 1.17549435e-38f ? (REAL)0.0f : p;
    float numbers[V];
    uint words[V];
    STORE(p, numbers);
    for (int i = 0; i < V; i++) words[i] = toBf16(numbers[i]);
    return LOAD(words);
#else
    return TO_WORD(fmin(rint(scaleByPowerOfTwo(p, fmax(whole, -100.0f))), 255.0f));
#endif
}

inline SUM dot(WORD a, uint b, SUM sum) {
#ifdef BF16
    sum = fma(AS_REAL(a & 0xFFFF0000u), (REAL)as_float(b & 0xFFFF0000u), sum);
    return fma(AS_REAL(a << 16), (REAL)as_float(b << 16), sum);
#else
    return dotRows(a, b, sum);
#endif
}

inline REAL ofSum(SUM sum) {
#ifdef BF16
    return sum;
#else
    return TO_REAL(sum);
#endif
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void packed_attention(PLACE(const VALUE, query), PLACE(uchar, scratch), PLACE(VALUE, output), const PackedAttention job) {
    OPEN(const VALUE, query);
    OPEN(uchar, scratch);
    OPEN(VALUE, output);
    __local uint tile[TILE];
    __local float scales[KEYS];
    __local int starts[KEYS];
    const int lane = get_local_id(0), first = (int)get_global_id(0) * V, image = (int)get_group_id(1) / job.heads, head = (int)get_group_id(1) - image * job.heads;
    __global const uint *keyWords = IN_HEAD(const uint, get_group_id(1), 0), *valueWords = IN_HEAD(const uint, get_group_id(1), job.values);

    // Words of the item's queries; where there are fewer than V left, the last one again.
    uint words[WORDS * V];
    float factors[V];
    for (int i = 0; i < V; i++) {
        __global const VALUE *row = query + ((size_t)image * job.queries + min(first + i, job.queries - 1)) * job.queryStride + head * WIDTH;
#ifdef BF16
        for (int w = 0; w < WORDS; w++) words[w * V + i] = toBf16(getValue(row, 2 * w)) | (2 * w + 1 < WIDTH ? toBf16(getValue(row, 2 * w + 1)) << 16 : 0u);
        factors[i] = job.scale * 1.442695041f;
#else
        float largest = 0.0f;
        for (int c = 0; c < WIDTH; c++) largest = fmax(largest, fabs(getValue(row, c)));
        const float inverse = 127.0f / fmax(largest, LEAST);
        for (int w = 0; w < WORDS; w++) {
            uint word = 0;
            for (int c = 4 * w; c < min(4 * w + 4, WIDTH); c++) word |= (uint)codeOfOne(getValue(row, c), inverse) << (8 * (c % 4));
            words[w * V + i] = word;
        }
        factors[i] = largest / 127.0f * (job.scale * 1.442695041f);
#endif
    }
    WORD q[WORDS];
    for (int w = 0; w < WORDS; w++) q[w] = LOAD(words + w * V);
    const REAL factor = LOAD(factors);

    REAL o[VALUE_WIDTH], total = 0.0f, most = -FLT_MAX, offset = INFINITY;
    for (int c = 0; c < VALUE_WIDTH; c++) o[c] = 0.0f;
    for (int block = 0; block < job.keys; block += BLOCK) {
        const int keys = min(BLOCK, job.keys - block), groups = (keys + GROUP - 1) / GROUP;
        REAL scores[BLOCK];
        for (int start = 0; start < keys; start += KEYS) {
            const int count = min(KEYS, keys - start);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = lane; i < count * WORDS; i += ITEMS) tile[i] = keyWords[(size_t)(block + start + i / WORDS) * job.keyRow + i % WORDS];
#ifndef BF16
            for (int i = lane; i < count; i += ITEMS) {
                scales[i] = IN_HEAD(const float, get_group_id(1), job.keyScales)[block + start + i];
                starts[i] = IN_HEAD(const int, get_group_id(1), job.keyStarts)[block + start + i];
            }
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int k = 0; k < count; k++) {
#ifdef BF16
                SUM sum = 0.0f;
                for (int w = 0; w < WORDS; w++) sum = dot(q[w], tile[k * WORDS + w], sum);
                const REAL score = sum;
#else
                SUM sum = starts[k];
                for (int w = 0; w < WORDS; w++) sum = dot(q[w], tile[k * WORDS + w], sum);
                const REAL score = ofSum(sum) * scales[k];
#endif
                scores[start + k] = score;
                most = most > score ? most : score;
            }
        }

        const REAL next = 0.0f - most * factor, decay = exponential((next - offset) * 0.6931471806f, 1.0f);
        offset = next;
        WORD weights[BLOCK / GROUP];
        for (int g = 0; g < groups; g++) {
            WORD word = 0;
            for (int k = g * GROUP; k < min(g * GROUP + GROUP, keys); k++) word |= weightOf(fma(scores[k], factor, offset)) << (32 / GROUP * (k % GROUP));
            weights[g] = word;
        }

        for (int start = 0; start < VALUE_WIDTH; start += CHANNELS) {
            const int count = min(CHANNELS, VALUE_WIDTH - start);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = lane; i < groups * count; i += ITEMS) tile[i] = valueWords[(size_t)(block / GROUP + i / count) * job.valueGroup + start + i % count];
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int c = 0; c < count; c++) {
                SUM sum = 0;
                for (int g = 0; g < groups; g++) sum = dot(weights[g], tile[g * count + c], sum);
                o[start + c] = fma(o[start + c], decay, ofSum(sum));
            }
        }
        SUM sum = 0;
        for (int g = 0; g < groups; g++) sum = dot(weights[g], ONES, sum);
        total = fma(total, decay, ofSum(sum));
    }

    const REAL share = 1.0f / total;
    __global const float *valueScales = IN_IMAGE(const float, image, job.valueScales) + head * VALUE_WIDTH, *valueMiddles = IN_IMAGE(const float, image, job.valueMiddles) + head * VALUE_WIDTH;
    for (int c = 0; c < VALUE_WIDTH; c++) {
        float lanes[V];
        STORE(fma(o[c] * share, (REAL)valueScales[c], (REAL)valueMiddles[c]), lanes);
        for (int i = 0; i < min(V, job.queries - first); i++) putValue(lanes[i], output, ((size_t)image * job.queries + first + i) * job.outputStride + head * VALUE_WIDTH + c);
    }
}
