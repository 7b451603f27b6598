/* Vectors of float32 and bfloat16, written once for every instruction set.
 *
 * clang's vector types become the machine's own: LP_LANES float32 fill one register of the level that is
 * compiled for. Everything here rounds as IEEE says, keeps NaN and infinity, and sums in one fixed order; the
 * compiler may fuse a multiplication into the addition of the same expression (-ffp-contract=on) and nothing
 * more.
 */
#ifndef LORAPLEX_SIMD_H
#define LORAPLEX_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LP_LANES 16
#elif defined(__AVX__)
#define LP_LANES 8
#else
#define LP_LANES 4
#endif

/* Vector registers of the level: what tiles are cut to. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define LP_REGISTERS 32
#else
#define LP_REGISTERS 16
#endif

#define LP_INLINE static inline __attribute__((always_inline))

typedef uint16_t lp_bf16; /* the upper half of a float32 */
typedef float lp_f32v __attribute__((vector_size(LP_LANES * 4)));
typedef uint32_t lp_u32v __attribute__((vector_size(LP_LANES * 4)));
typedef int32_t lp_i32v __attribute__((vector_size(LP_LANES * 4)));
typedef lp_bf16 lp_bf16v __attribute__((vector_size(LP_LANES * 2)));
typedef int8_t lp_i8v __attribute__((vector_size(LP_LANES)));

LP_INLINE lp_f32v lp_splat(float value) { return (lp_f32v){0} + value; }

LP_INLINE float lp_bf16_to_f32(lp_bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}

/* Round to nearest, ties to even; a NaN stays one (and becomes quiet). */
LP_INLINE lp_bf16 lp_f32_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return (lp_bf16)(bits >> 16 | 0x40);
    return (lp_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

LP_INLINE lp_f32v lp_widen(lp_bf16v value) {
    return (lp_f32v)(__builtin_convertvector(value, lp_u32v) << 16);
}

LP_INLINE lp_bf16v lp_narrow(lp_f32v value) {
    lp_u32v bits = (lp_u32v)value;
    lp_u32v rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    lp_u32v quiet = bits >> 16 | 0x40;
    lp_u32v nan = (lp_u32v)(value != value);
    return __builtin_convertvector((nan & quiet) | (~nan & rounded), lp_bf16v);
}

/* LP_LANES elements from any address. */
LP_INLINE lp_f32v lp_load_f32(const float *p) {
    lp_f32v v;
    memcpy(&v, p, sizeof v);
    return v;
}

LP_INLINE lp_f32v lp_load_bf16(const lp_bf16 *p) {
    lp_bf16v v;
    memcpy(&v, p, sizeof v);
    return lp_widen(v);
}

LP_INLINE lp_f32v lp_load_i8(const int8_t *p) {
    lp_i8v v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, lp_f32v);
}

LP_INLINE void lp_store_f32(float *p, lp_f32v v) { memcpy(p, &v, sizeof v); }

LP_INLINE void lp_store_bf16(lp_bf16 *p, lp_f32v v) {
    lp_bf16v narrow = lp_narrow(v);
    memcpy(p, &narrow, sizeof narrow);
}

/* The first n < LP_LANES elements; zeros after them when loading, untouched memory when storing. */
LP_INLINE lp_f32v lp_load_f32_part(const float *p, int64_t n) {
    float lanes[LP_LANES] = {0};
    for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
    return lp_load_f32(lanes);
}

LP_INLINE lp_f32v lp_load_bf16_part(const lp_bf16 *p, int64_t n) {
    lp_bf16 lanes[LP_LANES] = {0};
    for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
    return lp_load_bf16(lanes);
}

LP_INLINE lp_f32v lp_load_i8_part(const int8_t *p, int64_t n) {
    int8_t lanes[LP_LANES] = {0};
    for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
    return lp_load_i8(lanes);
}

LP_INLINE void lp_store_f32_part(float *p, lp_f32v v, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = v[i];
}

LP_INLINE void lp_store_bf16_part(lp_bf16 *p, lp_f32v v, int64_t n) {
    lp_bf16v narrow = lp_narrow(v);
    for (int64_t i = 0; i < n; i++) p[i] = narrow[i];
}

/* LP_LANES elements of a row that is float32 or bfloat16, or the first `part` of them unless it is 0. */
LP_INLINE lp_f32v lp_load(const void *row, int64_t at, int64_t part, const int bf16) {
    if (bf16) {
        const lp_bf16 *p = (const lp_bf16 *)row + at;
        return part ? lp_load_bf16_part(p, part) : lp_load_bf16(p);
    }
    const float *p = (const float *)row + at;
    return part ? lp_load_f32_part(p, part) : lp_load_f32(p);
}

LP_INLINE lp_f32v lp_load_i8_any(const int8_t *row, int64_t at, int64_t part) {
    return part ? lp_load_i8_part(row + at, part) : lp_load_i8(row + at);
}

/* Sum of the lanes, halving: lane i + lane i + half, until one is left. */
LP_INLINE float lp_sum(lp_f32v v) {
    float lanes[LP_LANES];
    memcpy(lanes, &v, sizeof v);
#pragma clang loop unroll(full)
    for (int half = LP_LANES / 2; half > 0; half /= 2) {
#pragma clang loop unroll(full)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

#endif
