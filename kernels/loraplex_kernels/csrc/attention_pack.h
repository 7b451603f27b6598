/* Laying a tile of cached values out for `multiply`; keys are packed as panels are. */
#ifndef LORAPLEX_ATTENTION_PACK_H
#define LORAPLEX_ATTENTION_PACK_H

#include "pack.h"

enum { TOKENS = PANEL, TOKEN_VECTORS = PANEL_VECTORS, MOST_HEAD_DIM = 256 };

/* bfloat16 is multiplied in pairs where the machine can do so; elsewhere it is widened while it is packed. */
LP_INLINE enum format format_of(enum element element) { return element == ELEMENT_BF16 && HAS_PAIRS ? PAIRS : FLOATS; }

#define LOWER_PAIRS 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, \
                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47
#define UPPER_PAIRS 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, \
                    24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63

/* Values: out[token][vectors] of floats, or out[token / 2][vectors] with two tokens' elements side by side. */
static inline void pack_values(const char *const rows[TOKENS], int tokens, int64_t head_dim, enum element element,
                               u32x16 *out, struct ahead *ahead) {
    int64_t vectors = (head_dim + LANES - 1) / LANES;
    if (format_of(element) == FLOATS) {
        for (int token = 0; token < tokens; token++) {
            if (token % 4 == 0) look_ahead(ahead);
            for (int64_t j = 0; j < vectors; j++) {
                *out++ = load_steps(rows[token], LANES * j, head_dim, element, FLOATS);
            }
        }
        return;
    }
    for (int token = 0; token < tokens; token += 2) {
        if (token % 4 == 0) look_ahead(ahead);
        int64_t at = 0;
        for (; at + 2 * LANES <= head_dim; at += 2 * LANES) {
            bf16x32 even, odd;
            memcpy(&even, (const lp_bf16 *)rows[token] + at, sizeof even);
            memcpy(&odd, (const lp_bf16 *)rows[token + 1] + at, sizeof odd);
            *out++ = (u32x16)__builtin_shufflevector(even, odd, LOWER_PAIRS);
            *out++ = (u32x16)__builtin_shufflevector(even, odd, UPPER_PAIRS);
        }
        for (; at < head_dim; at += LANES) {
            bf16x16 even = load_halves_part((const lp_bf16 *)rows[token] + at, head_dim - at);
            bf16x16 odd = load_halves_part((const lp_bf16 *)rows[token + 1] + at, head_dim - at);
            bf16x32 both = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8,
                                                   24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            *out++ = (u32x16)both;
        }
    }
}

#endif
