/* What is done to one row, or to one head of one: in float32, rounded once at the end of each. */
#ifndef LORAPLEX_HEADS_H
#define LORAPLEX_HEADS_H

#include <math.h>

#include "lanes.h"

/* y = x / rms(x) * (weight + offset) over n elements; y may be x. */
LP_INLINE void norm_head(const char *x, const char *weight, int64_t n, float eps, float offset, const int bf16, char *y) {
    f32x16 squares = splat(0);
    for (int64_t i = 0; i < n; i += LANES) {
        f32x16 v = load_part(x, i, n - i, bf16);
        squares = squares + v * v;
    }
    float inverse = 1 / sqrtf(lanes_sum(squares) / (float)n + eps);
    for (int64_t i = 0; i < n; i += LANES) {
        f32x16 scale = load_part(weight, i, n - i, bf16) + offset;
        store_part(y, i, n - i, bf16, load_part(x, i, n - i, bf16) * inverse * scale);
    }
}

/* The pairs (x[i], x[half + i]) turned by their angles; `to` may be x. */
LP_INLINE void turn_head(const char *x, const float *cos, const float *sin, int64_t half, const int bf16, char *to) {
    for (int64_t i = 0; i < half; i += LANES) {
        f32x16 a = load_part(x, i, half - i, bf16), b = load_part(x, half + i, half - i, bf16);
        f32x16 c = load_part(cos, i, half - i, 0), s = load_part(sin, i, half - i, 0);
        store_part(to, i, half - i, bf16, a * c - b * s);
        store_part(to, half + i, half - i, bf16, b * c + a * s);
    }
}

#endif
