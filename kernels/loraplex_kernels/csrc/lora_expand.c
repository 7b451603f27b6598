#include "lora.h"
#include "simd.h"

/* Vectors of columns held in registers: several rows share each loaded piece of B, or one row takes a wide
 * piece, so that each rank's row of B is read in long bursts. */
enum { TILE_ROWS = LP_REGISTERS / 8, TILE_VECTORS = 4, FLAT_VECTORS = 8 };

/* The bursts are still too short for the processor to see what comes next: columns to ask for ahead, twice as
 * many of int8, and a cache line. */
enum { AHEAD = 256, LINE = 64 };

LP_INLINE void store(void *base, int64_t index, lp_f32v value, int64_t part, const int bf16) {
    if (bf16) {
        lp_bf16 *p = (lp_bf16 *)base + index;
        if (part) lp_store_bf16_part(p, value, part);
        else lp_store_bf16(p, value);
        return;
    }
    float *p = (float *)base + index;
    if (part) lp_store_f32_part(p, value, part);
    else lp_store_f32(p, value);
}

struct expansion {
    const struct lora_cell *cells;
    int64_t uses, step;
    struct lora_rows rows;
    struct lora_matrix y, base;
    int64_t width;
};

/* One adapter's share: sums[t][n] = sum over j of v[t, j] * B[j, columns]. */
LP_INLINE void expand_cell(lp_f32v sums[TILE_ROWS][FLAT_VECTORS], const struct lora_cell *cell, int64_t width,
                           int64_t t, int64_t column, int64_t part, const int bf16, const int int8,
                           const int rows, const int vectors) {
    for (int i = 0; i < rows; i++)
        for (int n = 0; n < vectors; n++) sums[i][n] = lp_splat(0);
    const int64_t size = int8 ? 1 : bf16 ? sizeof(lp_bf16) : sizeof(float);
    for (int64_t j = 0; j < cell->rank; j++) {
        lp_f32v factor[TILE_ROWS];
        for (int i = 0; i < rows; i++) factor[i] = lp_splat(cell->v[(t + i) * cell->rank + j]);
        const char *ahead = (const char *)cell->b + (j * width + column + (int8 ? 2 : 1) * AHEAD) * size;
        for (int64_t n = 0; n < vectors * LP_LANES * size; n += LINE) __builtin_prefetch(ahead + n);
        for (int n = 0; n < vectors; n++) {
            int64_t at = j * width + column + n * LP_LANES;
            lp_f32v b = int8 ? lp_load_i8_any(cell->b, at, part) : lp_load(cell->b, at, part, bf16);
            for (int i = 0; i < rows; i++) sums[i][n] = sums[i][n] + factor[i] * b;
        }
    }
}

/* DoRA: m * sums + weight * (m - 1) * base. */
LP_INLINE void apply_magnitude(lp_f32v sums[TILE_ROWS][FLAT_VECTORS], const struct lora_cell *cell,
                               const struct expansion *e, int64_t t, int64_t column, int64_t part,
                               const int bf16, const int rows, const int vectors) {
    for (int n = 0; n < vectors; n++) {
        int64_t at = column + n * LP_LANES;
        lp_f32v m = lp_load(cell->magnitude, at, part, 0);
        for (int i = 0; i < rows; i++) {
            lp_f32v base = lp_load(e->base.data, e->rows.row[t + i] * e->base.stride + at, part, bf16);
            sums[i][n] = m * sums[i][n] + lp_splat(cell->weight[t + i]) * (m - 1) * base;
        }
    }
}

LP_INLINE void expand_tile(const struct expansion *e, int64_t t, int64_t column, int64_t part, const int bf16,
                           const int rows, const int vectors) {
    lp_f32v total[TILE_ROWS][FLAT_VECTORS], sums[TILE_ROWS][FLAT_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int n = 0; n < vectors; n++) total[i][n] = lp_splat(0);
    for (int64_t use = 0; use < e->uses; use++) {
        const struct lora_cell *cell = e->cells + use * e->step;
        if (cell->rank == 0) continue;
        if (cell->factor) expand_cell(sums, cell, e->width, t, column, part, bf16, 1, rows, vectors);
        else expand_cell(sums, cell, e->width, t, column, part, bf16, 0, rows, vectors);
        if (cell->magnitude) apply_magnitude(sums, cell, e, t, column, part, bf16, rows, vectors);
        for (int i = 0; i < rows; i++)
            for (int n = 0; n < vectors; n++) total[i][n] += sums[i][n];
    }
    for (int i = 0; i < rows; i++) {
        int64_t at = e->rows.row[t + i] * e->y.stride + column;
        for (int n = 0; n < vectors; n++) {
            lp_f32v y = lp_load(e->y.data, at + n * LP_LANES, part, bf16);
            store(e->y.data, at + n * LP_LANES, y + total[i][n], part, bf16);
        }
    }
}

LP_INLINE void expand_rows(const struct expansion *e, int64_t t, int64_t first, int64_t last, const int bf16,
                           const int rows, const int vectors) {
    int64_t column = first;
    for (; column + vectors * LP_LANES <= last; column += vectors * LP_LANES)
        expand_tile(e, t, column, 0, bf16, rows, vectors);
    for (; column + LP_LANES <= last; column += LP_LANES) expand_tile(e, t, column, 0, bf16, rows, 1);
    if (column < last) expand_tile(e, t, column, last - column, bf16, rows, 1);
}

LP_INLINE void expand(const struct expansion *e, int64_t first, int64_t last, const int bf16) {
    int64_t t = 0;
    for (; t + TILE_ROWS <= e->rows.count; t += TILE_ROWS)
        expand_rows(e, t, first, last, bf16, TILE_ROWS, TILE_VECTORS);
    for (; t < e->rows.count; t++) expand_rows(e, t, first, last, bf16, 1, FLAT_VECTORS);
}

void lora_expand(const struct lora_cell *cells, int64_t uses, int64_t step, struct lora_rows rows,
                 struct lora_matrix y, struct lora_matrix base, int64_t width, int64_t first, int64_t last,
                 int bf16) {
    const struct expansion e = {cells, uses, step, rows, y, base, width};
    if (bf16) expand(&e, first, last, 1);
    else expand(&e, first, last, 0);
}
