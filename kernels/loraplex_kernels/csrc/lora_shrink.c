#include "lora.h"
#include "simd.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

/* A tile of dot products: rows of x against rows of A. Several rows reuse each loaded vector. A
 * single row takes four of A as well: enough sums to hide an addition's latency, and few enough streams for
 * the processor to foresee. */
enum { TILE_ROWS = LP_REGISTERS / 8, TILE_RANKS = 4 };

/* What x and A are made of. Constants wherever they are passed: each pair has its own copy of the code. */
struct types {
    int bf16; /* x, and A unless it is int8 */
    int int8;
};

LP_INLINE int64_t size_of_a(const struct types of) { return of.int8 ? 1 : of.bf16 ? 2 : 4; }

/* Every load is one vector of the kind that `accumulate` takes. A partial one is padded with zeros, which add
 * nothing. */
#ifdef __AVX512BF16__
typedef __m512bh bf16_operand;
enum { BF16_STEP = 32 };

LP_INLINE bf16_operand load_bf16(const lp_bf16 *p) { return (bf16_operand)_mm512_loadu_si512(p); }

LP_INLINE bf16_operand load_bf16_part(const lp_bf16 *p, int64_t n) {
    lp_bf16 lanes[BF16_STEP] = {0};
    for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
    return load_bf16(lanes);
}

LP_INLINE lp_f32v accumulate_bf16(lp_f32v sum, bf16_operand a, bf16_operand x) {
    return (lp_f32v)_mm512_dpbf16_ps((__m512)sum, a, x);
}
#else
typedef lp_f32v bf16_operand;
enum { BF16_STEP = LP_LANES };

LP_INLINE bf16_operand load_bf16(const lp_bf16 *p) { return lp_load_bf16(p); }
LP_INLINE bf16_operand load_bf16_part(const lp_bf16 *p, int64_t n) { return lp_load_bf16_part(p, n); }
LP_INLINE lp_f32v accumulate_bf16(lp_f32v sum, bf16_operand a, bf16_operand x) { return sum + a * x; }
#endif

LP_INLINE void tile_bf16(lp_f32v sums[TILE_ROWS][TILE_RANKS], const lp_bf16 *const *x, const lp_bf16 *a,
                         int64_t in, int64_t k, int64_t part, const int rows, const int ranks) {
    bf16_operand xs[TILE_ROWS];
    for (int t = 0; t < rows; t++) xs[t] = part ? load_bf16_part(x[t] + k, part) : load_bf16(x[t] + k);
    for (int j = 0; j < ranks; j++) {
        bf16_operand as = part ? load_bf16_part(a + j * in + k, part) : load_bf16(a + j * in + k);
        for (int t = 0; t < rows; t++) sums[t][j] = accumulate_bf16(sums[t][j], as, xs[t]);
    }
}

LP_INLINE void tile_f32(lp_f32v sums[TILE_ROWS][TILE_RANKS], const float *const *x, const float *a,
                        int64_t in, int64_t k, int64_t part, const int rows, const int ranks) {
    lp_f32v xs[TILE_ROWS];
    for (int t = 0; t < rows; t++) xs[t] = part ? lp_load_f32_part(x[t] + k, part) : lp_load_f32(x[t] + k);
    for (int j = 0; j < ranks; j++) {
        lp_f32v as = part ? lp_load_f32_part(a + j * in + k, part) : lp_load_f32(a + j * in + k);
        for (int t = 0; t < rows; t++) sums[t][j] = sums[t][j] + as * xs[t];
    }
}

LP_INLINE void tile_int8(lp_f32v sums[TILE_ROWS][TILE_RANKS], const void *const *x, const int8_t *a, int64_t in,
                         int64_t k, int64_t part, const int bf16, const int rows, const int ranks) {
    lp_f32v xs[TILE_ROWS];
    for (int t = 0; t < rows; t++) xs[t] = lp_load(x[t], k, part, bf16);
    for (int j = 0; j < ranks; j++) {
        lp_f32v as = lp_load_i8_any(a, j * in + k, part);
        for (int t = 0; t < rows; t++) sums[t][j] = sums[t][j] + as * xs[t];
    }
}

LP_INLINE void tile(lp_f32v sums[TILE_ROWS][TILE_RANKS], const void *const *x, const void *a, int64_t in,
                    int64_t k, int64_t part, const struct types of, const int rows, const int ranks) {
    if (of.int8) tile_int8(sums, x, a, in, k, part, of.bf16, rows, ranks);
    else if (of.bf16) tile_bf16(sums, (const lp_bf16 *const *)x, a, in, k, part, rows, ranks);
    else tile_f32(sums, (const float *const *)x, a, in, k, part, rows, ranks);
}

/* sums[t][j] = A_j . x_t over all of `in`. The rows of A are too short for the processor to see that more follow: with
 * each cache line, those of the next tile are asked for. */
LP_INLINE void dot_tile(float out[TILE_ROWS][TILE_RANKS], const void *const *x, const void *a, int64_t in,
                        const struct types of, const int rows, const int ranks) {
    const int64_t step = of.bf16 && !of.int8 ? BF16_STEP : LP_LANES, size = size_of_a(of), line = 64 / size;
    lp_f32v sums[TILE_ROWS][TILE_RANKS];
    for (int t = 0; t < rows; t++)
        for (int j = 0; j < ranks; j++) sums[t][j] = lp_splat(0);
    int64_t k = 0;
    for (; k + line <= in; k += line) {
        for (int j = 0; j < ranks; j++) __builtin_prefetch((const char *)a + ((ranks + j) * in + k) * size);
        for (int64_t i = 0; i < line; i += step) tile(sums, x, a, in, k + i, 0, of, rows, ranks);
    }
    for (; k + step <= in; k += step) tile(sums, x, a, in, k, 0, of, rows, ranks);
    if (k < in) tile(sums, x, a, in, k, in - k, of, rows, ranks);
    for (int t = 0; t < rows; t++)
        for (int j = 0; j < ranks; j++) out[t][j] = lp_sum(sums[t][j]);
}

/* One tile of a cell, from row t and rank j on. */
LP_INLINE void shrink_tile(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x,
                           int64_t in, int64_t t, int j, const struct types of, const int tile_rows,
                           const int tile_ranks) {
    const int64_t size = of.bf16 ? 2 : 4;
    const char *a = (const char *)cell->a + j * in * size_of_a(of);
    const void *inputs[TILE_ROWS];
    for (int i = 0; i < tile_rows; i++) inputs[i] = (const char *)x.data + rows.row[t + i] * x.stride * size;
    float out[TILE_ROWS][TILE_RANKS];
    dot_tile(out, inputs, a, in, of, tile_rows, tile_ranks);
    for (int i = 0; i < tile_rows; i++) {
        float factor = cell->weight[t + i] * cell->scale;
        float *v = cell->v + (t + i) * cell->rank + j;
        for (int n = 0; n < tile_ranks; n++) v[n] = (of.int8 ? factor * cell->factor[j + n] : factor) * out[i][n];
    }
}

LP_INLINE void shrink(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                      int first, int last, const struct types of) {
    int64_t t = 0;
    for (; t + TILE_ROWS <= rows.count; t += TILE_ROWS) {
        int j = first;
        for (; j + TILE_RANKS <= last; j += TILE_RANKS)
            shrink_tile(cell, rows, x, in, t, j, of, TILE_ROWS, TILE_RANKS);
        for (; j < last; j++) shrink_tile(cell, rows, x, in, t, j, of, TILE_ROWS, 1);
    }
    for (; t < rows.count; t++) {
        int j = first;
        for (; j + TILE_RANKS <= last; j += TILE_RANKS)
            shrink_tile(cell, rows, x, in, t, j, of, 1, TILE_RANKS);
        for (; j < last; j++) shrink_tile(cell, rows, x, in, t, j, of, 1, 1);
    }
}

void lora_shrink(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                 int first, int last, int bf16) {
    if (cell->factor && bf16) shrink(cell, rows, x, in, first, last, (struct types){1, 1});
    else if (cell->factor) shrink(cell, rows, x, in, first, last, (struct types){0, 1});
    else if (bf16) shrink(cell, rows, x, in, first, last, (struct types){1, 0});
    else shrink(cell, rows, x, in, first, last, (struct types){0, 0});
}
