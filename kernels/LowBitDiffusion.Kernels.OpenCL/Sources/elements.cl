// Everything that is neither a layer nor fused into one. One item per element: lanes along the channels, lines along the rows.

typedef struct {
    int batch, rowsPerImage, channels, xStride, yStride, outputStride, broadcast;
} Elements;

#define ELEMENT                                                             \
    const int c = get_global_id(0), row = get_global_id(1);                 \
    if (c >= job.channels || row >= job.batch * job.rowsPerImage) return;   \
    const size_t to = (size_t)row * job.outputStride + c;                   \
    OPEN(float, output);

// The row of the second operand: the same, the image's, or the row's number within its image.
inline size_t second(const Elements job, int row, int c) {
    const int y = job.broadcast == 0 ? row : job.broadcast == 1 ? row / job.rowsPerImage : row % job.rowsPerImage;
    return (size_t)y * job.yStride + c;
}

__kernel void add(PLACE(const float, x), PLACE(const float, y), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    OPEN(const float, y);
    output[to] = x[(size_t)row * job.xStride + c] + y[second(job, row, c)];
}

__kernel void multiply(PLACE(const float, x), PLACE(const float, y), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    OPEN(const float, y);
    output[to] = x[(size_t)row * job.xStride + c] * y[second(job, row, c)];
}

__kernel void divide(PLACE(const float, x), PLACE(const float, y), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    OPEN(const float, y);
    output[to] = x[(size_t)row * job.xStride + c] / y[row / job.rowsPerImage];
}

__kernel void affine(PLACE(const float, x), PLACE(float, output), const float factor, const float offset, const Elements job) {
    ELEMENT
    OPEN(const float, x);
    output[to] = x[(size_t)row * job.xStride + c] * factor + offset;
}

__kernel void clamp_between(PLACE(const float, x), PLACE(float, output), const float least, const float most, const Elements job) {
    ELEMENT
    OPEN(const float, x);
    const float value = x[(size_t)row * job.xStride + c];
    output[to] = value < least ? least : value > most ? most : value;
}

__kernel void copy(PLACE(const float, x), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    output[to] = x[(size_t)row * job.xStride + c];
}

// The first half of a row times GELU of its second half.
__kernel void geglu(PLACE(const float, x), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    output[to] = x[(size_t)row * job.xStride + c] * gelu(x[(size_t)row * job.xStride + job.channels + c]);
}

// Mean of 2×2 blocks; rows and width are those of the output, sourceHeight and sourceWidth may be odd.
__kernel void average_pool(PLACE(const float, x), PLACE(float, output), const int sourceHeight, const int sourceWidth, const Elements job) {
    ELEMENT
    OPEN(const float, x);
    const int width = sourceWidth / 2, image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage, py = pixel / width, px = pixel - py * width;
    __global const float *from = x + (((size_t)image * sourceHeight + 2 * py) * sourceWidth + 2 * px) * job.xStride + c;
    const size_t below = (size_t)sourceWidth * job.xStride;
    output[to] = ((from[0] + from[job.xStride]) + (from[below] + from[below + job.xStride])) * 0.25f;
}

// A token holds its square of pixels row by row, the channels of a pixel side by side.
__kernel void unpatchify(PLACE(const float, x), PLACE(float, output), const int patch, const int height, const int width, const Elements job) {
    ELEMENT
    OPEN(const float, x);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage, py = pixel / width, px = pixel - py * width;
    const size_t token = ((size_t)image * (height / patch) + py / patch) * (width / patch) + px / patch;
    output[to] = x[token * job.xStride + ((py % patch) * patch + px % patch) * job.channels + c];
}

// [B, C, H·W] → [B, H·W, C], and back. Planes are dense.
__kernel void to_rows(PLACE(const float, x), PLACE(float, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage;
    output[to] = x[((size_t)image * job.channels + c) * job.rowsPerImage + pixel];
}

__kernel void to_planes(PLACE(const float, x), PLACE(float, output), const Elements job) {
    const int c = get_global_id(1), row = get_global_id(0);
    if (c >= job.channels || row >= job.batch * job.rowsPerImage) return;
    OPEN(const float, x);
    OPEN(float, output);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage;
    output[((size_t)image * job.channels + c) * job.rowsPerImage + pixel] = x[(size_t)row * job.xStride + c];
}
