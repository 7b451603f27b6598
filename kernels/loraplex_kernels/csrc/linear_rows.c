/* Rows of a weight in panels: the vectors of an embedding that is tied to it. */
#include "pack.h"
#include "parallel.h"

struct linear_rows {
    const int64_t *index; /* [rows]; one that the weight does not have gives zeros */
    const uint32_t *weight;
    const float *scale; /* [N] of an int8 weight; NULL: steps are copied as they are */
    char *y;            /* [rows, K]: as the weight, or where that is int8 float32 or bfloat16 */
    int64_t rows, inputs, outputs, steps, bf16;
};

typedef int8_t i8x16 __attribute__((vector_size(LANES)));

static void copy_steps(const uint32_t *at, int64_t width, int64_t steps, char *y) {
    for (int64_t step = 0; step < steps; step++) memcpy(y + 4 * step, at + step * width, 4);
}

static void scale_steps(const struct linear_rows *a, const uint32_t *at, int64_t width, float scale, char *y) {
    for (int64_t step = 0; step < a->steps; step += LANES) {
        uint32_t four[LANES] = {0};
        for (int64_t i = 0; i < LANES && step + i < a->steps; i++) four[i] = at[(step + i) * width];
        for (int part = 0; part < 4; part++) {
            int64_t k = 4 * step + LANES * part;
            if (k >= a->inputs) break;
            i8x16 bytes;
            memcpy(&bytes, (char *)four + LANES * part, sizeof bytes);
            store_part(y, k, a->inputs - k, (int)a->bf16, __builtin_convertvector(bytes, f32x16) * scale);
        }
    }
}

static void take_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct linear_rows *a = context;
    int64_t index = a->index[row], panel = index / PANEL, left = a->outputs - panel * PANEL;
    int64_t row_bytes = a->scale == NULL ? 4 * a->steps : a->inputs * (a->bf16 ? 2 : 4);
    char *y = a->y + row * row_bytes;
    if (index < 0 || index >= a->outputs) {
        memset(y, 0, (size_t)row_bytes);
        return;
    }
    const uint32_t *at = a->weight + panel * PANEL * a->steps + index % PANEL;
    int64_t width = left < PANEL ? left : PANEL;
    if (a->scale == NULL) {
        copy_steps(at, width, a->steps, y);
    } else {
        scale_steps(a, at, width, a->scale[index], y);
    }
}

LP_EXPORT int loraplex_linear_rows(const struct linear_rows *a, int threads) {
    lp_parallel_for(a->rows < 2 ? 1 : threads, a->rows, take_row, (void *)(uintptr_t)a);
    return 0;
}
