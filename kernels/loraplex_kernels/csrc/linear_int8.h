/* Some rows of unsigned bytes by one panel of signed ones: exact sums, scaled as they leave the registers.
 *
 * As in matrix.h, for a format that is four times as fast as floats: what is nothing beside those, such as sums that go
 * through memory to be scaled, is a tenth of the time here.
 */
#ifndef LORAPLEX_LINEAR_INT8_H
#define LORAPLEX_LINEAR_INT8_H

#include "pack.h"

struct linear_int8 {
    const char *x;          /* [rows, K] float32 or bfloat16, x_stride bytes apart */
    const uint32_t *weight; /* int8, four k's of one output in each 32 bits, zeros past K */
    const float *scale;     /* [N] */
    const int32_t *sum;     /* [N]: of each output's weights */
    const char *bias;       /* [N] of x's type, or NULL */
    char *y;                /* [rows, N], y_stride bytes apart */
    uint8_t *rounded;       /* scratch [rows, 4 steps] */
    float *row_scale;       /* scratch [rows] */
    int64_t rows, inputs, outputs, steps, x_stride, y_stride;
    int64_t bf16, y_bf16; /* whether x, and y, are bfloat16 rather than float32 */
};

enum { BYTE_ROWS = 6 }; /* of a tile of four vectors, which fills the registers */

typedef i32x16 byte_sums[BYTE_ROWS][PANEL_VECTORS];

/* Some rows by one chunk of a panel, or of one vector of it. */
struct tile {
    const struct linear_int8 *a;
    const uint32_t *b; /* [steps][width] */
    int64_t row, column, from, steps, width;
    int32_t *sums;     /* [rows][64], from chunk to chunk */
    const char *ahead; /* memory to ask for meanwhile, `lines` of 64 bytes each step */
    int64_t lines;
};

/* Outputs from this vector on, as far as anyone asks: a tile of four has them all. */
LP_INLINE int64_t outputs_left(const struct tile *t, const int v, int64_t at) {
    return v == PANEL_VECTORS ? LANES : t->a->outputs - at;
}

LP_INLINE void start_sums(const struct tile *t, const int m, const int v, byte_sums sum) {
#pragma clang loop unroll(full)
    for (int j = 0; j < v; j++) {
        int64_t at = t->column + LANES * j;
        i32x16 start = -128 * (i32x16)load_bits_part(t->a->sum + at, outputs_left(t, v, at));
#pragma clang loop unroll(full)
        for (int i = 0; i < m; i++) {
            if (t->from > 0) memcpy(&start, t->sums + i * PANEL + LANES * j, sizeof start);
            sum[i][j] = start;
        }
    }
}

LP_INLINE void add_step(const int m, const int v, byte_sums sum, const uint8_t *x, int64_t stride, const uint32_t *b) {
    i32x16 w[PANEL_VECTORS];
#pragma clang loop unroll(full)
    for (int j = 0; j < v; j++) memcpy(&w[j], b + LANES * j, sizeof w[j]);
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
        int32_t four;
        memcpy(&four, x + i * stride, sizeof four);
        __m512i each = _mm512_set1_epi32(four);
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) sum[i][j] = (i32x16)_mm512_dpbusd_epi32((__m512i)sum[i][j], each, (__m512i)w[j]);
    }
}

LP_INLINE void keep_sums(const struct tile *t, const int m, const int v, byte_sums sum) {
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) memcpy(t->sums + i * PANEL + LANES * j, &sum[i][j], sizeof sum[i][j]);
    }
}

LP_INLINE void write_sums(const struct tile *t, const int m, const int v, byte_sums sum) {
    const struct linear_int8 *a = t->a;
    f32x16 scale[PANEL_VECTORS], bias[PANEL_VECTORS];
#pragma clang loop unroll(full)
    for (int j = 0; j < v; j++) {
        int64_t at = t->column + LANES * j, left = outputs_left(t, v, at);
        scale[j] = load_part(a->scale, at, left, 0);
        bias[j] = a->bias != NULL ? load_part(a->bias, at, left, (int)a->bf16) : splat(0);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < m; i++) { /* a row's whole lines at a time: rows may lie pages apart */
        char *row = a->y + (t->row + i) * a->y_stride;
#pragma clang loop unroll(full)
        for (int j = 0; j < v; j++) {
            int64_t at = t->column + LANES * j;
            f32x16 y = __builtin_convertvector(sum[i][j], f32x16) * scale[j] * a->row_scale[t->row + i] + bias[j];
            store_part(row, at, outputs_left(t, v, at), (int)a->y_bf16, y);
        }
    }
}

LP_INLINE void multiply_bytes(const struct tile *t, const int m, const int v) {
    byte_sums sum;
    start_sums(t, m, v, sum);
    int64_t stride = t->a->steps * 4;
    const uint8_t *x = t->a->rounded + t->row * stride + 4 * t->from;
    const uint32_t *b = t->b;
    const char *ahead = t->ahead;
    for (int64_t k = 0; k < t->steps; k++, x += 4, b += t->width) {
        for (int64_t i = 0; i < t->lines; i++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        add_step(m, v, sum, x, stride, b);
    }
    if (t->from + t->steps == t->a->steps) {
        write_sums(t, m, v, sum);
    } else {
        keep_sums(t, m, v, sum);
    }
}

LP_INLINE void multiply_tile_of(const struct tile *t, int m, const int v) {
    switch (m) {
    case 1: return multiply_bytes(t, 1, v);
    case 2: return multiply_bytes(t, 2, v);
    case 3: return multiply_bytes(t, 3, v);
    case 4: return multiply_bytes(t, 4, v);
    case 5: return multiply_bytes(t, 5, v);
    default: return multiply_bytes(t, 6, v);
    }
}

#endif
