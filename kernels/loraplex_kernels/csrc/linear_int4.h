/* Tiles of the product with a weight of 4-bit codes.
 *
 * A block is the codes of 64 outputs by up to 128 inputs that have one scale an output, [step][16] lanes of 32 bits. A step
 * is two inputs: lane i has at bit 4 j + 16 p the code of output 16 j + i and input p. The block's sum of x times value, from
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

struct block {
    int64_t steps;
    const uint32_t *x; /* a row: pairs [steps], or floats [2 steps] */
    int64_t ldx;       /* elements */
    const uint32_t *codes;
    const float *values; /* [2 steps][64] where they are EXPANDED */
    const struct lookup *lookup;
    const float *scale; /* [64] */
    const float *zero;  /* [64], less the 8 that codes are above their values; or NULL */
    const float *x_sum; /* of the block's inputs, x_sum_stride apart for each row */
    int64_t x_sum_stride;
    float *total; /* [rows][64] */
    int ahead;    /* whether codes that come later are asked for */
};

enum { DISTANCE = 4096 }; /* bytes that reading is ahead of use */

LP_INLINE u32x16 value_at(const struct block *b, enum format format, enum source source, int64_t step, int p, int j) {
    u32x16 v;
    if (source == EXPANDED) {
        memcpy(&v, b->values + (2 * step + p) * PANEL + LANES * j, sizeof v);
        return v;
    }
    memcpy(&v, b->codes + step * LANES, sizeof v);
#ifdef __AVX512BF16__
    if (format == PAIRS) return look_up_pairs(b->lookup, v >> (4 * j));
#else
    (void)format;
#endif
    return (u32x16)look_up(b->lookup, p == 0 ? v : v >> 16, j, (enum values)source);
}

/* total[m][n] += scale[n] (sum_k x[m][k] value[k][n] - zero[n] x_sum[m]) for m rows and v vectors of n from the first on. */
LP_INLINE void multiply_block(const struct block *b, const enum format format, const enum source source, const int m,
                              const int v, const int first) {
    const int parts = format == PAIRS ? 1 : 2;
    f32x16 sum[TILE_ROWS][PANEL_VECTORS];
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) sum[i][j] = splat(0);
    }
    /* One row waits for its sums, but two blocks at a time, whose sums are apart, lose more: memory likes one stream. */
    for (int64_t step = 0; step < b->steps; step++) {
        if (source != EXPANDED && b->ahead) __builtin_prefetch((const char *)(b->codes + step * LANES) + DISTANCE, 0, 2);
#pragma clang loop unroll(full)
        for (int p = 0; p < parts; p++) {
            u32x16 y[PANEL_VECTORS];
#pragma clang loop unroll(full)
            for (int j = 0; j < v; j++) y[j] = value_at(b, format, source, step, p, first + j);
#pragma clang loop unroll(full)
            for (int i = 0; i < m; i++) {
                u32x16 x = splat_bits(b->x[i * b->ldx + step * parts + p]);
#pragma clang loop unroll(full)
                for (int j = 0; j < v; j++) sum[i][j] = add_products(format, sum[i][j], x, y[j]);
            }
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) {
            int at = LANES * (first + j);
            float *total = b->total + i * PANEL + at;
            f32x16 part = sum[i][j];
            if (b->zero != NULL) part = part - load_floats(b->zero + at) * b->x_sum[i * b->x_sum_stride];
            store_floats(total, load_floats(total) + load_floats(b->scale + at) * part);
        }
    }
}

LP_INLINE void multiply_block_rows(struct block *b, const enum format format, const enum source source, const int m) {
    const int v = vectors_of_tile(m);
    b->ahead = 1;
    for (int first = 0; first < PANEL_VECTORS; first += v) {
        multiply_block(b, format, source, m, v, first);
        b->ahead = 0;
    }
}

LP_INLINE void multiply_block_some(struct block *b, const enum format format, const enum source source, int m) {
    switch (m) {
    case 1: return multiply_block_rows(b, format, source, 1);
    case 2: return multiply_block_rows(b, format, source, 2);
    case 3: return multiply_block_rows(b, format, source, 3);
#if defined(__AVX__) || defined(__aarch64__)
    case 4: return multiply_block_rows(b, format, source, 4);
    case 5: return multiply_block_rows(b, format, source, 5);
    default: return multiply_block_rows(b, format, source, 6);
#endif
    }
}

/* For up to TILE_ROWS rows. */
static void multiply_block_any(struct block *b, enum format format, enum source source, int m) {
#ifdef __AVX512BF16__
    if (format == PAIRS) return multiply_block_some(b, PAIRS, FROM_TABLE, m);
#else
    (void)format;
#endif
    if (source == EXPANDED) return multiply_block_some(b, FLOATS, EXPANDED, m);
#ifndef __AVX512F__
    if (source == FROM_INTEGERS) return multiply_block_some(b, FLOATS, FROM_INTEGERS, m);
#endif
    multiply_block_some(b, FLOATS, FROM_TABLE, m);
}

LP_INLINE void expand_block(const struct block *b, const enum source source, float *out) {
    for (int64_t step = 0; step < b->steps; step++) {
        __builtin_prefetch((const char *)(b->codes + step * LANES) + DISTANCE, 0, 2);
#pragma clang loop unroll(full)
        for (int p = 0; p < 2; p++) {
#pragma clang loop unroll(full)
            for (int j = 0; j < PANEL_VECTORS; j++, out += LANES) {
                store_floats(out, (f32x16)value_at(b, FLOATS, source, step, p, j));
            }
        }
    }
}

static void expand_block_any(const struct block *b, enum source source, float *out) {
    if (source == FROM_INTEGERS) return expand_block(b, FROM_INTEGERS, out);
    expand_block(b, FROM_TABLE, out);
}

#endif
