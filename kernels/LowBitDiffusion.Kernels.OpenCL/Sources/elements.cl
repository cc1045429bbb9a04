// Everything that is neither a layer nor fused into one. One item per element: lanes along the channels, lines along the rows.

typedef struct {
    int batch, rowsPerImage, channels, xStride, yStride, outputStride, broadcast;
} Elements;

#define PLACED                                                              \
    const int c = get_global_id(0), row = get_global_id(1);                 \
    if (c >= job.channels || row >= job.batch * job.rowsPerImage) return;   \
    const size_t to = (size_t)row * job.outputStride + c;
#define ELEMENT PLACED OPEN(VALUE, output);
#define X getValue(x, (size_t)row * job.xStride + c)

// The row of the second operand: the same, the image's, or the row's number within its image.
inline size_t second(const Elements job, int row, int c) {
    const int y = job.broadcast == 0 ? row : job.broadcast == 1 ? row / job.rowsPerImage : row % job.rowsPerImage;
    return (size_t)y * job.yStride + c;
}

__kernel void add(PLACE(const VALUE, x), PLACE(const VALUE, y), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    OPEN(const VALUE, y);
    putValue(X + getValue(y, second(job, row, c)), output, to);
}

__kernel void multiply(PLACE(const VALUE, x), PLACE(const VALUE, y), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    OPEN(const VALUE, y);
    putValue(X * getValue(y, second(job, row, c)), output, to);
}

__kernel void divide(PLACE(const VALUE, x), PLACE(const VALUE, y), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    OPEN(const VALUE, y);
    putValue(X / getValue(y, row / job.rowsPerImage), output, to);
}

__kernel void affine(PLACE(const VALUE, x), PLACE(VALUE, output), const float factor, const float offset, const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    putValue(X * factor + offset, output, to);
}

__kernel void clamp_between(PLACE(const VALUE, x), PLACE(VALUE, output), const float least, const float most, const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    const float value = X;
    putValue(value < least ? least : value > most ? most : value, output, to);
}

__kernel void copy(PLACE(const VALUE, x), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    putValue(X, output, to);
}

// The host's floats, and tables, to values; values to floats.
__kernel void to_values(PLACE(const float, x), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    putValue(x[(size_t)row * job.xStride + c], output, to);
}

__kernel void to_floats(PLACE(const VALUE, x), PLACE(float, output), const Elements job) {
    PLACED
    OPEN(const VALUE, x);
    OPEN(float, output);
    output[to] = X;
}

// To the bytes of a picture, as Image.FromSample rounds them; what is no number becomes 0.
__kernel void to_pixels(PLACE(const VALUE, x), PLACE(uchar, output), const Elements job) {
    PLACED
    OPEN(const VALUE, x);
    OPEN(uchar, output);
    const float unit = X / 2.0f + 0.5f;
    output[to] = unit > 0.0f ? (uchar)rint((unit < 1.0f ? unit : 1.0f) * 255.0f) : 0;
}

// The first half of a row times GELU of its second half.
__kernel void geglu(PLACE(const VALUE, x), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    putValue(X * gelu(getValue(x, (size_t)row * job.xStride + job.channels + c)), output, to);
}

// Mean of 2×2 blocks; rows and width are those of the output, sourceHeight and sourceWidth may be odd.
__kernel void average_pool(PLACE(const VALUE, x), PLACE(VALUE, output), const int sourceHeight, const int sourceWidth, const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    const int width = sourceWidth / 2, image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage, py = pixel / width, px = pixel - py * width;
    const size_t from = (((size_t)image * sourceHeight + 2 * py) * sourceWidth + 2 * px) * job.xStride + c, below = from + (size_t)sourceWidth * job.xStride;
    putValue(((getValue(x, from) + getValue(x, from + job.xStride)) + (getValue(x, below) + getValue(x, below + job.xStride))) * 0.25f, output, to);
}

// A token holds its square of pixels row by row, the channels of a pixel side by side.
__kernel void unpatchify(PLACE(const VALUE, x), PLACE(VALUE, output), const int patch, const int height, const int width, const Elements job) {
    ELEMENT
    OPEN(const VALUE, x);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage, py = pixel / width, px = pixel - py * width;
    const size_t token = ((size_t)image * (height / patch) + py / patch) * (width / patch) + px / patch;
    putValue(getValue(x, token * job.xStride + ((py % patch) * patch + px % patch) * job.channels + c), output, to);
}

// The host's [B, C, H·W] → [B, H·W, C], and back. Planes are dense.
__kernel void to_rows(PLACE(const float, x), PLACE(VALUE, output), const Elements job) {
    ELEMENT
    OPEN(const float, x);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage;
    putValue(x[((size_t)image * job.channels + c) * job.rowsPerImage + pixel], output, to);
}

__kernel void to_planes(PLACE(const VALUE, x), PLACE(float, output), const Elements job) {
    const int c = get_global_id(1), row = get_global_id(0);
    if (c >= job.channels || row >= job.batch * job.rowsPerImage) return;
    OPEN(const VALUE, x);
    OPEN(float, output);
    const int image = row / job.rowsPerImage, pixel = row - image * job.rowsPerImage;
    output[((size_t)image * job.channels + c) * job.rowsPerImage + pixel] = X;
}
