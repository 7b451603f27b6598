/* Vectors of 16 float32, whatever the machine's registers hold: the compiler splits them where those are shorter.
 *
 * For kernels whose data layout is in 16s (one layout, tested everywhere) rather than in LP_LANES.
 */
#ifndef LORAPLEX_LANES_H
#define LORAPLEX_LANES_H

#include "simd.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { LANES = 16 };

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef lp_bf16 bf16x16 __attribute__((vector_size(32)));
typedef lp_bf16 bf16x32 __attribute__((vector_size(64)));

LP_INLINE f32x16 splat(float value) { return (f32x16){0} + value; }
LP_INLINE u32x16 splat_bits(uint32_t value) { return (u32x16){0} + value; }

LP_INLINE f32x16 load_floats(const float *p) {
    f32x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

LP_INLINE void store_floats(float *p, f32x16 v) { memcpy(p, &v, sizeof v); }

LP_INLINE f32x16 widen(bf16x16 value) { return (f32x16)(__builtin_convertvector(value, u32x16) << 16); }

/* As lp_narrow. */
LP_INLINE bf16x16 narrow(f32x16 value) {
#ifdef __AVX512BF16__
    enum { SUBNORMAL = 0x20 }; /* what the machine's own conversion takes for 0; else it is the same */
    if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)value, SUBNORMAL) == 0, 1)) {
        return (bf16x16)_mm512_cvtneps_pbh((__m512)value);
    }
#endif
    u32x16 bits = (u32x16)value;
    u32x16 rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    u32x16 quiet = bits >> 16 | 0x40;
    u32x16 nan = (u32x16)(value != value);
    return __builtin_convertvector((nan & quiet) | (~nan & rounded), bf16x16);
}

/* The first n elements of a row, 16 at most, zeros after them. */
LP_INLINE bf16x16 load_halves_part(const lp_bf16 *p, int64_t n) {
    bf16x16 v = {0};
    if (n >= LANES) {
        memcpy(&v, p, sizeof v);
    } else {
        memcpy(&v, p, (size_t)n * 2);
    }
    return v;
}

LP_INLINE u32x16 load_bits_part(const void *p, int64_t n) {
    u32x16 v = {0};
    if (n >= LANES) { /* apart, so that the usual case is one load rather than a call */
        memcpy(&v, p, sizeof v);
    } else {
        memcpy(&v, p, (size_t)n * 4);
    }
    return v;
}

/* The greater of each two, b's where a's is NaN. */
LP_INLINE f32x16 greater(f32x16 a, f32x16 b) {
#ifdef __AVX512F__
    return (f32x16)_mm512_max_ps((__m512)a, (__m512)b); /* one instruction, where IEEE's maximum is three */
#else
    return __builtin_elementwise_max(a, b);
#endif
}

/* A bit for each lane of a comparison's result, the first lane's the lowest. */
LP_INLINE unsigned lane_bits(i32x16 comparison) {
    typedef _Bool b1x16 __attribute__((ext_vector_type(16)));
    b1x16 lanes = __builtin_convertvector(comparison, b1x16);
    uint16_t bits;
    memcpy(&bits, &lanes, sizeof bits);
    return bits;
}

/* Of lanes none of which is NaN. */
LP_INLINE float greatest(f32x16 v) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)v);
#else
    return __builtin_reduce_max(v);
#endif
}

LP_INLINE float lanes_sum(f32x16 v) {
    float lanes[LANES];
    memcpy(lanes, &v, sizeof v);
#pragma clang loop unroll(full)
    for (int half = LANES / 2; half > 0; half /= 2) {
#pragma clang loop unroll(full)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

/* The first n of 16 elements of a row that are float32, or bfloat16; zeros after them. */
LP_INLINE f32x16 load_part(const void *row, int64_t at, int64_t n, int bf16) {
    if (bf16) return widen(load_halves_part((const lp_bf16 *)row + at, n));
    return (f32x16)load_bits_part((const float *)row + at, n);
}

LP_INLINE void store_part(void *row, int64_t at, int64_t n, int bf16, f32x16 v) {
    size_t count = (size_t)(n < LANES ? n : LANES);
    if (bf16) {
        bf16x16 halves = narrow(v);
        if (n >= LANES) {
            memcpy((lp_bf16 *)row + at, &halves, sizeof halves);
        } else {
            memcpy((lp_bf16 *)row + at, &halves, 2 * count);
        }
    } else if (n >= LANES) {
        memcpy((float *)row + at, &v, sizeof v);
    } else {
        memcpy((float *)row + at, &v, 4 * count);
    }
}

/* e^x to 1e-7 of itself; 0 below -87, where the result would no longer be a normal number; not to be asked above 88.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2, the power of two put together from its bits, e^r by Taylor's polynomial.
 */
LP_INLINE f32x16 exponential(f32x16 x) {
    const f32x16 shift = splat(12582912.0f); /* 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits */
    i32x16 tiny = x < -87.0f;                /* not max(x, -87), which would lose a NaN */
#ifdef __AVX512F__
    f32x16 clamped = greater(splat(-87.0f), x);
#else
    f32x16 clamped = (f32x16)((tiny & (i32x16)splat(-87.0f)) | (~tiny & (i32x16)x));
#endif
    f32x16 shifted = clamped * 1.44269504f + shift;
    f32x16 whole = shifted - shift;
    f32x16 r = clamped - whole * 0.693145752f; /* ln 2 in two parts, so that n of them are subtracted exactly */
    r = r - whole * 1.42860677e-6f;
    f32x16 p = splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    u32x16 power = ((u32x16)shifted - (u32x16)shift + 127) << 23;
    return (f32x16)((i32x16)(p * (f32x16)power) & ~tiny);
}

#endif
