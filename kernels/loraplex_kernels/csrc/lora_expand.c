#include "lora.h"
#include "matrix.h"

/* A row alone: so many rows of B at a time are added, each from one end of the columns to the other, streams that the
 * processor foresees. The sums wait in the first-level cache. */
enum { RANKS = 4 };

/* Several rows: so many columns of B are widened to float32, once for all of them. */
enum { STRIP = 64, STRIP_RANKS = 64, STRIP_ROWS = 32 };

/* Columns of it whose sums are kept at a time: few enough that what was asked for meanwhile has room beside them. */
enum { FLAT = 2048 };

/* The next `columns` of a linear's [first, last), for some rows. */
struct tile {
    struct lora_matrix y;
    const int32_t *row;
    int64_t rows, width, last, first, columns;
    int bf16;
};

LP_INLINE f32x16 load_b(const char *row, int64_t at, int64_t left, const struct lora_types of) {
    if (!of.int8) return load_part(row, at, left, of.bf16);
    int8_t b __attribute__((vector_size(LANES))) = {0};
    if (left >= LANES) memcpy(&b, row + at, sizeof b);
    else memcpy(&b, row + at, (size_t)left);
    return __builtin_convertvector(b, f32x16);
}

/* Rows that are read soon. */
struct soon {
    const char *row;
    int64_t apart; /* bytes from row to row */
};

/* When all ranks before j are added: the same columns of the next ranks, the next columns, or what follows B. */
LP_INLINE struct soon read_soon(const struct lora_cell *cell, const struct tile *tile, int64_t j, int64_t size) {
    const char *b = (const char *)cell->b;
    int64_t end = tile->first + tile->columns;
    if (j < cell->rank) return (struct soon){b + (j * tile->width + tile->first) * size, tile->width * size};
    if (end < tile->last) return (struct soon){b + end * size, tile->width * size};
    return (struct soon){cell->next, tile->columns * size};
}

/* sums += ranks [j, j + ranks) of a cell, for one row. */
LP_INLINE void add_ranks(float *sums, const struct lora_cell *cell, const struct tile *tile, const float *v, int64_t j,
                         const struct lora_types of, const int ranks) {
    const int64_t size = lora_size(of), line = 64 / size;
    const char *b[RANKS];
    f32x16 factor[RANKS];
    for (int n = 0; n < ranks; n++) {
        b[n] = (const char *)cell->b + ((j + n) * tile->width + tile->first) * size;
        factor[n] = splat(v[j + n]);
    }
    struct soon soon = read_soon(cell, tile, j + ranks, size);
    for (int64_t from = 0; from < tile->columns; from += line, soon.row += 64) {
        for (int n = 0; n < ranks; n++) lora_ask(soon.row + n * soon.apart, 1);
        for (int64_t at = from; at < from + line && at < tile->columns; at += LANES) {
            f32x16 sum = load_floats(sums + at);
            for (int n = 0; n < ranks; n++) sum = sum + factor[n] * load_b(b[n], at, tile->columns - at, of);
            store_floats(sums + at, sum);
        }
    }
}

LP_INLINE void add_row(float *sums, const struct lora_cell *cell, const struct tile *tile, const float *v,
                       const struct lora_types of) {
    int64_t j = 0;
    for (; j + RANKS <= cell->rank; j += RANKS) add_ranks(sums, cell, tile, v, j, of, RANKS);
    for (; j < cell->rank; j++) add_ranks(sums, cell, tile, v, j, of, 1);
}

/* B's columns of the tile as float32, [ranks, STRIP]. */
LP_INLINE void widen_strip(float *out, const struct lora_cell *cell, const struct tile *tile, int64_t j, int64_t ranks,
                           const struct lora_types of) {
    const int64_t size = lora_size(of);
    for (int64_t n = 0; n < ranks; n++) {
        const char *row = (const char *)cell->b + ((j + n) * tile->width + tile->first) * size;
        lora_ask(row + 2 * STRIP * size, (int)(STRIP * size / 64));
        for (int64_t at = 0; at < tile->columns; at += LANES) store_floats(out + n * STRIP + at, load_b(row, at, tile->columns - at, of));
    }
}

/* sums [rows, STRIP] += all ranks of a cell, for several rows. */
LP_INLINE void add_strip(float *sums, const struct lora_cell *cell, const struct tile *tile, const float *v,
                         const struct lora_types of) {
    _Alignas(64) float b[STRIP_RANKS * STRIP];
    for (int64_t j = 0; j < cell->rank; j += STRIP_RANKS) {
        int64_t ranks = cell->rank - j < STRIP_RANKS ? cell->rank - j : STRIP_RANKS;
        widen_strip(b, cell, tile, j, ranks, of);
        struct product p = {.steps = ranks, .a = (const uint32_t *)(v + j), .lda = cell->rank, .b = (const uint32_t *)b,
                            .ldb = STRIP, .c = sums, .ldc = STRIP, .keep = j > 0};
        multiply(FLOATS, (int)tile->rows, (int)((tile->columns + LANES - 1) / LANES), p);
    }
}

LP_INLINE void add_cell(float *sums, const struct lora_cell *cell, const struct tile *tile, int64_t t,
                        const struct lora_types of) {
    const float *v = cell->v + t * cell->rank;
    if (tile->rows == 1) add_row(sums, cell, tile, v, of);
    else add_strip(sums, cell, tile, v, of);
}

static void add_any(float *sums, const struct lora_cell *cell, const struct tile *tile, int64_t t) {
    if (cell->factor && tile->bf16) add_cell(sums, cell, tile, t, (struct lora_types){1, 1});
    else if (cell->factor) add_cell(sums, cell, tile, t, (struct lora_types){0, 1});
    else if (tile->bf16) add_cell(sums, cell, tile, t, (struct lora_types){1, 0});
    else add_cell(sums, cell, tile, t, (struct lora_types){0, 0});
}

/* total += sums; with DoRA's magnitude m * sums + weight * (m - 1) * y. */
static void gather(float *total, const float *sums, const struct lora_cell *cell, const struct tile *tile, int64_t stride,
                   int64_t t) {
    for (int64_t i = 0; i < tile->rows; i++) {
        f32x16 weight = splat(cell->weight[t + i]);
        int64_t row = tile->row[t + i] * tile->y.stride + tile->first;
        for (int64_t at = 0; at < tile->columns; at += LANES) {
            f32x16 sum = load_floats(sums + i * stride + at);
            if (cell->magnitude) {
                f32x16 m = load_part(cell->magnitude, tile->first + at, tile->columns - at, 0);
                f32x16 y = load_part(tile->y.data, row + at, tile->columns - at, tile->bf16);
                sum = m * sum + weight * (m - 1) * y;
            }
            store_floats(total + i * stride + at, load_floats(total + i * stride + at) + sum);
        }
    }
}

/* y += sums. */
LP_INLINE void add_to_y(const float *sums, const struct tile *tile, int64_t stride, int64_t t, const int bf16) {
    for (int64_t i = 0; i < tile->rows; i++) {
        int64_t row = tile->row[t + i] * tile->y.stride + tile->first;
        const char *ahead = (const char *)tile->y.data + (row + 2 * tile->columns) * (bf16 ? 2 : 4);
        for (int64_t at = 0; at < tile->columns; at += LANES) {
            if (tile->rows > 1) __builtin_prefetch(ahead + at * (bf16 ? 2 : 4), 1, 3);
            f32x16 y = load_part(tile->y.data, row + at, tile->columns - at, bf16);
            store_part(tile->y.data, row + at, tile->columns - at, bf16, y + load_floats(sums + i * stride + at));
        }
    }
}

static void expand_tile(const struct lora_cell *cells, int64_t uses, const struct tile *tile, int64_t t) {
    _Alignas(64) float sums[FLAT], total[FLAT];
    int64_t stride = tile->rows == 1 ? 0 : STRIP;
    size_t bytes = sizeof *sums * (size_t)(tile->rows == 1 ? (tile->columns + LANES - 1) / LANES * LANES : tile->rows * STRIP);
    int plain = uses == 1 && !cells->magnitude;
    if (!plain) memset(total, 0, bytes);
    for (const struct lora_cell *cell = cells; cell < cells + uses; cell++) {
        if (cell->rank == 0) continue;
        if (tile->rows == 1) memset(sums, 0, bytes);
        add_any(sums, cell, tile, t);
        if (!plain) gather(total, sums, cell, tile, stride, t);
    }
    if (tile->bf16) add_to_y(plain ? sums : total, tile, stride, t, 1);
    else add_to_y(plain ? sums : total, tile, stride, t, 0);
}

void lora_expand(const struct lora_cell *cells, int64_t uses, struct lora_rows rows, struct lora_matrix y,
                 int64_t width, int64_t first, int64_t last, int bf16) {
    struct tile tile = {.y = y, .row = rows.row, .width = width, .last = last, .bf16 = bf16};
    for (int64_t t = 0; t < rows.count; t += tile.rows) {
        tile.rows = rows.count - t < STRIP_ROWS ? rows.count - t : STRIP_ROWS;
        int64_t pieces = (last - first + FLAT - 1) / FLAT, even = (last - first + pieces - 1) / pieces;
        int64_t most = tile.rows == 1 ? (even + STRIP - 1) / STRIP * STRIP : STRIP; /* never above FLAT, its multiple */
        for (tile.first = first; tile.first < last; tile.first += most) {
            tile.columns = last - tile.first < most ? last - tile.first : most;
            expand_tile(cells, uses, &tile, t);
        }
    }
}
