// Convolution in single precision over a padded NHWC image; a linear layer is the 1×1 case. The tiling is that of integer_matrix.cl with floats in place of words:
//
//                      columns: output channels                    LANES × LINES items, each V columns × ROWS rows.
//                  lane 0    lane 1         lane LANES−1           B [K][columns], K over kernel rows, kernel columns and channels;
//    line 0       │ ROWS×V│       │       │       │                kernel row y of an output pixel is one run of memory from y·width·channels on.
//    line 1       │ ROWS×V│       │       │       │
//
// Each output is one chain of fused multiply-adds in the order of K, whatever the tiling.

typedef struct {
    int rows, columns, paddedColumns, kernelHeight, run;
    int outHeight, outWidth, height, width, channels, stride;
    int imageVectorStride, residualStride, outputStride;
    float outputScale;
} FloatMatrix;

#define FLOATV CAT(float, V)
#define LOADV CAT(vload, V)
#define STOREV CAT(vstore, V)

inline int cornerOf(int row, const FloatMatrix m) {
    const int image = row / (m.outHeight * m.outWidth), pixel = row - image * m.outHeight * m.outWidth, y = pixel / m.outWidth, x = pixel - y * m.outWidth;
    return ((image * m.height + y * m.stride) * m.width + x * m.stride) * m.channels;
}

__kernel __attribute__((reqd_work_group_size(LANES, LINES, 1))) void float_matrix(
    PLACE(const float, input), PLACE(const float, weights), PLACE(const float, bias), PLACE(const float, imageVector), PLACE(const float, residual), PLACE(float, output), const FloatMatrix m)
{
    OPEN(const float, input);
    OPEN(const float, weights);
    const int lane = get_local_id(0), line = get_local_id(1), firstRow = ((int)get_group_id(1) * LINES + line) * ROWS, column = ((int)get_group_id(0) * LANES + lane) * V;
#ifdef LOCAL_A
    __local float tile[LINES * ROWS * (CHUNK + 1)];
    __local int corners[LINES * ROWS];
    for (int i = line * LANES + lane; i < LINES * ROWS; i += LANES * LINES) corners[i] = cornerOf(min((int)get_group_id(1) * LINES * ROWS + i, m.rows - 1), m);
    barrier(CLK_LOCAL_MEM_FENCE);
#else
    int corners[ROWS];
    for (int r = 0; r < ROWS; r++) corners[r] = cornerOf(min(firstRow + r, m.rows - 1), m);
#endif

    FLOATV values[ROWS];
    for (int r = 0; r < ROWS; r++) values[r] = 0;
    __global const float *b = weights + column;
    for (int y = 0; y < m.kernelHeight; y++) {
        __global const float *a = input + y * m.width * m.channels;
#ifdef LOCAL_A
        for (int k = 0; k < m.run; k += CHUNK) {
            const int count = min(CHUNK, m.run - k);
            for (int i = line * LANES + lane; i < LINES * ROWS * CHUNK; i += LANES * LINES) {
                const int r = i / CHUNK, g = i % CHUNK;
                if (g < count) tile[r * (CHUNK + 1) + g] = a[corners[r] + k + g];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int g = 0; g < count; g++, b += m.paddedColumns) {
                const FLOATV w = LOADV(0, b);
                for (int r = 0; r < ROWS; r++) values[r] = fma((FLOATV)(tile[(line * ROWS + r) * (CHUNK + 1) + g]), w, values[r]);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
#else
        for (int k = 0; k < m.run; k++, b += m.paddedColumns) {
            const FLOATV w = LOADV(0, b);
            for (int r = 0; r < ROWS; r++) values[r] = fma((FLOATV)(a[corners[r] + k]), w, values[r]);
        }
#endif
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
