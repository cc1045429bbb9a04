// What convolutions have in common, whatever they multiply: where a row of the output begins in the padded NHWC image, which row of the output it is, and what happens to its sums before they are
// stored. Rows are those of one phase of a walk (ConvWalk): all of them, in their order, unless the image is upsampled on the way.
//
//    v += bias      v += image vector      v += residual      v *= factor
//    v  = v[2i]·gelu(v[2i + 1])                                           with GATED: columns are channel, gate, channel, gate …, and half as many are stored
//    code = clamp(round_half_even(activation(v)·inv) + z, 0, maxCode)     with CODES, the number of the activation: where layers that read codes are all that reads the result

typedef struct {
    int rows, columns, paddedColumns;
    int inOrder, perImage, perLine, from, fromImage, fromLine, fromStep, to, toImage, toLine, toStep;
} Geometry;

typedef struct {
    int imageVectorStride, residualStride, outputStride, maxCode;
    float outputScale;
} Epilogue;

#define EPILOGUE_PLACES \
    PLACE(const float, bias), PLACE(const VALUE, imageVector), PLACE(const VALUE, residual), PLACE(OUTPUT, output), PLACE(const float, codeQuantizer), PLACE(const float, codeInverse)
#define PASS_EPILOGUE PASS(bias), PASS(imageVector), PASS(residual), PASS(output), PASS(codeQuantizer), PASS(codeInverse)
#ifdef CODES
#define OUTPUT uchar
#else
#define OUTPUT VALUE
#endif

// Where the first pixel under the kernel lies for a row.
inline int cornerOf(int row, const Geometry m) {
    const int image = row / m.perImage, pixel = row - image * m.perImage, y = pixel / m.perLine, x = pixel - y * m.perLine;
    return m.from + image * m.fromImage + y * m.fromLine + x * m.fromStep;
}

// Which row of the output it is.
inline int placeOf(int row, const Geometry m) {
    if (m.inOrder) return row;
    const int image = row / m.perImage, pixel = row - image * m.perImage, y = pixel / m.perLine, x = pixel - y * m.perLine;
    return m.to + image * m.toImage + y * m.toLine + x * m.toStep;
}

// Where an item is in its group of LANES × LINES, each V columns × ROWS rows, and the corners of its rows. With LOCAL_A the group shares them and has room for a chunk of its rows.
#define ITEM const int lane = get_local_id(0), line = get_local_id(1), firstRow = ((int)get_group_id(1) * LINES + line) * ROWS, column = ((int)get_group_id(0) * LANES + lane) * V;
#ifdef LOCAL_A
#define OPEN_TILE(T)                                                                                                                                                          \
    ITEM                                                                                                                                                                      \
    __local T tile[LINES * ROWS * (CHUNK + 1)];                                                                                                                               \
    __local int corners[LINES * ROWS];                                                                                                                                        \
    for (int i = line * LANES + lane; i < LINES * ROWS; i += LANES * LINES) corners[i] = cornerOf(min((int)get_group_id(1) * LINES * ROWS + i, m.rows - 1), m);                \
    barrier(CLK_LOCAL_MEM_FENCE);
#else
#define OPEN_TILE(T)                                                                                 \
    ITEM                                                                                             \
    int corners[ROWS];                                                                               \
    for (int r = 0; r < ROWS; r++) corners[r] = cornerOf(min(firstRow + r, m.rows - 1), m);
#endif

// The rows of an item one after the other. Where V is large (processors) the loop stays one: unrolled it takes a compiler seconds and gains nothing.
#if V < 8
#define FINISH_ROWS(values) for (int r = 0; r < ROWS; r++) finish(values[r], firstRow + r, column, m, PASS_EPILOGUE, e);
#else
#define FINISH_ROWS(values)                                                                                               \
    REAL finished[ROWS];                                                                                                  \
    for (int r = 0; r < ROWS; r++) finished[r] = values[r];                                                               \
    _Pragma("unroll 1") for (int r = 0; r < ROWS; r++) finish(finished[r], firstRow + r, column, m, PASS_EPILOGUE, e);
#endif

// Finishes and stores V columns of a row.
inline void finish(REAL value, int row, int column, const Geometry m, EPILOGUE_PLACES, const Epilogue e) {
    if (row >= m.rows || column >= m.columns) return;
    const int place = placeOf(row, m);
    int count = min(V, m.columns - column);
    if (IS_GIVEN(bias)) {
        OPEN(const float, bias);
        value = value + loadFirst(bias + column, count);
    }
    if (IS_GIVEN(imageVector)) {
        OPEN(const VALUE, imageVector);
        value = value + loadValues(imageVector + (size_t)(row / m.perImage) * e.imageVectorStride + column, count);
    }
    if (IS_GIVEN(residual)) {
        OPEN(const VALUE, residual);
        value = value + loadValues(residual + (size_t)place * e.residualStride + column, count);
    }
    value = value * e.outputScale;
#ifdef GATED
    float lanes[V], gates[V];
    STORE(value, lanes);
    STORE(gelu(value), gates);
    for (int i = 0; i < V / 2; i++) lanes[i] = lanes[2 * i] * gates[2 * i + 1];
    value = LOAD(lanes);
    column /= 2;
    count /= 2;
#endif
    const size_t to = (size_t)place * e.outputStride + column;
#ifdef CODES
    OPEN(uchar, output);
    OPEN(const float, codeQuantizer);
    OPEN(const float, codeInverse);
    const REAL inverse = IS_GIVEN(codeInverse) ? loadFirst(codeInverse + column, count) : (REAL)codeQuantizer[0];
    storeFirstBytes(codeOf(activate(CODES, value) * inverse, (REAL)codeQuantizer[4], e.maxCode), output + to, count);
#else
    OPEN(VALUE, output);
    storeValues(value, output + to, count);
#endif
}
