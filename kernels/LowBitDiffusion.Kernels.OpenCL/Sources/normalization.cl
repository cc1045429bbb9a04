// Statistics of normalisations, reduced to numbers that the staging pass applies.
//
//    group_moments    pixels of an image │ chunk 0 │ chunk 1 │ …     one item per channel and chunk: Σx and Σx² over the chunk's pixels, in order
//    group_fold       one group of items per image and norm group: chunks in order, then channels in order, then factor and offset of each channel
//    layer_moments    one group of 32 items per row: item i sums channels i, i + 32, …; then a tree
//
// Sums are in double precision, or, on devices without it, in pairs of floats (head + tail) with about twice a float's digits.

#define LANES 32

#ifdef HAS_DOUBLES
typedef double Wide;
typedef double Count;
#define WIDE_ZERO 0.0
inline Wide wideAdd(Wide a, Wide b) { return a + b; }
inline Wide wideOf(float x) { return x; }
inline Wide wideSquare(float x) { return (double)x * x; }
inline Wide wideTimes(Wide a, Wide b) { return a * b; }
inline Wide wideNegate(Wide a) { return -a; }
inline Wide wideDivide(Wide a, Count b) { return a / b; }
inline Wide wideInverseRoot(Wide variance, float epsilon) { return 1.0 / sqrt((variance > 0.0 ? variance : 0.0) + epsilon); }
inline float wideRound(Wide a) { return (float)a; }
#else
typedef float2 Wide;
typedef float Count;
#define WIDE_ZERO (float2)(0.0f, 0.0f)
inline Wide wideNormalize(float head, float tail) {
    const float sum = head + tail;
    return (float2)(sum, tail - (sum - head));
}
// Knuth's exact sum of the heads; the tails are added to what it leaves.
inline Wide wideAdd(Wide a, Wide b) {
    const float sum = a.x + b.x, part = sum - a.x, rest = (a.x - (sum - part)) + (b.x - part);
    return wideNormalize(sum, rest + (a.y + b.y));
}
inline Wide wideOf(float x) { return (float2)(x, 0.0f); }
inline Wide wideSquare(float x) {
    const float product = x * x;
    return (float2)(product, fma(x, x, -product));
}
inline Wide wideTimes(Wide a, Wide b) {
    const float product = a.x * b.x;
    return wideNormalize(product, fma(a.x, b.x, -product) + (a.x * b.y + a.y * b.x));
}
inline Wide wideNegate(Wide a) { return -a; }
inline Wide wideDivide(Wide a, Count b) {
    const float quotient = a.x / b;
    const float rest = fma(-quotient, b, a.x) + a.y;
    return wideNormalize(quotient, rest / b);
}
inline Wide wideInverseRoot(Wide variance, float epsilon) {
    const Wide sum = wideAdd(variance.x > 0.0f ? variance : WIDE_ZERO, wideOf(epsilon));
    // One step of Newton's method in pairs: r·(3 − sum·r²)/2.
    const float r = 1.0f / sqrt(sum.x);
    const Wide defect = wideAdd(wideOf(3.0f), wideNegate(wideTimes(sum, wideSquare(r))));
    return wideTimes(wideOf(0.5f * r), defect);
}
inline float wideRound(Wide a) { return a.x + a.y; }
#endif

typedef struct {
    int batch, rows, channels, firstChannels, firstStride, secondStride;
    int chunks, chunkRows, groups, scaleStride, shiftStride;
    float epsilon;
} GroupNormJob;

__kernel void group_moments(PLACE(const VALUE, first), PLACE(const VALUE, second), PLACE(Wide, moments), const GroupNormJob job) {
    OPEN(const VALUE, first);
    OPEN(const VALUE, second);
    OPEN(Wide, moments);
    const int c = get_global_id(0), index = get_global_id(1);
    if (c >= job.channels || index >= job.batch * job.chunks) return;
    const int image = index / job.chunks, start = (index - image * job.chunks) * job.chunkRows, end = min(start + job.chunkRows, job.rows);
    const int isFirst = c < job.firstChannels;
    const size_t stride = isFirst ? job.firstStride : job.secondStride;
    __global const VALUE *from = (isFirst ? first + c : second + (c - job.firstChannels)) + ((size_t)image * job.rows + start) * stride;
    Wide sum = WIDE_ZERO, square = WIDE_ZERO;
    for (int row = start; row < end; row++, from += stride) {
        const float x = getValue(from, 0);
        sum = wideAdd(sum, wideOf(x));
        square = wideAdd(square, wideSquare(x));
    }
    moments[(size_t)index * 2 * job.channels + c] = sum;
    moments[((size_t)index * 2 + 1) * job.channels + c] = square;
}

__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void group_fold(
    PLACE(Wide, moments), PLACE(const float, gamma), PLACE(const float, beta), PLACE(const VALUE, scale), PLACE(const VALUE, shift), PLACE(float, factor), PLACE(float, offset),
    const GroupNormJob job)
{
    OPEN(Wide, moments);
    OPEN(const float, gamma);
    OPEN(const float, beta);
    OPEN(const VALUE, scale);
    OPEN(const VALUE, shift);
    OPEN(float, factor);
    OPEN(float, offset);
    const int lane = get_local_id(0), image = get_group_id(1), size = job.channels / job.groups, start = (int)get_group_id(0) * size;
    __global Wide *sums = moments + (size_t)image * job.chunks * 2 * job.channels;
    __local Wide mean, inverse;
    for (int i = lane; i < 2 * size; i += LANES) {
        __global Wide *to = sums + (i < size ? start + i : job.channels + start + i - size);
        Wide sum = to[0];
        for (int chunk = 1; chunk < job.chunks; chunk++) sum = wideAdd(sum, to[(size_t)chunk * 2 * job.channels]);
        to[0] = sum;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (lane == 0) {
        Wide sum = WIDE_ZERO, square = WIDE_ZERO;
        for (int c = start; c < start + size; c++) {
            sum = wideAdd(sum, sums[c]);
            square = wideAdd(square, sums[job.channels + c]);
        }
        const Count count = (Count)size * (Count)job.rows;
        mean = wideDivide(sum, count);
        inverse = wideInverseRoot(wideAdd(wideDivide(square, count), wideNegate(wideTimes(mean, mean))), job.epsilon);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int c = start + lane; c < start + size; c += LANES) {
        Wide a = IS_GIVEN(gamma) ? wideTimes(wideOf(gamma[c]), inverse) : inverse;
        Wide b = wideAdd(IS_GIVEN(beta) ? wideOf(beta[c]) : WIDE_ZERO, wideNegate(wideTimes(mean, a)));
        if (IS_GIVEN(scale)) {
            const Wide gain = wideAdd(wideOf(1.0f), wideOf(getValue(scale, (size_t)image * job.scaleStride + c)));
            a = wideTimes(a, gain);
            b = wideAdd(wideTimes(b, gain), wideOf(getValue(shift, (size_t)image * job.shiftStride + c)));
        }
        factor[(size_t)image * job.channels + c] = wideRound(a);
        offset[(size_t)image * job.channels + c] = wideRound(b);
    }
}

typedef struct {
    int rows, channels, stride;
    float epsilon;
} LayerNormJob;

__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void layer_moments(
    PLACE(const VALUE, input), PLACE(float, mean), PLACE(float, inverseDeviation), const LayerNormJob job)
{
    OPEN(const VALUE, input);
    OPEN(float, mean);
    OPEN(float, inverseDeviation);
    __local Wide sums[LANES], squares[LANES];
    const int lane = get_local_id(0), row = get_group_id(1);
    __global const VALUE *from = input + (size_t)row * job.stride;
    Wide sum = WIDE_ZERO, square = WIDE_ZERO;
    for (int c = lane; c < job.channels; c += LANES) {
        const float x = getValue(from, c);
        sum = wideAdd(sum, wideOf(x));
        square = wideAdd(square, wideSquare(x));
    }
    sums[lane] = sum;
    squares[lane] = square;
    for (int reach = LANES / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < reach) {
            sums[lane] = wideAdd(sums[lane], sums[lane + reach]);
            squares[lane] = wideAdd(squares[lane], squares[lane + reach]);
        }
    }
    if (lane == 0) {
        const Wide middle = wideDivide(sums[0], (Count)job.channels);
        mean[row] = wideRound(middle);
        inverseDeviation[row] = wideRound(wideInverseRoot(wideAdd(wideDivide(squares[0], (Count)job.channels), wideNegate(wideTimes(middle, middle))), job.epsilon));
    }
}

// (x·γ + β)·(1 + scale) + shift as one factor and one offset per channel.
__kernel void fold_affine(
    PLACE(const float, gamma), PLACE(const float, beta), PLACE(const VALUE, scale), PLACE(const VALUE, shift), PLACE(float, factor), PLACE(float, offset),
    const int images, const int channels, const int scaleStride, const int shiftStride)
{
    OPEN(const float, gamma);
    OPEN(const float, beta);
    OPEN(const VALUE, scale);
    OPEN(const VALUE, shift);
    OPEN(float, factor);
    OPEN(float, offset);
    const int c = get_global_id(0), image = get_global_id(1);
    if (c >= channels || image >= images) return;
    const float g = IS_GIVEN(gamma) ? gamma[c] : 1.0f, b = IS_GIVEN(beta) ? beta[c] : 0.0f;
    const float gain = IS_GIVEN(scale) ? 1.0f + getValue(scale, (size_t)image * scaleStride + c) : 1.0f, shifted = IS_GIVEN(shift) ? getValue(shift, (size_t)image * shiftStride + c) : 0.0f;
    factor[(size_t)image * channels + c] = g * gain;
    offset[(size_t)image * channels + c] = b * gain + shifted;
}
