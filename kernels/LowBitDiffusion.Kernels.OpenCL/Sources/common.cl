// What all kernels have in common. Floats are rounded after every operation, in the order written: nothing is contracted.
#pragma OPENCL FP_CONTRACT OFF

#ifdef HAS_DOUBLES
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

// A place in memory is two parameters, a buffer and an offset in bytes; a buffer that is null is a place that does not exist.
#define PLACE(T, name) __global T *name##Memory, const ulong name##Offset
#define OPEN(T, name) __global T *name = (__global T *)((__global uchar *)name##Memory + name##Offset)
#define PASS(name) name##Memory, name##Offset
#define IS_GIVEN(name) (name##Memory != 0)

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)

// A program is built for numbers of V lanes, which are read from and written to consecutive elements.
#ifndef V
#define V 1
#endif
#if V == 1
#define REAL float
#define INTEGER int
#define WORD uint
#define LOAD(from) (*(from))
#define STORE(value, to) (*(to) = (value))
#define TO_REAL convert_float
#define TO_INTEGER convert_int
#define TO_WORD convert_uint
#define TO_BYTE convert_uchar
#define AS_REAL as_float
#define AS_INTEGER as_int
#else
#define REAL CAT(float, V)
#define INTEGER CAT(int, V)
#define WORD CAT(uint, V)
#define LOAD(from) CAT(vload, V)(0, from)
#define STORE(value, to) CAT(vstore, V)(value, 0, to)
#define TO_REAL CAT(convert_float, V)
#define TO_INTEGER CAT(convert_int, V)
#define TO_WORD CAT(convert_uint, V)
#define TO_BYTE CAT(convert_uchar, V)
#define AS_REAL CAT(as_float, V)
#define AS_INTEGER CAT(as_int, V)
#endif

// The first lanes alone, where a row ends; the others are 0.
inline REAL loadFirst(__global const float *from, int count) {
    if (count >= V) return LOAD(from);
    float lanes[V];
    for (int i = 0; i < V; i++) lanes[i] = i < count ? from[i] : 0.0f;
    return LOAD(lanes);
}

inline void storeFirst(REAL value, __global float *to, int count) {
    if (count >= V) {
        STORE(value, to);
        return;
    }
    float lanes[V];
    STORE(value, lanes);
    for (int i = 0; i < count; i++) to[i] = lanes[i];
}

inline void storeFirstBytes(REAL value, __global uchar *to, int count) {
    if (count >= V) {
        STORE(TO_BYTE(value), to);
        return;
    }
    float lanes[V];
    STORE(value, lanes);
    for (int i = 0; i < count; i++) to[i] = (uchar)lanes[i];
}

// Elementary functions from additions, multiplications and divisions alone, the same steps as on the processor (Functions.cs).

inline REAL scaleByPowerOfTwo(REAL x, REAL n) {
    const INTEGER exponent = isnan(n) ? (INTEGER)0 : TO_INTEGER(n), part = exponent >> 1;
    return x * AS_REAL((part + 127) << 23) * AS_REAL((exponent - part + 127) << 23);
}

// 2^n·e^r with n = round(x/ln 2); ln 2 in two parts, of which the first has few bits.
inline REAL exponential(REAL x) {
    x = x < -105.0f ? (REAL)-105.0f : x;
    x = x > 89.0f ? (REAL)89.0f : x;
    const REAL n = rint(x * 1.442695041f);
    REAL r = x - n * 0.693145751953125f;
    r = r - n * 1.428606820309417e-6f;
    REAL q = 0.0013926175888627768f;
    q = q * r + 0.008363173343241215f;
    q = q * r + 0.041666556149721146f;
    q = q * r + 0.16666577756404877f;
    q = q * r + 0.5f;
    return scaleByPowerOfTwo((r * r * q + r) + 1.0f, n);
}

inline REAL saturate(REAL x, REAL y, float bound) {
    y = y < -1.0f ? (REAL)-1.0f : y;
    y = y > 1.0f ? (REAL)1.0f : y;
    return fabs(x) >= bound ? copysign((REAL)1.0f, x) : y;
}

inline REAL hyperbolicTangent(REAL x) {
    const REAL t = x * x;
    REAL p = -1.2203467403271162e-11f;
    p = p * t + 3.058501718555817e-08f;
    p = p * t + 2.8007454602629878e-05f;
    p = p * t + 0.0038683274760842323f;
    p = p * t + 0.1367991417646408f;
    p = p * t + 1.0f;
    REAL q = 1.2873663308710093e-06f;
    q = q * t + 0.0003938630688935518f;
    q = q * t + 0.027245838195085526f;
    q = q * t + 0.4701324701309204f;
    q = q * t + 1.0f;
    return saturate(x, (x * p) / q, 9.02f);
}

inline REAL errorFunction(REAL x) {
    const REAL t = x * x;
    REAL p = 2.041967036348069e-06f;
    p = p * t + 0.0002848086296580732f;
    p = p * t + 0.003779618302360177f;
    p = p * t + 0.052790313959121704f;
    p = p * t + 0.19078406691551208f;
    p = p * t + 1.1283791065216064f;
    REAL q = 3.8004036468919367e-05f;
    q = q * t + 0.0011652145767584443f;
    q = q * t + 0.014997456222772598f;
    q = q * t + 0.11425761878490448f;
    q = q * t + 0.5024107098579407f;
    q = q * t + 1.0f;
    return saturate(x, (x * p) / q, 3.93f);
}

inline REAL gelu(REAL x) { return 0.5f * x * (1.0f + errorFunction(x * 0.70710678f)); }

// In the order of the enumeration Activation.
inline REAL activate(int kind, REAL x) {
    switch (kind) {
        case 1: return x / (1.0f + exponential(0.0f - x));
        case 2: return gelu(x);
        case 3: return 0.5f * x * (1.0f + hyperbolicTangent(0.79788456f * (x + 0.044715f * (x * x * x))));
        case 4: return x / (1.0f + exponential(0.0f - x * 1.702f));
        default: return x;
    }
}

// round_half_even(scaled) + zero between 0 and the largest code; what is not a number becomes 0.
inline REAL codeOf(REAL scaled, REAL zero, float maxCode) {
    REAL code = rint(scaled) + zero;
    code = code > 0.0f ? code : (REAL)0.0f;
    return code < maxCode ? code : (REAL)maxCode;
}
