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
// Words that reach beyond a pixel meet weights of zero. Segments are summed one by one in int32:
//
//    S = Σ q·w      v += float(S − z·W)·(d·dw)      then + bias, + image vector, + residual, · factor       every line one rounding

#include "dot.cl"
#include "matrix.cl"
#include "codes.cl"

__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void integer_matrix(INTEGER_PLACES)
{
    OPEN_INTEGER
    OPEN_TILE(uint)

    REAL values[ROWS];
    int word = 0;
    for (int s = 0; s < job.segments; s++) {
        // Where the segment ends, and which of the input's quantizers is its.
        const int end = segments[2 * s], range = segments[2 * s + 1];
#ifdef NIBBLES
        const WORD base = LOAD(bases + s * m.paddedColumns + column);
#else
        const WORD base = 0;
#endif
        INTEGER sums[ROWS];
        for (int r = 0; r < ROWS; r++) sums[r] = 0;
#ifdef LOCAL_A
        for (; word < end; word += CHUNK) {
            const int words = min(CHUNK, end - word);
            for (int i = line * LANES + lane; i < LINES * ROWS * CHUNK; i += LANES * LINES) {
                const int r = i / CHUNK, g = i % CHUNK;
                if (g < words) tile[r * (CHUNK + 1) + g] = loadCodes(input + corners[r] + runs[word + g], job.aligned);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int g = 0; g < words; g++) {
                const WORD b = SPREAD(TO_WORD(LOAD(weights + (size_t)(word + g) * m.paddedColumns + column)), base);
                _Pragma("unroll") for (int r = 0; r < ROWS; r++) sums[r] = dotColumns(tile[(line * ROWS + r) * (CHUNK + 1) + g], b, sums[r]);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        word = end;
#else
        for (; word < end; word++) {
            const WORD b = SPREAD(TO_WORD(LOAD(weights + (size_t)word * m.paddedColumns + column)), base);
            __global const uchar *from = input + runs[word];
            _Pragma("unroll") for (int r = 0; r < ROWS; r++) sums[r] = dotColumns(loadCodes(from + corners[r], job.aligned), b, sums[r]);
        }
#endif
        const REAL factor = quantizer[job.ranges + range] * LOAD(weightScales + s * m.paddedColumns + column);
        const INTEGER centre = (BIAS - (int)quantizer[2 * job.ranges + range]) * LOAD(weightSums + s * m.paddedColumns + column);
        for (int r = 0; r < ROWS; r++) {
            const REAL term = TO_REAL(sums[r] + centre) * factor;
            values[r] = s == 0 ? term : values[r] + term;
        }
    }

    FINISH_ROWS(values)
}

// What the device's products reach on registers alone: ROWS·V independent sums an item, a product of each per round.
__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void peak(PLACE(int, output), const int rounds) {
    OPEN(int, output);
    INTEGER sums[ROWS];
    WORD b = (uint)get_global_id(0);
    for (int r = 0; r < ROWS; r++) sums[r] = r;
    for (int i = 0; i < rounds; i++) {
        _Pragma("unroll") for (int r = 0; r < ROWS; r++) sums[r] = dotColumns((uint)(i + r) * 2654435761u, b, sums[r]);
        b += 0x01030507u;
    }
    INTEGER all = 0;
    for (int r = 0; r < ROWS; r++) all ^= sums[r];
    STORE(all, output + (get_global_id(1) * get_global_size(0) + get_global_id(0)) * V);
}
