// What all kernels have in common. Floats are rounded after every operation, in the order written: nothing is contracted.
#pragma OPENCL FP_CONTRACT OFF

#ifdef HAS_DOUBLES
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

// A place in memory is two parameters, a buffer and an offset in bytes; a buffer that is null is a place that does not exist.
#define PLACE(T, name) __global T *name##Memory, const ulong name##Offset
#define OPEN(T, name) __global T *name = (__global T *)((__global uchar *)name##Memory + name##Offset)
#define IS_GIVEN(name) (name##Memory != 0)

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)

// Elementary functions from additions, multiplications and divisions alone, the same steps as on the processor (Functions.cs).

inline float scaleByPowerOfTwo(float x, float n) {
    const int exponent = isnan(n) ? 0 : (int)n, part = exponent >> 1;
    return x * as_float((part + 127) << 23) * as_float((exponent - part + 127) << 23);
}

// 2^n·e^r with n = round(x/ln 2); ln 2 in two parts, of which the first has few bits.
inline float exponential(float x) {
    x = x < -105.0f ? -105.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const float n = rint(x * 1.442695041f);
    float r = x - n * 0.693145751953125f;
    r = r - n * 1.428606820309417e-6f;
    float q = 0.0013926175888627768f;
    q = q * r + 0.008363173343241215f;
    q = q * r + 0.041666556149721146f;
    q = q * r + 0.16666577756404877f;
    q = q * r + 0.5f;
    return scaleByPowerOfTwo((r * r * q + r) + 1.0f, n);
}

inline float saturate(float x, float y, float bound) {
    y = y < -1.0f ? -1.0f : y;
    y = y > 1.0f ? 1.0f : y;
    return fabs(x) >= bound ? copysign(1.0f, x) : y;
}

inline float hyperbolicTangent(float x) {
    const float t = x * x;
    float p = -1.2203467403271162e-11f;
    p = p * t + 3.058501718555817e-08f;
    p = p * t + 2.8007454602629878e-05f;
    p = p * t + 0.0038683274760842323f;
    p = p * t + 0.1367991417646408f;
    p = p * t + 1.0f;
    float q = 1.2873663308710093e-06f;
    q = q * t + 0.0003938630688935518f;
    q = q * t + 0.027245838195085526f;
    q = q * t + 0.4701324701309204f;
    q = q * t + 1.0f;
    return saturate(x, (x * p) / q, 9.02f);
}

inline float errorFunction(float x) {
    const float t = x * x;
    float p = 2.041967036348069e-06f;
    p = p * t + 0.0002848086296580732f;
    p = p * t + 0.003779618302360177f;
    p = p * t + 0.052790313959121704f;
    p = p * t + 0.19078406691551208f;
    p = p * t + 1.1283791065216064f;
    float q = 3.8004036468919367e-05f;
    q = q * t + 0.0011652145767584443f;
    q = q * t + 0.014997456222772598f;
    q = q * t + 0.11425761878490448f;
    q = q * t + 0.5024107098579407f;
    q = q * t + 1.0f;
    return saturate(x, (x * p) / q, 3.93f);
}

inline float gelu(float x) { return 0.5f * x * (1.0f + errorFunction(x * 0.70710678f)); }

// In the order of the enumeration Activation.
inline float activate(int kind, float x) {
    switch (kind) {
        case 1: return x / (1.0f + exponential(0.0f - x));
        case 2: return gelu(x);
        case 3: return 0.5f * x * (1.0f + hyperbolicTangent(0.79788456f * (x + 0.044715f * (x * x * x))));
        case 4: return x / (1.0f + exponential(0.0f - x * 1.702f));
        default: return x;
    }
}

