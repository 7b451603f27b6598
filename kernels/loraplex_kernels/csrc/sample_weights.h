/* What a token weighs when the next one is drawn: exp((logit - highest) / temperature) as an integer number of 2^-40.
 *
 * Sums of integers are the same in every order and grouping: a threshold found in one pass over the logits is exactly
 * right in the next, and no rounding can carry a draw past the end. See ops/sampling/columns.py.
 */
#ifndef LORAPLEX_SAMPLE_WEIGHTS_H
#define LORAPLEX_SAMPLE_WEIGHTS_H

#include "lanes.h"

typedef int64_t i64x16 __attribute__((vector_size(128)));

#define WEIGHT_ONE 1099511627776.0 /* 2^40 */

struct weigher {
    const float *x; /* the logits, [n] */
    int64_t n;
    float best;    /* the highest */
    float inverse; /* of the temperature */
    float floor;   /* what is lower weighs nothing: known without an exponential */
    int64_t least; /* min_p as a weight, at least 1: what weighs less weighs nothing */
};

/* 16 logits from `at` on, -inf after the last: it weighs nothing. */
LP_INLINE f32x16 logits_at(const float *x, int64_t at, int64_t n) {
    if (at + LANES <= n) return load_floats(x + at);
    f32x16 v = splat(-__builtin_inff());
    memcpy(&v, x + at, (size_t)(n - at) * 4);
    return v;
}

LP_INLINE i64x16 weights_of(const struct weigher *w, f32x16 x) {
    f32x16 fraction = exponential((x - w->best) * w->inverse);
    i64x16 whole = __builtin_convertvector(fraction * (float)WEIGHT_ONE, i64x16);
    return whole & (whole >= w->least);
}

LP_INLINE int64_t weight_of(const struct weigher *w, float x) { return weights_of(w, splat(x))[0]; }

#endif
