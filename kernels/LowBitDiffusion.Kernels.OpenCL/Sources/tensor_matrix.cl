// The layers of integer_matrix.cl on NVIDIA's tensor cores: mma.sync multiplies 16 rows × 32 codes by 32 codes × 8 columns, a warp at a time. V is 2.
//
//                  64 columns: 8 tiles of 8                   WARPS × 32 items; a warp has 16 rows × 64 columns.
//               ┌──8──┬──8──┬─ ─ ─ ─┬──8──┐                  Lane 4·quad + place holds of a tile
//    warp 0: 16 │     │     │       │     │                      codes     rows quad and quad + 8, words place and place + 4 of eight
//    warp 1: 16 │     │     │       │     │                      weights   column quad, the same words
//               └─────┴─────┴─ ─ ─ ─┴─────┘                      sums      rows quad and quad + 8, columns 2·place and 2·place + 1
//
// Words behind the end of a segment are weights of zero.

#include "dot.cl"
#include "matrix.cl"
#include "codes.cl"

#define TILES 8

inline int4 multiplyTiles(uint4 a, uint2 b, int4 sum) {
    int s0, s1, s2, s3;
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(s0), "=r"(s1), "=r"(s2), "=r"(s3)
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y), "r"(sum.x), "r"(sum.y), "r"(sum.z), "r"(sum.w));
    return (int4)(s0, s1, s2, s3);
}

__kernel __attribute__((reqd_work_group_size(32, WARPS, 1))) void tensor_matrix(INTEGER_PLACES)
{
    OPEN_INTEGER
    const int lane = get_local_id(0), quad = lane >> 2, place = lane & 3;
    const int row = ((int)get_group_id(1) * WARPS + (int)get_local_id(1)) * 16 + quad, firstColumn = (int)get_group_id(0) * 8 * TILES;
    __global const uchar *upper = input + cornerOf(min(row, m.rows - 1), m), *lower = input + cornerOf(min(row + 8, m.rows - 1), m);
    REAL values[2 * TILES];
    int word = 0;
    for (int s = 0; s < job.segments; s++) {
        const int end = segments[2 * s], range = segments[2 * s + 1];
        int4 sums[TILES];
        for (int t = 0; t < TILES; t++) sums[t] = 0;
        for (; word < end; word += 8) {
            const int w0 = word + place, w1 = w0 + 4, run0 = runs[min(w0, end - 1)], run1 = runs[min(w1, end - 1)];
            const uint4 a = (uint4)(loadCodes(upper + run0, job.aligned), loadCodes(lower + run0, job.aligned), loadCodes(upper + run1, job.aligned), loadCodes(lower + run1, job.aligned));
            _Pragma("unroll") for (int t = 0; t < TILES; t++) {
                const int column = firstColumn + 8 * t + quad;
                __global const WEIGHTS *from = weights + (size_t)w0 * m.paddedColumns + column;
#ifdef NIBBLES
                const uint base = bases[s * m.paddedColumns + column];
#endif
                uint2 b = 0;
                if (w0 < end) b.x = SPREAD((uint)from[0], base);
                if (w1 < end) b.y = SPREAD((uint)from[4 * (size_t)m.paddedColumns], base);
                sums[t] = multiplyTiles(a, b, sums[t]);
            }
        }
        word = end;
        const float scale = quantizer[job.ranges + range];
        const int zero = (int)quantizer[2 * job.ranges + range];
        for (int t = 0; t < TILES; t++) {
            const int column = s * m.paddedColumns + firstColumn + 8 * t + 2 * place;
            const REAL factor = scale * LOAD(weightScales + column), first = TO_REAL(sums[t].lo - zero * LOAD(weightSums + column)) * factor, second = TO_REAL(sums[t].hi - zero * LOAD(weightSums + column)) * factor;
            values[2 * t] = s == 0 ? first : values[2 * t] + first;
            values[2 * t + 1] = s == 0 ? second : values[2 * t + 1] + second;
        }
    }

    for (int t = 0; t < TILES; t++) {
        for (int i = 0; i < 2; i++) finish(values[2 * t + i], row + 8 * i, firstColumn + 8 * t + 2 * place, m, PASS_EPILOGUE, e);
    }
}

// What the products reach on registers alone: TILES independent sums a warp.
__kernel __attribute__((reqd_work_group_size(32, WARPS, 1))) void peak(PLACE(int, output), const int rounds) {
    OPEN(int, output);
    int4 sums[TILES];
    uint2 b = (uint)get_global_id(0);
    for (int t = 0; t < TILES; t++) sums[t] = t;
    for (int i = 0; i < rounds; i++) {
        _Pragma("unroll") for (int t = 0; t < TILES; t++) sums[t] = multiplyTiles((uint4)(uint)(i + t), b, sums[t]);
        b += 0x01030507u;
    }
    int4 all = 0;
    for (int t = 0; t < TILES; t++) all ^= sums[t];
    vstore4(all, get_global_id(1) * get_global_size(0) + get_global_id(0), output);
}
