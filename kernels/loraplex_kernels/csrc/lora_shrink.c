#include "lora.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

/* A tile of dot products: rows of x against rows of A, as many as there are registers for their sums. A single row takes
 * four of A as well: enough sums to hide an addition's latency, and few enough streams for the processor to foresee. */
enum { TILE_ROWS = LP_REGISTERS == 32 ? 6 : 2, TILE_RANKS = 4 };

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
    bf16_operand as[TILE_RANKS];
    for (int j = 0; j < ranks; j++) as[j] = part ? load_bf16_part(a + j * in + k, part) : load_bf16(a + j * in + k);
    for (int t = 0; t < rows; t++) {
        bf16_operand xs = part ? load_bf16_part(x[t] + k, part) : load_bf16(x[t] + k);
        for (int j = 0; j < ranks; j++) sums[t][j] = accumulate_bf16(sums[t][j], as[j], xs);
    }
}

LP_INLINE void tile_f32(lp_f32v sums[TILE_ROWS][TILE_RANKS], const float *const *x, const float *a,
                        int64_t in, int64_t k, int64_t part, const int rows, const int ranks) {
    lp_f32v as[TILE_RANKS];
    for (int j = 0; j < ranks; j++) as[j] = lp_load(a + j * in, k, part, 0);
    for (int t = 0; t < rows; t++) {
        lp_f32v xs = lp_load(x[t], k, part, 0);
        for (int j = 0; j < ranks; j++) sums[t][j] = sums[t][j] + as[j] * xs;
    }
}

LP_INLINE void tile_int8(lp_f32v sums[TILE_ROWS][TILE_RANKS], const void *const *x, const int8_t *a, int64_t in,
                         int64_t k, int64_t part, const int bf16, const int rows, const int ranks) {
    lp_f32v as[TILE_RANKS];
    for (int j = 0; j < ranks; j++) as[j] = lp_load_i8_any(a, j * in + k, part);
    for (int t = 0; t < rows; t++) {
        lp_f32v xs = lp_load(x[t], k, part, bf16);
        for (int j = 0; j < ranks; j++) sums[t][j] = sums[t][j] + as[j] * xs;
    }
}

LP_INLINE void tile(lp_f32v sums[TILE_ROWS][TILE_RANKS], const void *const *x, const void *a, int64_t in,
                    int64_t k, int64_t part, const struct lora_types of, const int rows, const int ranks) {
    if (of.int8) tile_int8(sums, x, a, in, k, part, of.bf16, rows, ranks);
    else if (of.bf16) tile_bf16(sums, (const lp_bf16 *const *)x, a, in, k, part, rows, ranks);
    else tile_f32(sums, (const float *const *)x, a, in, k, part, rows, ranks);
}

/* out[j] = lp_sum(sums[j]) to the bit, four at once where that is cheaper. */
LP_INLINE void sum_ranks(float out[TILE_RANKS], const lp_f32v sums[TILE_RANKS], const int ranks) {
#if LP_LANES == 16
    if (ranks == 4) {
        const lp_f32v a = sums[0], b = sums[1], c = sums[2], d = sums[3];
#define EIGHTS(p, q, at) __builtin_shufflevector(p, q, at, at + 1, at + 2, at + 3, at + 4, at + 5, at + 6, at + 7, \
                                                 at + 16, at + 17, at + 18, at + 19, at + 20, at + 21, at + 22, at + 23)
#define FOURS(p, q, at) __builtin_shufflevector(p, q, at, at + 1, at + 2, at + 3, at + 8, at + 9, at + 10, at + 11, \
                                                at + 16, at + 17, at + 18, at + 19, at + 24, at + 25, at + 26, at + 27)
        const lp_f32v ab = EIGHTS(a, b, 0) + EIGHTS(a, b, 8), cd = EIGHTS(c, d, 0) + EIGHTS(c, d, 8);
        const lp_f32v all = FOURS(ab, cd, 0) + FOURS(ab, cd, 4);
#undef EIGHTS
#undef FOURS
        for (int j = 0; j < 4; j++) out[j] = (all[4 * j] + all[4 * j + 2]) + (all[4 * j + 1] + all[4 * j + 3]);
        return;
    }
#endif
    for (int j = 0; j < ranks; j++) out[j] = lp_sum(sums[j]);
}

/* sums[t][j] = A_j . x_t over all of `in`. */
LP_INLINE void dot_tile(float out[TILE_ROWS][TILE_RANKS], const void *const *x, const void *a, int64_t in,
                        const struct lora_types of, const int rows, const int ranks) {
    const int64_t step = of.bf16 && !of.int8 ? BF16_STEP : LP_LANES, size = lora_size(of), line = 64 / size;
    lp_f32v sums[TILE_ROWS][TILE_RANKS];
    for (int t = 0; t < rows; t++)
        for (int j = 0; j < ranks; j++) sums[t][j] = lp_splat(0);
    int64_t k = 0;
    const char *behind = (const char *)a + ranks * in * size;
    for (; k + line <= in; k += line, behind += 64 * ranks) {
        lora_ask(behind, ranks);
        for (int64_t i = 0; i < line; i += step) tile(sums, x, a, in, k + i, 0, of, rows, ranks);
    }
    for (; k + step <= in; k += step) tile(sums, x, a, in, k, 0, of, rows, ranks);
    if (k < in) tile(sums, x, a, in, k, in - k, of, rows, ranks);
    for (int t = 0; t < rows; t++) sum_ranks(out[t], sums[t], ranks);
}

/* One tile of a cell, from row t and rank j on. */
LP_INLINE void shrink_tile(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x,
                           int64_t in, int64_t t, int j, const struct lora_types of, const int tile_rows,
                           const int tile_ranks) {
    const int64_t size = of.bf16 ? 2 : 4;
    const char *a = (const char *)cell->a + j * in * lora_size(of);
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

LP_INLINE void shrink_rows(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                           int64_t t, int first, int last, const struct lora_types of, const int tile_rows) {
    int j = first;
    for (; j + TILE_RANKS <= last; j += TILE_RANKS)
        shrink_tile(cell, rows, x, in, t, j, of, tile_rows, TILE_RANKS);
    for (; j < last; j++) shrink_tile(cell, rows, x, in, t, j, of, tile_rows, 1);
}

LP_INLINE void shrink(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                      int first, int last, const struct lora_types of) {
    int64_t tiles = (rows.count + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t t = 0; tiles; tiles--) {
        int64_t left = rows.count - t, m = (left + tiles - 1) / tiles; /* 7 rows are 4 and 3, not 6 and 1 */
        switch (m) {
        case 1: shrink_rows(cell, rows, x, in, t, first, last, of, 1); break;
        case 2: shrink_rows(cell, rows, x, in, t, first, last, of, 2); break;
#if LP_REGISTERS == 32
        case 3: shrink_rows(cell, rows, x, in, t, first, last, of, 3); break;
        case 4: shrink_rows(cell, rows, x, in, t, first, last, of, 4); break;
        case 5: shrink_rows(cell, rows, x, in, t, first, last, of, 5); break;
        default: shrink_rows(cell, rows, x, in, t, first, last, of, 6); break;
#endif
        }
        t += m;
    }
}

void lora_shrink(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                 int first, int last, int bf16) {
    if (cell->factor && bf16) shrink(cell, rows, x, in, first, last, (struct lora_types){1, 1});
    else if (cell->factor) shrink(cell, rows, x, in, first, last, (struct lora_types){0, 1});
    else if (bf16) shrink(cell, rows, x, in, first, last, (struct lora_types){1, 0});
    else shrink(cell, rows, x, in, first, last, (struct lora_types){0, 0});
}
