/* The inner matrix product that attention and the dense linears share. */
#ifndef LORAPLEX_MATRIX_H
#define LORAPLEX_MATRIX_H

#include <stddef.h>

#include "lanes.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

/* What a 32-bit element is: one float; or two bfloat16, whose products are added. */
enum format { FLOATS, PAIRS };

/* Accumulators of a tile in vectors of 16: as many as fill the registers, less what A and B need (more for pairs that
 * have to be taken apart). */
#if defined(__AVX512F__)
enum { TILE_VECTORS = 4, TILE_ROWS = 6, PAIR_ROWS = 6 };
#elif defined(__AVX__) || defined(__aarch64__)
enum { TILE_VECTORS = 1, TILE_ROWS = 6, PAIR_ROWS = 4 };
#else
enum { TILE_VECTORS = 1, TILE_ROWS = 3, PAIR_ROWS = 3 };
#endif

LP_INLINE int tile_rows(enum format format) { return format == PAIRS ? PAIR_ROWS : TILE_ROWS; }

#ifdef __AVX512BF16__
enum { HAS_PAIRS = 1 }; /* the machine multiplies pairs itself: twice as fast as floats, elsewhere half as fast */
LP_INLINE f32x16 add_pairs(f32x16 sum, u32x16 a, u32x16 b) {
    return (f32x16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#else
enum { HAS_PAIRS = 0 };
LP_INLINE f32x16 add_pairs(f32x16 sum, u32x16 a, u32x16 b) {
    sum = sum + (f32x16)(a << 16) * (f32x16)(b << 16);
    return sum + (f32x16)(a & 0xffff0000u) * (f32x16)(b & 0xffff0000u);
}
#endif

LP_INLINE f32x16 add_products(enum format format, f32x16 sum, u32x16 a, u32x16 b) {
    return format == PAIRS ? add_pairs(sum, a, b) : sum + (f32x16)a * (f32x16)b;
}

struct product {
    int64_t steps; /* K in elements of the format */
    const uint32_t *a;
    int64_t lda;
    const uint32_t *b; /* whole vectors are read of each row, past n where that is no multiple of 16 */
    int64_t ldb;       /* elements, like lda */
    float *c;
    int64_t ldc;        /* floats */
    int keep;           /* whether C is added to */
    const float *decay; /* what each row of it is multiplied by before that, NULL for 1 */
    const char *ahead;  /* memory to ask for meanwhile, `lines` cache lines a step */
};

/* C[m][n] = keep decay[m] C[m][n] + sum_k A[m][k] B[k][n] for m rows and v vectors of n. Each sum runs over k in order, however
 * the tile is cut: no row's result depends on the rows beside it. */
LP_INLINE void multiply_tile(const struct product *p, const enum format format, const int m, const int v,
                             const int lines) {
    f32x16 sum[TILE_ROWS][TILE_VECTORS];
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) {
            sum[i][j] = p->keep ? load_floats(p->c + i * p->ldc + LANES * j) : splat(0);
            if (p->decay != NULL) sum[i][j] = sum[i][j] * p->decay[i];
        }
    }
    const uint32_t *a = p->a;
    const uint32_t *b = p->b;
    const char *ahead = p->ahead;
    for (int64_t k = 0; k < p->steps; k++, a++, b += p->ldb) {
#pragma clang loop unroll(full)
        for (int i = 0; i < lines; i++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        u32x16 y[TILE_VECTORS];
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) memcpy(&y[j], b + LANES * j, sizeof y[j]);
#pragma clang loop unroll(full)
        for (int i = 0; i < m; i++) {
            u32x16 x = splat_bits(a[i * p->lda]);
#pragma clang loop unroll(full)
            for (int j = 0; j < v; j++) sum[i][j] = add_products(format, sum[i][j], x, y[j]);
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) store_floats(p->c + i * p->ldc + LANES * j, sum[i][j]);
    }
}

LP_INLINE void multiply_rows(const struct product *p, const enum format format, const int m, int v, const int lines) {
    switch (v) {
    case 1: return multiply_tile(p, format, m, 1, lines);
#if defined(__AVX512F__)
    case 2: return multiply_tile(p, format, m, 2, lines);
    case 3: return multiply_tile(p, format, m, 3, lines);
    default: return multiply_tile(p, format, m, 4, lines);
#endif
    }
}

LP_INLINE void multiply_some(const struct product *p, const enum format format, int m, int v, const int lines) {
    switch (m) {
    case 1: return multiply_rows(p, format, 1, v, lines);
    case 2: return multiply_rows(p, format, 2, v, lines);
    case 3: return multiply_rows(p, format, 3, v, lines);
#if defined(__AVX__) || defined(__aarch64__)
    case 4: return multiply_rows(p, format, 4, v, lines);
    case 5: return multiply_rows(p, format, 5, v, lines);
    default: return multiply_rows(p, format, 6, v, lines);
#endif
    }
}

LP_INLINE void multiply_any(const struct product *p, enum format format, int m, int v, const int lines) {
    if (format == PAIRS) {
        multiply_some(p, PAIRS, m, v, lines);
    } else {
        multiply_some(p, FLOATS, m, v, lines);
    }
}

/* The product over any number of rows and vectors. */
static inline void multiply(enum format format, int rows, int vectors, struct product whole) {
    int strips = (rows + tile_rows(format) - 1) / tile_rows(format);
    for (int j = 0; j < vectors; j += TILE_VECTORS) {
        int v = vectors - j < TILE_VECTORS ? vectors - j : TILE_VECTORS;
        for (int strip = 0, i = 0; strip < strips; strip++) {
            int left = strips - strip, m = (rows - i + left - 1) / left; /* 7 rows are 4 and 3, not 6 and 1 */
            struct product part = whole;
            part.a += i * whole.lda;
            part.b += LANES * j;
            part.c += i * whole.ldc + LANES * j;
            if (whole.decay != NULL) part.decay += i;
            multiply_any(&part, format, m, v, 0);
            i += m;
        }
    }
}

#endif
