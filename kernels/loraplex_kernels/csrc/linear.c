/* y = x W^T + bias for a floating-point weight in panels: float32, or bfloat16 in pairs. */
#include "panels.h"

struct linear {
    const char *x; /* [rows, K], x_stride bytes apart */
    const uint32_t *weight;
    const char *bias; /* [N], or NULL */
    char *y;          /* [rows, N], y_stride bytes apart */
    int64_t rows, outputs, steps, x_stride, y_stride;
    int64_t format; /* enum format: of x, weight and bias */
    int64_t bf16;   /* whether y is bfloat16; else it is float32 */
};

static void write_rows(const void *context, int64_t first, int64_t rows, int64_t column, int64_t count,
                       const float *sums) {
    const struct linear *a = context;
    int bf16 = a->format == PAIRS;
    for (int64_t i = 0; i < count; i += LANES) {
        f32x16 bias = a->bias != NULL ? load_part(a->bias, column + i, count - i, bf16) : splat(0);
        for (int64_t r = 0; r < rows; r++) {
            char *y = a->y + (first + r) * a->y_stride;
            store_part(y, column + i, count - i, (int)a->bf16, load_floats(sums + r * PANEL + i) + bias);
        }
    }
}

LP_EXPORT int loraplex_linear(const struct linear *a, int threads) {
    struct panels panels = {
        .format = (enum format)a->format,
        .x = a->x,
        .weight = a->weight,
        .rows = a->rows,
        .outputs = a->outputs,
        .steps = a->steps,
        .x_stride = a->x_stride,
        .write = write_rows,
        .context = a,
    };
    multiply_panels(panels, threads);
    return 0;
}

struct packing {
    const char *rows; /* [N, K], row_bytes apart */
    uint32_t *out;    /* as struct linear's weight */
    int64_t outputs, steps, row_bytes;
};

static void pack(void *context, int64_t panel, int thread) {
    (void)thread;
    const struct packing *a = context;
    uint32_t *out = a->out + panel * a->steps * PANEL;
    int64_t width = a->outputs - panel * PANEL;
    const char *rows[PANEL];
    for (int64_t i = 0; i < PANEL; i++) rows[i] = a->rows + (panel * PANEL + i) * a->row_bytes;
    if (width >= PANEL) {
        struct ahead nothing = {.count = 0};
        pack_panel(rows, a->steps, ELEMENT_F32, FLOATS, (u32x16 *)out, &nothing);
        return;
    }
    for (int64_t step = 0; step < a->steps; step++) {
        for (int64_t i = 0; i < width; i++) memcpy(out + step * width + i, rows[i] + 4 * step, 4);
    }
}

/* Steps are copied as they are, whatever their format. */
LP_EXPORT void loraplex_linear_pack(const struct packing *a, int threads) {
    lp_parallel_for(threads, (a->outputs + PANEL - 1) / PANEL, pack, (void *)(uintptr_t)a);
}
