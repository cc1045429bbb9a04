// What all kernels have in common. Floats are rounded after every operation, in the order written: nothing is contracted but what is written as fma.
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

// Values that pass from kernel to kernel lie in memory as floats or, with HALVES, as float16: rounded to nearest, and what is beyond float16's largest number is that number. Kernels reckon in floats.
#ifdef HALVES
#define VALUE half
#define MOST_HALF 65504.0f
#if V == 1
#define LOAD_VALUES(from) vload_half(0, from)
#define STORE_VALUES(value, to) vstore_half_rte(value, 0, to)
#else
#define LOAD_VALUES(from) CAT(vload_half, V)(0, from)
#define STORE_VALUES(value, to) CAT(CAT(vstore_half, V), _rte)(value, 0, to)
#endif
inline float getValue(__global const half *from, size_t i) { return vload_half(i, from); }
inline void putValue(float x, __global half *to, size_t i) { vstore_half_rte(x > MOST_HALF ? MOST_HALF : x < -MOST_HALF ? -MOST_HALF : x, i, to); }
inline REAL loadValues(__global const half *from, int count) {
    if (count >= V) return LOAD_VALUES(from);
    float lanes[V];
    for (int i = 0; i < V; i++) lanes[i] = i < count ? getValue(from, i) : 0.0f;
    return LOAD(lanes);
}
inline REAL storable(REAL x) {
    x = x > MOST_HALF ? (REAL)MOST_HALF : x;
    return x < -MOST_HALF ? (REAL)-MOST_HALF : x;
}
#else
#define VALUE float
#define STORE_VALUES STORE
#define loadValues loadFirst
#define storable(x) (x)
inline float getValue(__global const float *from, size_t i) { return from[i]; }
inline void putValue(float x, __global float *to, size_t i) { to[i] = x; }
#endif

inline void storeValues(REAL value, __global VALUE *to, int count) {
    if (count >= V) {
        STORE_VALUES(storable(value), to);
        return;
    }
    float lanes[V];
    STORE(value, lanes);
    for (int i = 0; i < count; i++) putValue(lanes[i], to, i);
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

// e^(sign·x) = 2^n·e^(sign·r) with n = round(sign·x/ln 2); ln 2 in two parts, what the first leaves of x is exact.
inline REAL exponential(REAL x, const float sign) {
    const float low = sign > 0.0f ? -105.0f : -89.0f, high = sign > 0.0f ? 89.0f : 105.0f;
    x = x < low ? (REAL)low : x;
    x = x > high ? (REAL)high : x;
    const REAL n = rint(x * (sign * 1.442695041f));
    REAL r = fma(n, (REAL)(sign * -0.693145751953125f), x);
    r = fma(n, (REAL)(sign * -1.428606820309417e-6f), r);
    REAL y = 0.0013926175888627768f;
    y = fma(y, r, (REAL)(sign * 0.008363173343241215f));
    y = fma(y, r, (REAL)0.041666556149721146f);
    y = fma(y, r, (REAL)(sign * 0.16666577756404877f));
    y = fma(y, r, (REAL)0.5f);
    y = fma(y, r, (REAL)sign);
    y = fma(y, r, (REAL)1.0f);
    return scaleByPowerOfTwo(y, n);
}

inline REAL polynomial(REAL t, float a0, float a1, float a2, float a3, float a4, float a5) {
    REAL y = a5;
    y = fma(y, t, (REAL)a4);
    y = fma(y, t, (REAL)a3);
    y = fma(y, t, (REAL)a2);
    y = fma(y, t, (REAL)a1);
    return fma(y, t, (REAL)a0);
}

// The normal distribution.
inline REAL phi(REAL x) {
    const REAL c = clamp(x, -5.65f, 5.65f), t = c * c;
    const REAL p = polynomial(t, 0.3989422023296356f, 0.03400003910064697f, 0.004687428940087557f, 0.0001706534094410017f, 6.390713679138571e-06f, 2.275675470286842e-08f);
    const REAL q = polynomial(t, 1.0f, 0.25189095735549927f, 0.028733469545841217f, 0.0018940059235319495f, 7.439327600877732e-05f, 1.200861902361794e-06f);
    const REAL y = 0.5f + (c * p) / q;
    return y < 0.0f ? (REAL)0.0f : y;
}

// Its approximation by tanh.
inline REAL phiTanh(REAL x) {
    const REAL c = clamp(x, -5.11f, 5.11f), t = c * c;
    const REAL p = polynomial(t, 0.39894232153892517f, 0.029981302097439766f, 0.003612260101363063f, 0.0001299885188927874f, 7.043353434710298e-06f, 2.439769808404435e-08f);
    const REAL q = polynomial(t, 1.0f, 0.24264465272426605f, 0.024121727794408798f, 0.0012791940243914723f, 7.473042933270335e-05f, 1.3257315458758967e-06f);
    const REAL y = 0.5f + (c * p) / q;
    return y < 0.0f ? (REAL)0.0f : y;
}

inline REAL gelu(REAL x) { return x * phi(x); }

// In the order of the enumeration Activation.
inline REAL activate(int kind, REAL x) {
    switch (kind) {
        case 1: return x / (1.0f + exponential(x, -1.0f));
        case 2: return gelu(x);
        case 3: return x * phiTanh(x);
        case 4: return x / (1.0f + exponential(x * 1.702f, -1.0f));
        default: return x;
    }
}

// round_half_even(scaled) + zero between 0 and the largest code; what is not a number becomes 0.
inline REAL codeOf(REAL scaled, REAL zero, float maxCode) {
    REAL code = rint(scaled) + zero;
    code = code > 0.0f ? code : (REAL)0.0f;
    return code < maxCode ? code : (REAL)maxCode;
}
