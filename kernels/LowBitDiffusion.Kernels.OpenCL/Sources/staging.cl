// The pass that feeds a layer: reads one or two images side by side, normalises, activates, resizes, and writes a padded image of codes or floats.
//
//    destination   [batch][top + height + bottom][left + width + right][channels]     one item per element: lanes along the channels, lines along the pixels
//
//    x = channel c of source pixel (⌊y·sourceHeight/height⌋, ⌊x·sourceWidth/width⌋) of [first | second]
//    x = (x − mean[row])·inverseDeviation[row]          if given
//    x = x·factor[image][c] + offset[image][c]          if given
//    x = activation(x)
//    code = clamp(round_half_even(x·inv[c]) + z, 0, maxCode)        the border holds z; floats have a border of 0

typedef struct {
    int batch, sourceHeight, sourceWidth, height, width, top, left, paddedHeight, paddedWidth;
    int firstChannels, channels, firstStride, secondStride, affineStride, activation, splitChannel, maxCode;
} Staging;

#define STAGING_PLACES \
    PLACE(const float, first), PLACE(const float, second), PLACE(const float, mean), PLACE(const float, inverseDeviation), PLACE(const float, factor), PLACE(const float, offset)

// The value, or false on the border.
#define STAGED_VALUE(value)                                                                                                                              \
    const int c = get_global_id(0), pixel = get_global_id(1);                                                                                            \
    if (c >= job.channels || pixel >= job.batch * job.paddedHeight * job.paddedWidth) return;                                                            \
    const int line = pixel / job.paddedWidth, x = pixel - line * job.paddedWidth - job.left, image = line / job.paddedHeight, y = line - image * job.paddedHeight - job.top; \
    const bool inside = x >= 0 && x < job.width && y >= 0 && y < job.height;                                                                             \
    const size_t to = (size_t)pixel * job.channels + c;                                                                                                  \
    float value = 0.0f;                                                                                                                                  \
    if (inside) {                                                                                                                                        \
        OPEN(const float, first);                                                                                                                        \
        OPEN(const float, second);                                                                                                                       \
        OPEN(const float, mean);                                                                                                                         \
        OPEN(const float, inverseDeviation);                                                                                                             \
        OPEN(const float, factor);                                                                                                                       \
        OPEN(const float, offset);                                                                                                                       \
        const int sourceY = job.sourceHeight == job.height ? y : (int)((long)y * job.sourceHeight / job.height);                                         \
        const int sourceX = job.sourceWidth == job.width ? x : (int)((long)x * job.sourceWidth / job.width);                                             \
        const size_t row = ((size_t)image * job.sourceHeight + sourceY) * job.sourceWidth + sourceX;                                                     \
        value = c < job.firstChannels ? first[row * job.firstStride + c] : second[row * job.secondStride + c - job.firstChannels];                       \
        if (IS_GIVEN(mean)) value = (value - mean[row]) * inverseDeviation[row];                                                                         \
        if (IS_GIVEN(factor)) value = value * factor[(size_t)image * job.affineStride + c] + offset[(size_t)image * job.affineStride + c];               \
        value = activate(job.activation, value);                                                                                                         \
    }

__kernel void stage_codes(STAGING_PLACES, PLACE(const float, quantizer), PLACE(const float, channelInverse), PLACE(uchar, destination), const Staging job) {
    STAGED_VALUE(value)
    OPEN(const float, quantizer);
    OPEN(const float, channelInverse);
    OPEN(uchar, destination);
    const int range = job.splitChannel > 0 && c >= job.splitChannel ? 1 : 0;
    const float zero = quantizer[4 + range];
    float code = zero;
    if (inside) {
        code = rint(value * (IS_GIVEN(channelInverse) ? channelInverse[c] : quantizer[range])) + zero;
        // What is not a number becomes 0.
        code = code > 0.0f ? code : 0.0f;
        code = code < (float)job.maxCode ? code : (float)job.maxCode;
    }
    destination[to] = (uchar)code;
}

__kernel void stage_floats(STAGING_PLACES, PLACE(float, destination), const Staging job) {
    STAGED_VALUE(value)
    OPEN(float, destination);
    destination[to] = value;
}
