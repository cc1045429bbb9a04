// Convolution in single precision over a padded NHWC image; a linear layer is the 1×1 case. The tiling is that of integer_matrix.cl with floats in place of words:
//
//                      columns: output channels                    LANES × LINES items, each V columns × ROWS rows.
//                  lane 0    lane 1         lane LANES−1           B [K][columns], K over kernel rows, kernel columns, channels;
//    line 0       │ ROWS×V│       │       │       │                runs[2i] is the distance from the pixel's corner to run i, runs[2i + 1] its length.
//    line 1       │ ROWS×V│       │       │       │
//
// Each output is one chain of fused multiply-adds in the order of K, whatever the tiling.

#include "matrix.cl"

__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void float_matrix(
    PLACE(const VALUE, input), PLACE(const float, weights), PLACE(const int, runs), EPILOGUE_PLACES, const Geometry m, const Epilogue e, const int runCount)
{
    OPEN(const VALUE, input);
    OPEN(const float, weights);
    OPEN(const int, runs);
    OPEN_TILE(float)

    REAL values[ROWS];
    for (int r = 0; r < ROWS; r++) values[r] = 0;
    __global const float *b = weights + column;
    for (int i = 0; i < runCount; i++) {
        __global const VALUE *a = input + runs[2 * i];
        const int run = runs[2 * i + 1];
#ifdef LOCAL_A
        for (int k = 0; k < run; k += CHUNK) {
            const int count = min(CHUNK, run - k);
            for (int i = line * LANES + lane; i < LINES * ROWS * CHUNK; i += LANES * LINES) {
                const int r = i / CHUNK, g = i % CHUNK;
                if (g < count) tile[r * (CHUNK + 1) + g] = getValue(a, corners[r] + k + g);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int g = 0; g < count; g++, b += m.paddedColumns) {
                const REAL w = LOAD(b);
                _Pragma("unroll") for (int r = 0; r < ROWS; r++) values[r] = fma((REAL)(tile[(line * ROWS + r) * (CHUNK + 1) + g]), w, values[r]);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#else
        for (int k = 0; k < run; k++, b += m.paddedColumns) {
            const REAL w = LOAD(b);
            _Pragma("unroll") for (int r = 0; r < ROWS; r++) values[r] = fma((REAL)getValue(a, corners[r] + k), w, values[r]);
        }
#endif
    }

    FINISH_ROWS(values)
}
