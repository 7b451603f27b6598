/* Tiles of the product with a weight of 4-bit codes.
 *
 * A block is the codes of 64 outputs by up to 128 inputs that have one scale an output, [step][16] lanes of 32 bits. A step is
 * two inputs: lane i has at bit 4 j + 16 p the code of output 16 j + i and input p. The block's sum of x times value, from
 * zero and in the order of the inputs, is scaled and added to the total: the same however many rows are in a tile, and
 * whether the values were looked up in registers or read from memory.
 */
#ifndef LORAPLEX_LINEAR_INT4_H
#define LORAPLEX_LINEAR_INT4_H

#include "lookup.h"
#include "pack.h"

/* Where a tile takes values from: codes that are INTEGERS, codes of a TABLE, or floats that were EXPANDED before. */
enum source { FROM_INTEGERS = INTEGERS, FROM_TABLE = TABLE, EXPANDED };

/* Rows from which on it pays to expand floats for all tiles together. Pairs are always looked up in each tile: one look-up
 * is then for two products, and the multipliers do not wait for it. */
#if defined(__AVX512F__)
enum { MOST_LOOKED_UP = 8 * TILE_ROWS };
#elif defined(__AVX__) || defined(__aarch64__)
enum { MOST_LOOKED_UP = 4 };
#else
enum { MOST_LOOKED_UP = TILE_ROWS };
#endif

LP_INLINE int expands(enum format format, int64_t rows) { return format == FLOATS && rows > MOST_LOOKED_UP; }

/* Outputs of a tile in vectors: with one row, codes are read once for all of a panel's. */
LP_INLINE int vectors_of_tile(int rows) { return TILE_VECTORS == PANEL_VECTORS || rows == 1 ? PANEL_VECTORS : 1; }

/* Blocks that a tile of few rows takes together. The sums of one alone would wait for each other: a multiplication takes
 * longer than reading what comes next. */
enum { TOGETHER = 2 };
#if defined(__AVX512F__)
enum { MOST_ROWS_TOGETHER = 2 };
#else
enum { MOST_ROWS_TOGETHER = 0 }; /* their sums would not fit the registers */
#endif

struct scales {
    float scale[PANEL];
    float zero[PANEL]; /* less the 8 that codes are above their values */
};

struct blocks {
    int64_t steps; /* of each block */
    const uint32_t *x; /* a row: pairs [blocks][steps], or floats [blocks][2 steps] */
    int64_t ldx;       /* elements */
    const uint32_t *codes[TOGETHER];
    const struct scales *scales[TOGETHER];
    const float *values; /* of a lone block, [2 steps][64], where they are EXPANDED */
    const struct lookup *lookup;
    const float *x_sum; /* [blocks], of each block's inputs, x_sum_stride apart for each row; NULL without zero points */
    int64_t x_sum_stride;
    float *total; /* [rows][64] */
};

/* Reading is a page ahead of use, where the processor's own look-ahead stops. */
LP_INLINE void ask_ahead(const uint32_t *codes, int blocks) {
    __builtin_prefetch((const char *)codes + 4096 * blocks, 0, 2);
}

LP_INLINE u32x16 value_at(const struct blocks *b, int block, enum format format, enum source source, int64_t step, int p,
                          int j) {
    u32x16 v;
    if (source == EXPANDED) {
        memcpy(&v, b->values + (2 * step + p) * PANEL + LANES * j, sizeof v);
        return v;
    }
    memcpy(&v, b->codes[block] + step * LANES, sizeof v);
#ifdef __AVX512BF16__
    if (format == PAIRS) return look_up_pairs(b->lookup, v >> (4 * j));
#else
    (void)format;
#endif
    return (u32x16)look_up(b->lookup, p == 0 ? v : v >> 16, j, (enum values)source);
}

/* total[m][n] += scale[n] (sum_k x[m][k] value[k][n] - zero[n] x_sum[m]), for one block after the other: m rows and v vectors
 * of n from the first on. */
LP_INLINE void add_to_totals(const struct blocks *b, const int block, const int m, const int v, const int first,
                             f32x16 sum[TILE_ROWS][PANEL_VECTORS]) {
    const struct scales *scales = b->scales[block];
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) {
            int at = LANES * (first + j);
            float *total = b->total + i * PANEL + at;
            f32x16 part = sum[i][j];
            if (b->x_sum != NULL) part = part - load_floats(scales->zero + at) * b->x_sum[i * b->x_sum_stride + block];
            store_floats(total, load_floats(total) + load_floats(scales->scale + at) * part);
        }
    }
}

LP_INLINE void multiply_blocks(const struct blocks *b, const int count, const enum format format,
                               const enum source source, const int m, const int v, const int first) {
    const int parts = format == PAIRS ? 1 : 2;
    f32x16 sum[TOGETHER][TILE_ROWS][PANEL_VECTORS];
#pragma clang loop unroll(full)
    for (int c = 0; c < count; c++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
            for (int j = 0; j < v; j++) sum[c][i][j] = splat(0);
        }
    }
    for (int64_t step = 0; step < b->steps; step++) {
#pragma clang loop unroll(full)
        for (int c = 0; c < count; c++) {
            if (source != EXPANDED) ask_ahead(b->codes[c] + step * LANES, count);
#pragma clang loop unroll(full)
            for (int p = 0; p < parts; p++) {
                u32x16 y[PANEL_VECTORS];
#pragma clang loop unroll(full)
                for (int j = 0; j < v; j++) y[j] = value_at(b, c, format, source, step, p, first + j);
#pragma clang loop unroll(full)
                for (int i = 0; i < m; i++) {
                    u32x16 x = splat_bits(b->x[i * b->ldx + (c * b->steps + step) * parts + p]);
#pragma clang loop unroll(full)
                    for (int j = 0; j < v; j++) sum[c][i][j] = add_products(format, sum[c][i][j], x, y[j]);
                }
            }
        }
    }
#pragma clang loop unroll(full)
    for (int c = 0; c < count; c++) add_to_totals(b, c, m, v, first, sum[c]);
}

LP_INLINE void multiply_all_vectors(const struct blocks *b, int count, const enum format format, const enum source source,
                                    const int m) {
    const int v = vectors_of_tile(m);
    if (m <= MOST_ROWS_TOGETHER && source != EXPANDED && count == TOGETHER) {
        return multiply_blocks(b, TOGETHER, format, source, m, v, 0);
    }
    for (int first = 0; first < PANEL_VECTORS; first += v) multiply_blocks(b, 1, format, source, m, v, first);
}

LP_INLINE void multiply_some_rows(const struct blocks *b, int count, const enum format format, const enum source source,
                                  int m) {
    switch (m) {
    case 1: return multiply_all_vectors(b, count, format, source, 1);
    case 2: return multiply_all_vectors(b, count, format, source, 2);
    case 3: return multiply_all_vectors(b, count, format, source, 3);
#if defined(__AVX__) || defined(__aarch64__)
    case 4: return multiply_all_vectors(b, count, format, source, 4);
    case 5: return multiply_all_vectors(b, count, format, source, 5);
    default: return multiply_all_vectors(b, count, format, source, 6);
#endif
    }
}

/* For up to TILE_ROWS rows; `count` is 1 unless they are MOST_ROWS_TOGETHER at most, and then 1 or TOGETHER. */
static void multiply_rows_by_blocks(const struct blocks *b, int count, enum format format, enum source source, int m) {
#ifdef __AVX512BF16__
    if (format == PAIRS) return multiply_some_rows(b, count, PAIRS, FROM_TABLE, m);
#else
    (void)format;
#endif
    if (source == EXPANDED) return multiply_some_rows(b, count, FLOATS, EXPANDED, m);
#ifndef __AVX512F__
    if (source == FROM_INTEGERS) return multiply_some_rows(b, count, FLOATS, FROM_INTEGERS, m);
#endif
    multiply_some_rows(b, count, FLOATS, FROM_TABLE, m);
}

LP_INLINE void expand_block(const struct blocks *b, const enum source source, float *out) {
    for (int64_t step = 0; step < b->steps; step++) {
        ask_ahead(b->codes[0] + step * LANES, 1);
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
#pragma clang loop unroll(full)
            for (int j = 0; j < PANEL_VECTORS; j++, out += LANES) {
                store_floats(out, (f32x16)value_at(b, 0, FLOATS, source, step, p, j));
            }
        }
    }
}

static void expand_block_any(const struct blocks *b, enum source source, float *out) {
    if (source == FROM_INTEGERS) return expand_block(b, FROM_INTEGERS, out);
    expand_block(b, FROM_TABLE, out);
}

#endif
