/* Rows of A and B rounded to int8, each by its own scale, on the calling thread alone: what loading does beside the step
 * loop, in one call that holds no interpreter lock.
 */
#include <float.h>

#include "lanes.h"
#include "parallel.h"

static float largest(const float *row, int64_t columns) {
    f32x16 most = splat(0);
    for (int64_t i = 0; i < columns; i += LANES) {
        f32x16 v = load_part(row, i, columns - i, 0);
        most = __builtin_elementwise_max(most, __builtin_elementwise_max(v, -v));
    }
    return __builtin_reduce_max(most);
}

/* source [rows, columns], finite. target [rows, columns] and scale [rows] are written: source is about scale * target. A
 * row whose scale would be no normal number becomes zeros, and its scale 0. */
LP_EXPORT void loraplex_lora_quantize(const float *source, int8_t *target, float *scale, int64_t rows,
                                      int64_t columns) {
    for (int64_t r = 0; r < rows; r++, source += columns, target += columns) {
        scale[r] = largest(source, columns) / 127;
        if (scale[r] < FLT_MIN) {
            scale[r] = 0;
            memset(target, 0, (size_t)columns);
            continue;
        }
        for (int64_t i = 0; i < columns; i += LANES) {
            f32x16 v = load_part(source, i, columns - i, 0) / scale[r];
            u32x16 whole = (u32x16)(v + 12582912.0f); /* 1.5 * 2^23: v, rounded to even, is in the lowest byte */
            uint8_t bytes __attribute__((vector_size(LANES))) = __builtin_convertvector(whole, __typeof__(bytes));
            memcpy(target + i, &bytes, (size_t)(columns - i < LANES ? columns - i : LANES));
        }
    }
}
