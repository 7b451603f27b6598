/* Sixteen values by four bits each, in registers.
 *
 * Any sixteen: 4-bit integers less their middle, or a table such as NF4's. Where the machine has no look-up of 16 floats,
 * integers are converted instead, which needs fewer instructions.
 */
#ifndef LORAPLEX_LOOKUP_H
#define LORAPLEX_LOOKUP_H

#include "matrix.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* What codes stand for: INTEGERS are 8 above their values, whatever the table holds. */
enum values { INTEGERS, TABLE };

struct lookup {
#if defined(__AVX512F__)
    f32x16 floats;
    u32x16 halves; /* the same as bfloat16, twice: of a look-up in 32 entries the fifth bit then does not count */
#elif defined(__AVX2__)
    __m256 lower, upper;
#elif defined(__aarch64__)
    uint8x16x4_t bytes;
#else
    float floats[16];
#endif
};

LP_INLINE struct lookup make_lookup(const float table[16]) {
    struct lookup lookup;
#if defined(__AVX512F__)
    lookup.floats = load_floats(table);
    bf16x16 once = narrow(lookup.floats);
    memcpy(&lookup.halves, &once, sizeof once);
    memcpy((char *)&lookup.halves + sizeof once, &once, sizeof once);
#elif defined(__AVX2__)
    lookup.lower = _mm256_loadu_ps(table);
    lookup.upper = _mm256_loadu_ps(table + 8);
#else
    memcpy(&lookup, table, sizeof lookup);
#endif
    return lookup;
}

/* Values of four bits of each lane, from bit 4 nibble on, of the lower half; the other bits may be anything. */
LP_INLINE f32x16 look_up(const struct lookup *lookup, u32x16 codes, int nibble, const enum values values) {
#if defined(__AVX512F__)
    (void)values;
    return (f32x16)_mm512_permutexvar_ps((__m512i)(codes >> (4 * nibble)), (__m512)lookup->floats);
#else
    if (values == INTEGERS) {
        /* The four bits become ones, twos, fours and eights of a float whose exponent makes them so. */
        u32x16 power = splat_bits((uint32_t)(127 + 23 - 4 * nibble) << 23);
        return (f32x16)((codes & (15u << (4 * nibble))) | power) - ((f32x16)power + 8);
    }
    codes >>= 4 * nibble;
    f32x16 result;
#if defined(__AVX2__)
    __m256 out[2];
    __m256i in[2];
    memcpy(in, &codes, sizeof in);
    for (int i = 0; i < 2; i++) {
        __m256 lower = _mm256_permutevar8x32_ps(lookup->lower, in[i]);
        __m256 upper = _mm256_permutevar8x32_ps(lookup->upper, in[i]);
        out[i] = _mm256_blendv_ps(lower, upper, (__m256)_mm256_slli_epi32(in[i], 28));
    }
    memcpy(&result, out, sizeof result);
#elif defined(__aarch64__)
    uint8_t bytes[64]; /* of each lane, its value's four bytes in the table */
    u32x16 places = (codes & 15) * 0x04040404 + 0x03020100;
    memcpy(bytes, &places, sizeof bytes);
    for (int i = 0; i < 64; i += 16) vst1q_u8(bytes + i, vqtbl4q_u8(lookup->bytes, vld1q_u8(bytes + i)));
    memcpy(&result, bytes, sizeof result);
#else
    for (int i = 0; i < LANES; i++) result[i] = lookup->floats[codes[i] & 15];
#endif
    return result;
#endif
}

#ifdef __AVX512BF16__
/* Two bfloat16 of the lowest four bits of each half of each lane. */
LP_INLINE u32x16 look_up_pairs(const struct lookup *lookup, u32x16 codes) {
    return (u32x16)_mm512_permutexvar_epi16((__m512i)codes, (__m512i)lookup->halves);
}
#endif

#endif
