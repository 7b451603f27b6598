/* The online softmax (arXiv:2205.14135) of a tile's scores, each row by itself. */
#ifndef LORAPLEX_ATTENTION_SOFTMAX_H
#define LORAPLEX_ATTENTION_SOFTMAX_H

#include "attention_pack.h"

/* Below any score, and finite: a row that sees nothing of a tile then goes through it unchanged, bit for bit. */
#define LOWEST (-1e30f)

struct scoring {
    float scale;
    float softcap;  /* 0: none */
    int64_t window; /* positions seen, the row's own included; 0: all */
};

/* The first position that a row sees. */
LP_INLINE int64_t first_seen(const struct scoring *how, int64_t position) {
    return how->window > 0 && position >= how->window ? position - how->window + 1 : 0;
}

LP_INLINE f32x16 cap_scores(f32x16 s, float cap) {
    f32x16 x = __builtin_elementwise_min(__builtin_elementwise_max(s / cap, splat(-10)), splat(10)); /* tanh is +-1 there */
    return cap - 2 * cap / (exponential(2 * x) + 1);
}

/* Scale, cap and mask one row of a tile that begins at `base`, as many vectors of it as are used; its greatest score. */
LP_INLINE float finish_scores(float *scores, int vectors, const struct scoring *how, int64_t base, int64_t position) {
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int64_t first = first_seen(how, position);
    int whole = base >= first && base + LANES * vectors - 1 <= position;
    f32x16 top = splat(LOWEST);
    for (int j = 0; j < vectors; j++) {
        f32x16 s = load_floats(scores + LANES * j) * how->scale;
        if (how->softcap > 0) s = cap_scores(s, how->softcap);
        if (!whole) {
            i32x16 at = lane + (int32_t)(base + LANES * j);
            i32x16 seen = (at >= (int32_t)first) & (at <= (int32_t)position);
            s = (f32x16)(((i32x16)s & seen) | ((i32x16)splat(-__builtin_inff()) & ~seen));
        }
        store_floats(scores + LANES * j, s);
        top = greater(s, top);
    }
    return greatest(top);
}

/* Scores [rows][TOKENS], of which `vectors` are used, become weights e^(score - top), in place, in the format that they are
 * multiplied in. `top` and `sum` move on; `decay` is what the rows' earlier sums must be multiplied by. Each `group` rows
 * share a position. */
LP_INLINE void weigh(float *scores, int rows, int vectors, int64_t group, enum format format, const struct scoring *how,
                     int64_t base, int64_t first_position, float *top, f32x16 *sum, float *decay, struct ahead *ahead) {
    for (int64_t r = 0, position = first_position, left = group; r < rows; r++) {
        float reached = finish_scores(scores + r * TOKENS, vectors, how, base, position);
        if (--left == 0) left = group, position++;
        reached = reached > top[r] ? reached : top[r];
        decay[r] = top[r] - reached;
        look_ahead(ahead);
        top[r] = reached;
    }
    for (int r = 0; r < rows; r += LANES) store_floats(decay + r, exponential(load_floats(decay + r)));
    for (int r = 0; r < rows; r++) {
        float *row = scores + r * TOKENS;
        f32x16 total = sum[r] * decay[r];
        for (int j = 0; j < vectors; j++) {
            f32x16 weight = exponential(load_floats(row + LANES * j) - top[r]);
            if (format == PAIRS) {
                bf16x16 rounded = narrow(weight);
                memcpy((lp_bf16 *)row + LANES * j, &rounded, sizeof rounded);
                weight = widen(rounded); /* what is multiplied is what is summed: the weights add up to one */
            } else {
                store_floats(row + LANES * j, weight);
            }
            total = total + weight;
        }
        sum[r] = total;
        look_ahead(ahead);
    }
}

#endif
