// softmax(q kᵀ·scale + mask) v as one streaming pass: no matrix of queries × keys is stored.
//
//    a group of ITEMS items: ITEMS queries of one head, one an item, its q and running output in registers
//    keys and values come in blocks of BLOCK rows through local memory, where all items read the same element at the same time
//
//        keys    │ block 0 │ block 1 │ …           s = q·k·scale + mask     m′ = max(m, max s)     p = e^(s − m′)
//                 └ BLOCK × WIDTH ┘                l = l·e^(m − m′) + Σp    O = O·e^(m − m′) + p v
//
// WIDTH and VALUE_WIDTH, the channels of a head, are fixed when the program is built.

typedef struct {
    int heads, queries, keys, queryStride, keyStride, valueStride, outputStride, causal, maskStride;
    float scale;
} Attention;

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void attention(
    PLACE(const VALUE, query), PLACE(const VALUE, key), PLACE(const VALUE, value), PLACE(const VALUE, mask), PLACE(VALUE, output), const Attention job)
{
    OPEN(const VALUE, query);
    OPEN(const VALUE, key);
    OPEN(const VALUE, value);
    OPEN(const VALUE, mask);
    OPEN(VALUE, output);
    __local float keys[BLOCK * WIDTH], values[BLOCK * VALUE_WIDTH];
    const int lane = get_local_id(0), token = get_global_id(0), image = (int)get_group_id(1) / job.heads, head = (int)get_group_id(1) - image * job.heads;
    const int mine = min(token, job.queries - 1);
    float q[WIDTH], o[VALUE_WIDTH];
    __global const VALUE *from = query + ((size_t)image * job.queries + mine) * job.queryStride + head * WIDTH;
    for (int c = 0; c < WIDTH; c++) q[c] = getValue(from, c) * job.scale;
    for (int c = 0; c < VALUE_WIDTH; c++) o[c] = 0.0f;
    float largest = -INFINITY, total = 0.0f;
    // With a causal mask no query of the group sees beyond its last one.
    const int end = job.causal ? min(job.keys, ((int)get_group_id(0) + 1) * ITEMS) : job.keys;
    for (int first = 0; first < end; first += BLOCK) {
        const int count = min(BLOCK, end - first);
        for (int i = lane; i < count * WIDTH; i += ITEMS) keys[i] = getValue(key, ((size_t)image * job.keys + first + i / WIDTH) * job.keyStride + head * WIDTH + i % WIDTH);
        for (int i = lane; i < count * VALUE_WIDTH; i += ITEMS) values[i] = getValue(value, ((size_t)image * job.keys + first + i / VALUE_WIDTH) * job.valueStride + head * VALUE_WIDTH + i % VALUE_WIDTH);
        barrier(CLK_LOCAL_MEM_FENCE);
        float scores[BLOCK], next = largest;
        for (int j = 0; j < count; j++) {
            float score = 0.0f;
            for (int c = 0; c < WIDTH; c++) score = fma(q[c], keys[j * WIDTH + c], score);
            if (IS_GIVEN(mask)) score = score + getValue(mask, (size_t)image * job.maskStride + first + j);
            if (job.causal && first + j > mine) score = -INFINITY;
            scores[j] = score;
            next = fmax(next, score);
        }
        if (next > -INFINITY) {
            const float decay = largest == next ? 1.0f : exponential(largest - next, 1.0f);
            total = total * decay;
            for (int c = 0; c < VALUE_WIDTH; c++) o[c] = o[c] * decay;
            for (int j = 0; j < count; j++) {
                const float p = scores[j] == -INFINITY ? 0.0f : exponential(scores[j] - next, 1.0f);
                total = total + p;
                for (int c = 0; c < VALUE_WIDTH; c++) o[c] = fma(p, values[j * VALUE_WIDTH + c], o[c]);
            }
            largest = next;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (token >= job.queries) return;
    __global VALUE *to = output + ((size_t)image * job.queries + token) * job.outputStride + head * VALUE_WIDTH;
    for (int c = 0; c < VALUE_WIDTH; c++) putValue(o[c] / total, to, c);
}
