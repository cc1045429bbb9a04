// Words of four codes: weights as bytes, or with NIBBLES half as long as n = w − lowest. n + lowest + 128 carries nothing over, and turning over the highest bit takes the 128 away.

#ifdef NIBBLES
#define WEIGHTS ushort
#define SPREAD(n, base) (((((n) & 0x000Fu) | ((n) & 0x00F0u) << 4 | ((n) & 0x0F00u) << 8 | ((n) & 0xF000u) << 12) + (base)) ^ 0x80808080u)
#else
#define WEIGHTS uint
#define SPREAD(n, base) (n)
#endif

typedef struct {
    int segments, ranges, aligned;
} IntegerMatrix;

inline uint loadCodes(__global const uchar *from, int aligned) { return (aligned ? *(__global const uint *)from : as_uint(vload4(0, from))) ^ FLIP; }

#define INTEGER_PLACES \
    PLACE(const uchar, input), PLACE(const WEIGHTS, weights), PLACE(const int, runs), PLACE(const int, weightSums), PLACE(const uint, bases), PLACE(const float, weightScales), \
    PLACE(const int, segments), PLACE(const float, quantizer), EPILOGUE_PLACES, const Geometry m, const Epilogue e, const IntegerMatrix job

#define OPEN_INTEGER                  \
    OPEN(const uchar, input);          \
    OPEN(const WEIGHTS, weights);      \
    OPEN(const int, runs);             \
    OPEN(const int, weightSums);       \
    OPEN(const uint, bases);           \
    OPEN(const float, weightScales);   \
    OPEN(const int, segments);         \
    OPEN(const float, quantizer);
