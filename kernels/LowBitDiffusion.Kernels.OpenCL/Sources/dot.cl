// Products of unsigned and signed codes, four to a word. DOT_…: how they are added. DOT_AMD_SIGNED has only signed bytes: q − 128 is q with its highest bit turned over (FLIP), and BIAS·Σw is added.

#ifdef DOT_KHRONOS
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif

#if defined(DOT_AMD_SIGNED)
#define FLIP 0x80808080u
#define BIAS 128
#else
#define FLIP 0u
#define BIAS 0
#endif

#ifdef DOT_INTEL
int __builtin_IB_dp4a_us(int sum, int a, int b) __attribute__((const));
#endif

// sum + Σ a·b of four bytes each, a being flipped.
inline int dotOne(uint a, uint b, int sum) {
#if defined(DOT_KHRONOS)
    return sum + dot_4x8packed_us_int(a, b);
#elif defined(DOT_NVIDIA)
    int result;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#elif defined(DOT_INTEL)
    return __builtin_IB_dp4a_us(sum, (int)a, (int)b);
#elif defined(DOT_AMD_MIXED)
    return __builtin_amdgcn_sudot4(0, (int)a, 1, (int)b, sum, 0);
#elif defined(DOT_AMD_SIGNED)
    return __builtin_amdgcn_sdot4((int)a, (int)b, sum, 0);
#else
    const int w = as_int(b);
    return sum + (int)(a & 255) * ((w << 24) >> 24) + (int)((a >> 8) & 255) * ((w << 16) >> 24) + (int)((a >> 16) & 255) * ((w << 8) >> 24) + (int)(a >> 24) * (w >> 24);
#endif
}

// The same for V lanes.
#if V == 1
#define dotLanes dotOne
#elif !defined(DOT_PLAIN)
inline int2 dotLanes2(uint2 a, uint2 b, int2 sum) { return (int2)(dotOne(a.x, b.x, sum.x), dotOne(a.y, b.y, sum.y)); }
inline int4 dotLanes4(uint4 a, uint4 b, int4 sum) { return (int4)(dotLanes2(a.lo, b.lo, sum.lo), dotLanes2(a.hi, b.hi, sum.hi)); }
inline int8 dotLanes8(uint8 a, uint8 b, int8 sum) { return (int8)(dotLanes4(a.lo, b.lo, sum.lo), dotLanes4(a.hi, b.hi, sum.hi)); }
inline int16 dotLanes16(uint16 a, uint16 b, int16 sum) { return (int16)(dotLanes8(a.lo, b.lo, sum.lo), dotLanes8(a.hi, b.hi, sum.hi)); }
#define dotLanes CAT(dotLanes, V)
#endif

// Codes of a row, flipped, with those of V columns.
inline INTEGER dotColumns(uint a, WORD b, INTEGER sum) {
#if defined(DOT_PLAIN) && V > 1
    const INTEGER w = AS_INTEGER(b);
    return sum + (int)(a & 255) * ((w << 24) >> 24) + (int)((a >> 8) & 255) * ((w << 16) >> 24) + (int)((a >> 16) & 255) * ((w << 8) >> 24) + (int)(a >> 24) * (w >> 24);
#else
    return dotLanes((WORD)a, b, sum);
#endif
}

// Codes of V rows, as they are, with those of a column.
inline INTEGER dotRows(WORD a, uint b, INTEGER sum) {
#if defined(DOT_PLAIN) && V > 1
    const int w = as_int(b);
    return sum + AS_INTEGER(a & 255u) * ((w << 24) >> 24) + AS_INTEGER((a >> 8) & 255u) * ((w << 16) >> 24) + AS_INTEGER((a >> 16) & 255u) * ((w << 8) >> 24) + AS_INTEGER(a >> 24) * (w >> 24);
#elif BIAS > 0
    return dotLanes(a ^ FLIP, (WORD)b, sum + BIAS * dotOne(0x01010101u, b, 0));
#else
    return dotLanes(a, (WORD)b, sum);
#endif
}
