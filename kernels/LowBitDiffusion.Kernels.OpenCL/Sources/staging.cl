// The pass that feeds a layer: reads one or two images side by side, normalises, activates, resizes, and writes a padded image of codes or values.
//
//    destination   [batch][top + height + bottom][left + width + right][channels]     one item per V channels of one source; the last item of a source has what is left
//
//    pixel  │ first: V │ V │ rest │ second: V │ V │ rest │
//
//    x = channel c of source pixel (⌊y·sourceHeight/height⌋, ⌊x·sourceWidth/width⌋) of [first | second]
//    x = (x − mean[row])·inverseDeviation[row]          if given
//    x = x·factor[image][c] + offset[image][c]          if given
//    x = activation(x)
//    code = clamp(round_half_even(x·inv[c]) + z, 0, maxCode)        the border holds z; values have a border of 0

typedef struct {
    int batch, sourceHeight, sourceWidth, height, width, top, left, paddedHeight, paddedWidth;
    int firstChannels, channels, firstStride, secondStride, affineStride, activation, splitChannel, maxCode;
} Staging;

#define STAGING_PLACES \
    PLACE(const VALUE, first), PLACE(const VALUE, second), PLACE(const float, mean), PLACE(const float, inverseDeviation), PLACE(const float, factor), PLACE(const float, offset)
#define PASS_STAGING PASS(first), PASS(second), PASS(mean), PASS(inverseDeviation), PASS(factor), PASS(offset)

typedef struct {
    int channel, count;
    bool inside;
    size_t to;
    REAL value;
} Staged;

// What an item writes; count is 0 for items beyond the last.
inline Staged staged(STAGING_PLACES, const Staging job) {
    Staged s;
    const int firstItems = (job.firstChannels + V - 1) / V, items = firstItems + (job.channels - job.firstChannels + V - 1) / V;
    const int pixel = get_global_id(0) / items, item = get_global_id(0) - (size_t)pixel * items;
    const bool isFirst = item < firstItems;
    const int within = (isFirst ? item : item - firstItems) * V;
    s.channel = isFirst ? within : job.firstChannels + within;
    s.count = pixel < job.batch * job.paddedHeight * job.paddedWidth ? min(V, (isFirst ? job.firstChannels : job.channels) - s.channel) : 0;
    const int line = pixel / job.paddedWidth, x = pixel - line * job.paddedWidth - job.left, image = line / job.paddedHeight, y = line - image * job.paddedHeight - job.top;
    s.inside = x >= 0 && x < job.width && y >= 0 && y < job.height;
    s.to = (size_t)pixel * job.channels + s.channel;
    s.value = 0.0f;
    if (!s.inside || s.count == 0) return s;
    OPEN(const VALUE, first);
    OPEN(const VALUE, second);
    OPEN(const float, mean);
    OPEN(const float, inverseDeviation);
    OPEN(const float, factor);
    OPEN(const float, offset);
    const int sourceY = job.sourceHeight == job.height ? y : (int)((long)y * job.sourceHeight / job.height);
    const int sourceX = job.sourceWidth == job.width ? x : (int)((long)x * job.sourceWidth / job.width);
    const size_t row = ((size_t)image * job.sourceHeight + sourceY) * job.sourceWidth + sourceX, affine = (size_t)image * job.affineStride + s.channel;
    s.value = loadValues(isFirst ? first + row * job.firstStride + within : second + row * job.secondStride + within, s.count);
    if (IS_GIVEN(mean)) s.value = (s.value - mean[row]) * inverseDeviation[row];
    if (IS_GIVEN(factor)) s.value = s.value * loadFirst(factor + affine, s.count) + loadFirst(offset + affine, s.count);
    s.value = activate(job.activation, s.value);
    return s;
}

// One number for the channels before the split, another from there on.
inline REAL split(const Staging job, int channel, float before, float after) {
    if (job.splitChannel <= channel || job.splitChannel >= channel + V) return (REAL)(job.splitChannel > 0 && channel >= job.splitChannel ? after : before);
    float lanes[V];
    for (int i = 0; i < V; i++) lanes[i] = channel + i >= job.splitChannel ? after : before;
    return LOAD(lanes);
}

__kernel void stage_codes(STAGING_PLACES, PLACE(const float, quantizer), PLACE(const float, channelInverse), PLACE(uchar, destination), const Staging job) {
    const Staged s = staged(PASS_STAGING, job);
    if (s.count == 0) return;
    OPEN(const float, quantizer);
    OPEN(const float, channelInverse);
    OPEN(uchar, destination);
    const REAL zero = split(job, s.channel, quantizer[4], quantizer[5]);
    REAL code = zero;
    if (s.inside) {
        const REAL inverse = IS_GIVEN(channelInverse) ? loadFirst(channelInverse + s.channel, s.count) : split(job, s.channel, quantizer[0], quantizer[1]);
        code = codeOf(s.value * inverse, zero, job.maxCode);
    }
    storeFirstBytes(code, destination + s.to, s.count);
}

__kernel void stage_values(STAGING_PLACES, PLACE(VALUE, destination), const Staging job) {
    const Staged s = staged(PASS_STAGING, job);
    if (s.count == 0) return;
    OPEN(VALUE, destination);
    storeValues(s.value, destination + s.to, s.count);
}
