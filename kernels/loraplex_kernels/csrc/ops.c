/* The small ops between the linears. A row at a time, in float32, each row by itself. */
#include "heads.h"
#include "parallel.h"

struct norm {
    const char *x; /* [outer, inner, width]; strides in elements */
    const char *weight;
    const char *residual; /* [outer, width], or NULL */
    char *sum;            /* [outer, width]: x + residual, where there is one */
    char *y;              /* [outer, inner, width], contiguous */
    int64_t outer, inner, width, outer_stride, inner_stride, residual_stride, bf16;
    double eps, offset;
};

/* x + residual, as it is kept. */
LP_INLINE void add_residual(const struct norm *a, const char *x, int64_t outer, const int bf16, char *sum) {
    const char *residual = a->residual + outer * a->residual_stride * (bf16 ? 2 : 4);
    for (int64_t i = 0, n = a->width; i < n; i += LANES) {
        store_part(sum, i, n - i, bf16, load_part(x, i, n - i, bf16) + load_part(residual, i, n - i, bf16));
    }
}

LP_INLINE void norm_row(const struct norm *a, int64_t index, const int bf16) {
    int64_t size = bf16 ? 2 : 4, outer = index, inner = 0;
    if (a->inner > 1) outer = index / a->inner, inner = index % a->inner;
    const char *x = a->x + (outer * a->outer_stride + inner * a->inner_stride) * size;
    if (a->residual != NULL) {
        char *sum = a->sum + index * a->width * size;
        add_residual(a, x, outer, bf16, sum);
        x = sum; /* what is normed is what is kept, rounding included */
    }
    norm_head(x, a->weight, a->width, (float)a->eps, (float)a->offset, bf16, a->y + index * a->width * size);
}

static void norm_halves(void *context, int64_t index, int thread) {
    (void)thread;
    norm_row(context, index, 1);
}

static void norm_floats(void *context, int64_t index, int thread) {
    (void)thread;
    norm_row(context, index, 0);
}

LP_EXPORT int loraplex_rms_norm(const struct norm *a, int threads) {
    int64_t rows = a->outer * a->inner;
    lp_item_fn fn = a->bf16 ? norm_halves : norm_floats;
    lp_parallel_for(lp_threads_for(threads, rows * a->width), rows, fn, (void *)(uintptr_t)a);
    return 0;
}

struct rotary {
    char *q, *k;           /* [rows, heads, head_dim], strides in elements */
    const float *cos, *sin; /* [rows, half] */
    int64_t rows, half, q_heads, k_heads, q_row, q_head, k_row, k_head, bf16;
};

static void turn_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct rotary *a = context;
    const float *cos = a->cos + row * a->half, *sin = a->sin + row * a->half;
    int64_t size = a->bf16 ? 2 : 4;
    for (int64_t h = 0; h < a->q_heads; h++) {
        char *head = a->q + (row * a->q_row + h * a->q_head) * size;
        turn_head(head, cos, sin, a->half, (int)a->bf16, head);
    }
    for (int64_t h = 0; h < a->k_heads; h++) {
        char *head = a->k + (row * a->k_row + h * a->k_head) * size;
        turn_head(head, cos, sin, a->half, (int)a->bf16, head);
    }
}

LP_EXPORT int loraplex_rotary(const struct rotary *a, int threads) {
    int64_t width = (a->q_heads + a->k_heads) * a->half * 2;
    lp_parallel_for(lp_threads_for(threads, a->rows * width), a->rows, turn_row, (void *)(uintptr_t)a);
    return 0;
}

struct gate {
    const char *x; /* [rows, 2 width], x_stride elements apart */
    char *y;       /* [rows, width], contiguous */
    int64_t rows, width, x_stride, bf16, gelu;
};

enum { GATE_RUN = 1 << 11 }; /* columns an item: one row may be worth several threads */

LP_INLINE void gate_columns(const struct gate *a, int64_t row, int64_t first, int64_t end, const int bf16,
                            const int gelu) {
    int64_t size = bf16 ? 2 : 4;
    const char *gates = a->x + row * a->x_stride * size, *ups = gates + a->width * size;
    for (int64_t i = first; i < end; i += LANES) {
        f32x16 gate = load_part(gates, i, end - i, bf16), up = load_part(ups, i, end - i, bf16);
        /* gelu's 0.5 (1 + tanh u) is the sigmoid of 2 u */
        f32x16 u = gelu ? gate * (1.59576912f + 0.0713548163f * gate * gate) : gate;
        f32x16 most = -greater(u, splat(-88));
        store_part(a->y + row * a->width * size, i, end - i, bf16, gate / (1 + exponential(most)) * up);
    }
}

static void gate_run(void *context, int64_t index, int thread) {
    (void)thread;
    const struct gate *a = context;
    int64_t runs = (a->width + GATE_RUN - 1) / GATE_RUN, row = index / runs, first = index % runs * GATE_RUN;
    int64_t end = first + GATE_RUN < a->width ? first + GATE_RUN : a->width;
    if (a->bf16 && a->gelu) return gate_columns(a, row, first, end, 1, 1);
    if (a->bf16) return gate_columns(a, row, first, end, 1, 0);
    gate_columns(a, row, first, end, 0, (int)a->gelu);
}

LP_EXPORT int loraplex_gate(const struct gate *a, int threads) {
    int64_t runs = (a->width + GATE_RUN - 1) / GATE_RUN;
    lp_parallel_for(lp_threads_for(threads, a->rows * a->width), a->rows * runs, gate_run, (void *)(uintptr_t)a);
    return 0;
}
