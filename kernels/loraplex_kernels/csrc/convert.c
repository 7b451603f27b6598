/* Matrices from one float format to another, transposed or not, on the calling thread alone: what loading does beside
 * the step loop, in few calls, so that it asks for Python's interpreter as seldom as it can.
 */
#include "parallel.h"
#include "simd.h"

enum kind { F32, BF16, F16 };
enum { TILE = 16 }; /* rows read together when transposing: a cache line of every column's target, in float32 */

struct convert {
    const char *source; /* [rows, columns], contiguous */
    char *target;       /* [rows, columns], or [columns, rows] when transposed */
    int64_t rows, columns, stride; /* elements from one row of the target to the next */
    int64_t source_kind, target_kind, transposed;
};

LP_INLINE float get(const char *p, int64_t i, int kind) {
    if (kind == F32) {
        float value;
        memcpy(&value, p + i * 4, 4);
        return value;
    }
    if (kind == BF16) {
        lp_bf16 value;
        memcpy(&value, p + i * 2, 2);
        return lp_bf16_to_f32(value);
    }
    _Float16 value;
    memcpy(&value, p + i * 2, 2);
    return (float)value;
}

/* Stores, and says whether what was stored is an infinity or NaN. */
LP_INLINE uint32_t put(char *p, int64_t i, int kind, float value) {
    if (kind == F32) {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        memcpy(p + i * 4, &bits, 4);
        return (bits & 0x7f800000) == 0x7f800000;
    }
    uint16_t bits;
    if (kind == BF16) {
        bits = lp_f32_to_bf16(value);
    } else {
        _Float16 half = (_Float16)value;
        memcpy(&bits, &half, 2);
    }
    memcpy(p + i * 2, &bits, 2);
    uint16_t exponent = kind == BF16 ? 0x7f80 : 0x7c00;
    return (bits & exponent) == exponent;
}

LP_INLINE uint32_t copied(const char *source, char *target, int64_t n, int kind) {
    memcpy(target, source, (size_t)n * (kind == F32 ? 4 : 2));
    uint32_t bad = 0;
    if (kind == F32) {
        const uint32_t *bits = (const uint32_t *)target;
        for (int64_t i = 0; i < n; i++) bad |= (bits[i] & 0x7f800000) == 0x7f800000;
    } else {
        const uint16_t *bits = (const uint16_t *)target;
        uint16_t exponent = kind == BF16 ? 0x7f80 : 0x7c00, found = 0;
        for (int64_t i = 0; i < n; i++) found |= (bits[i] & exponent) == exponent;
        bad = found;
    }
    return bad;
}

LP_INLINE uint32_t straight(const struct convert *a, int from, int to) {
    uint32_t bad = 0;
    int64_t size = from == F32 ? 4 : 2, width = to == F32 ? 4 : 2;
    for (int64_t row = 0; row < a->rows; row++) {
        const char *source = a->source + row * a->columns * size;
        char *target = a->target + row * a->stride * width;
        if (from == to) {
            bad |= copied(source, target, a->columns, to);
            continue;
        }
        for (int64_t i = 0; i < a->columns; i++) bad |= put(target, i, to, get(source, i, from));
    }
    return bad;
}

LP_INLINE uint32_t transposed(const struct convert *a, int from, int to) {
    uint32_t bad = 0;
    int64_t size = from == F32 ? 4 : 2, width = to == F32 ? 4 : 2;
    for (int64_t first = 0; first < a->rows; first += TILE) {
        int64_t count = a->rows - first < TILE ? a->rows - first : TILE;
        const char *source = a->source + first * a->columns * size;
        for (int64_t column = 0; column < a->columns; column++) {
            char *target = a->target + (column * a->stride + first) * width;
            for (int64_t i = 0; i < count; i++) bad |= put(target, i, to, get(source, i * a->columns + column, from));
        }
    }
    return bad;
}

#define CASE(from, to)    \
    case from * 4 + to:   \
        return a->transposed ? transposed(a, from, to) : straight(a, from, to)

/* 0: every value that was stored is finite. */
static uint32_t convert(const struct convert *a) {
    switch (a->source_kind * 4 + a->target_kind) {
        CASE(F32, F32);
        CASE(F32, BF16);
        CASE(F32, F16);
        CASE(BF16, F32);
        CASE(BF16, BF16);
        CASE(BF16, F16);
        CASE(F16, F32);
        CASE(F16, BF16);
        CASE(F16, F16);
    }
    return 1;
}

/* bad[i] is 0 where every value that job i stored is finite. */
LP_EXPORT void loraplex_convert(const struct convert *jobs, int64_t count, uint32_t *bad) {
    for (int64_t i = 0; i < count; i++) bad[i] = convert(jobs + i);
}
