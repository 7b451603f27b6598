/* y = x W^T + bias for an int8 weight in panels, x rounded to int8 on the way in, each row by its own scale.
 *
 * The machine multiplies unsigned bytes of x by signed ones of W, so x is shifted by 128, and 128 times the sum of W's row
 * taken off each sum. All sums are exact.
 */
#include "parallel.h"

/* Every processor with bfloat16 products has those of bytes as well, though the build does not say so. */
#ifdef __AVX512BF16__
#define MULTIPLIES_BYTES
#pragma clang attribute push(__attribute__((target("avx512vnni"))), apply_to = function)
#include "panels.h"

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

static void round_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct linear_int8 *a = context;
    const char *x = a->x + row * a->x_stride;
    uint8_t *to = a->rounded + row * a->steps * 4;
    f32x16 most = splat(1e-30f); /* so that a row of zeros has a scale to be divided by */
    for (int64_t k = 0; k < a->inputs; k += LANES) {
        f32x16 v = load_part(x, k, a->inputs - k, (int)a->bf16);
        most = __builtin_elementwise_max(most, __builtin_elementwise_max(v, -v));
    }
    float scale = __builtin_reduce_max(most) / 127;
    a->row_scale[row] = scale;
    for (int64_t k = 0; k < a->steps * 4; k += LANES) {
        f32x16 v = load_part(x, k, a->inputs > k ? a->inputs - k : 0, (int)a->bf16) / scale;
        u32x16 whole = (u32x16)(v + 12583040.0f); /* 1.5 * 2^23 + 128: v + 128, rounded, is in the lowest byte */
        uint8_t bytes __attribute__((vector_size(LANES))) = __builtin_convertvector(whole, __typeof__(bytes));
        memcpy(to + k, &bytes, (size_t)(a->steps * 4 - k < LANES ? a->steps * 4 - k : LANES));
    }
}

static void write_rows(const void *context, int64_t first, int64_t rows, int64_t column, int64_t count,
                       const float *sums) {
    const struct linear_int8 *a = context;
    for (int64_t i = 0; i < count; i += LANES) {
        int64_t at = column + i, left = count - i;
        f32x16 scale = load_part(a->scale, at, left, 0);
        f32x16 bias = a->bias != NULL ? load_part(a->bias, at, left, (int)a->bf16) : splat(0);
        i32x16 shift = 128 * (i32x16)load_bits_part(a->sum + at, left);
        for (int64_t r = 0; r < rows; r++) {
            f32x16 sum = __builtin_convertvector((i32x16)load_floats(sums + r * PANEL + i) - shift, f32x16);
            f32x16 v = sum * scale * a->row_scale[first + r] + bias;
            store_part(a->y + (first + r) * a->y_stride, at, left, (int)a->y_bf16, v);
        }
    }
}

LP_EXPORT int loraplex_has_int8(void) { return 1; }

LP_EXPORT int loraplex_linear_int8(const struct linear_int8 *a, int threads) {
    int some = a->rows * a->inputs < 1 << 14 ? 1 : threads; /* fewer are done before another thread has woken */
    lp_parallel_for(some, a->rows, round_row, (void *)(uintptr_t)a);
    struct panels panels = {
        .format = BYTES,
        .x = (const char *)a->rounded,
        .weight = a->weight,
        .rows = a->rows,
        .outputs = a->outputs,
        .steps = a->steps,
        .x_stride = a->steps * 4,
        .write = write_rows,
        .context = a,
    };
    multiply_panels(panels, threads);
    return 0;
}
#pragma clang attribute pop
#else
LP_EXPORT int loraplex_has_int8(void) { return 0; }
#endif
