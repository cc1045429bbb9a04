// Convolution of u8 codes with s8 or 4-bit codes, implicit GEMM over a padded NHWC image; a linear layer is the 1×1 case.
//
//                      columns: output channels                    A group of work items: LANES × LINES items, each V columns × ROWS rows.
//                  lane 0    lane 1         lane LANES−1           Codes come four at a time in a 32-bit word. B is laid out [K/4][columns],
//                 ┌───────┬───────┬─ ─ ─ ─┬───────┐                so the lanes of a row of items read one stretch of memory; A is the same
//    line 0       │ ROWS  │       │       │       │                word for all lanes. With LOCAL_A the group brings a chunk of A (its rows
//    rows:        │  × V  │       │       │       │                × CHUNK words) to local memory first, without it each item reads A from
//    output       ├───────┼───────┼─ ─ ─ ─┼───────┤                global memory (processors, where local memory is no faster).
//    pixels       │line 1 │       │       │       │
//                 └───────┴───────┴─ ─ ─ ─┴───────┘
//
// runs[g] is the distance in bytes from the pixel's corner to the four codes of word g: kernel rows, kernel columns and channels of a segment in order.
// Words that reach beyond a run meet weights of zero. Segments are summed one by one in int32:
//
//    S = Σ q·w      v += float(S − z·W)·(d·dw)      then + bias, + image vector, + residual, · factor       every line one rounding
//
// DOT_…: how four products are added. DOT_AMD_SIGNED has only signed bytes: q − 128 is q with its highest bit turned over, and 128·W is added afterwards.

#ifdef DOT_KHRONOS
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif

typedef struct {
    int rows, columns, paddedColumns, segments, ranges;
    int outHeight, outWidth, height, width, channels, stride;
    int aligned, imageVectorStride, residualStride, outputStride;
    float outputScale;
} IntegerMatrix;

#define INTV CAT(int, V)
#define UINTV CAT(uint, V)
#define FLOATV CAT(float, V)
#define LOADV CAT(vload, V)
#define STOREV CAT(vstore, V)

#if defined(DOT_AMD_SIGNED)
#define FLIP 0x80808080u
#define BIAS 128
#else
#define FLIP 0u
#define BIAS 0
#endif

#if defined(DOT_PLAIN)
inline INTV dotAdd(uint a, UINTV b, INTV sum) {
    const INTV w = CAT(as_int, V)(b);
    return sum + (int)(a & 255) * ((w << 24) >> 24) + (int)((a >> 8) & 255) * ((w << 16) >> 24) + (int)((a >> 16) & 255) * ((w << 8) >> 24) + (int)(a >> 24) * (w >> 24);
}
#else
inline int dotAddOne(uint a, uint b, int sum) {
#if defined(DOT_KHRONOS)
    return sum + dot_4x8packed_us_int(a, b);
#elif defined(DOT_NVIDIA)
    int result;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#elif defined(DOT_AMD_MIXED)
    return __builtin_amdgcn_sudot4(0, (int)a, 1, (int)b, sum, 0);
#elif defined(DOT_AMD_SIGNED)
    return __builtin_amdgcn_sdot4((int)a, (int)b, sum, 0);
#endif
}

inline INTV dotAdd(uint a, UINTV b, INTV sum) {
    uint w[V];
    int s[V];
    STOREV(b, 0, w);
    STOREV(sum, 0, s);
    for (int i = 0; i < V; i++) s[i] = dotAddOne(a, w[i], s[i]);
    return LOADV(0, s);
}
#endif

// Four codes from a word of bytes, or from half of one of nibbles n = w − lowest: n + lowest + 128 carries nothing over, and turning over the highest bit takes the 128 away.
#ifdef NIBBLES
#define WEIGHTS ushort
inline UINTV loadWeights(__global const ushort *from, UINTV base) {
    const UINTV n = CAT(convert_uint, V)(LOADV(0, from));
    return (((n & 0x000Fu) | ((n & 0x00F0u) << 4) | ((n & 0x0F00u) << 8) | ((n & 0xF000u) << 12)) + base) ^ 0x80808080u;
}
#else
#define WEIGHTS uint
inline UINTV loadWeights(__global const uint *from, UINTV base) { return LOADV(0, from); }
#endif

inline uint loadCodes(__global const uchar *from, int aligned) { return (aligned ? *(__global const uint *)from : as_uint(vload4(0, from))) ^ FLIP; }

inline int cornerOf(int row, const IntegerMatrix m) {
    const int image = row / (m.outHeight * m.outWidth), pixel = row - image * m.outHeight * m.outWidth, y = pixel / m.outWidth, x = pixel - y * m.outWidth;
    return ((image * m.height + y * m.stride) * m.width + x * m.stride) * m.channels;
}

__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void integer_matrix(
    PLACE(const uchar, input), PLACE(const WEIGHTS, weights), PLACE(const int, runs), PLACE(const int, weightSums), PLACE(const uint, bases), PLACE(const float, weightScales),
    PLACE(const int, segments), PLACE(const float, quantizer), PLACE(const float, bias), PLACE(const float, imageVector), PLACE(const float, residual), PLACE(float, output),
    const IntegerMatrix m)
{
    OPEN(const uchar, input);
    OPEN(const WEIGHTS, weights);
    OPEN(const int, runs);
    OPEN(const int, weightSums);
    OPEN(const uint, bases);
    OPEN(const float, weightScales);
    OPEN(const int, segments);
    OPEN(const float, quantizer);
    const int lane = get_local_id(0), line = get_local_id(1), firstRow = ((int)get_group_id(1) * LINES + line) * ROWS, column = ((int)get_group_id(0) * LANES + lane) * V;
#ifdef LOCAL_A
    __local uint tile[LINES * ROWS * (CHUNK + 1)];
    __local int corners[LINES * ROWS];
    for (int i = line * LANES + lane; i < LINES * ROWS; i += LANES * LINES) corners[i] = cornerOf(min((int)get_group_id(1) * LINES * ROWS + i, m.rows - 1), m);
    barrier(CLK_LOCAL_MEM_FENCE);
#else
    int corners[ROWS];
    for (int r = 0; r < ROWS; r++) corners[r] = cornerOf(min(firstRow + r, m.rows - 1), m);
#endif

    FLOATV values[ROWS];
    int word = 0;
    for (int s = 0; s < m.segments; s++) {
        // Where the segment ends, and which of the input's quantizers is its.
        const int end = segments[2 * s], range = segments[2 * s + 1];
#ifdef NIBBLES
        const UINTV base = LOADV(0, bases + s * m.paddedColumns + column);
#else
        const UINTV base = 0;
#endif
        INTV sums[ROWS];
        for (int r = 0; r < ROWS; r++) sums[r] = 0;
#ifdef LOCAL_A
        for (; word < end; word += CHUNK) {
            const int words = min(CHUNK, end - word);
            for (int i = line * LANES + lane; i < LINES * ROWS * CHUNK; i += LANES * LINES) {
                const int r = i / CHUNK, g = i % CHUNK;
                if (g < words) tile[r * (CHUNK + 1) + g] = loadCodes(input + corners[r] + runs[word + g], m.aligned);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int g = 0; g < words; g++) {
                const UINTV b = loadWeights(weights + (size_t)(word + g) * m.paddedColumns + column, base);
                for (int r = 0; r < ROWS; r++) sums[r] = dotAdd(tile[(line * ROWS + r) * (CHUNK + 1) + g], b, sums[r]);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        word = end;
#else
        for (; word < end; word++) {
            const UINTV b = loadWeights(weights + (size_t)word * m.paddedColumns + column, base);
            __global const uchar *from = input + runs[word];
            for (int r = 0; r < ROWS; r++) sums[r] = dotAdd(loadCodes(from + corners[r], m.aligned), b, sums[r]);
        }
#endif
        const FLOATV factor = quantizer[m.ranges + range] * LOADV(0, weightScales + s * m.paddedColumns + column);
        const INTV centre = (BIAS - (int)quantizer[2 * m.ranges + range]) * LOADV(0, weightSums + s * m.paddedColumns + column);
        for (int r = 0; r < ROWS; r++) {
            const FLOATV term = CAT(convert_float, V)(sums[r] + centre) * factor;
            values[r] = s == 0 ? term : values[r] + term;
        }
    }

    OPEN(const float, bias);
    OPEN(const float, imageVector);
    OPEN(const float, residual);
    OPEN(float, output);
    const int columns = min(V, m.columns - column);
    for (int r = 0; r < ROWS; r++) {
        const int row = firstRow + r;
        if (row >= m.rows) break;
        float lanes[V];
        STOREV(values[r], 0, lanes);
        const size_t image = row / (m.outHeight * m.outWidth);
        for (int c = 0; c < columns; c++) {
            float value = lanes[c];
            if (IS_GIVEN(bias)) value = value + bias[column + c];
            if (IS_GIVEN(imageVector)) value = value + imageVector[image * m.imageVectorStride + column + c];
            if (IS_GIVEN(residual)) value = value + residual[(size_t)row * m.residualStride + column + c];
            output[(size_t)row * m.outputStride + column + c] = value * m.outputScale;
        }
    }
}

// What the device's products reach on registers alone: ROWS·V independent sums an item, a product of each per round.
__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void peak(PLACE(int, output), const int rounds) {
    OPEN(int, output);
    INTV sums[ROWS];
    UINTV b = (uint)get_global_id(0);
    for (int r = 0; r < ROWS; r++) sums[r] = r;
    for (int i = 0; i < rounds; i++) {
        for (int r = 0; r < ROWS; r++) sums[r] = dotAdd((uint)(i + r) * 2654435761u, b, sums[r]);
        b += 0x01030507u;
    }
    INTV all = 0;
    for (int r = 0; r < ROWS; r++) all ^= sums[r];
    STOREV(all, get_global_id(1) * get_global_size(0) + get_global_id(0), output);
}
