/* The next token of each row of logits. A row at a time, each by itself: what it gets hangs on no other. */
#include <math.h>

#include "parallel.h"
#include "sample_edge.h"

struct draw {
    int64_t *token; /* [rows]; -1 where the logits are not finite */
    const float *logits;
    /* [rows] each, as ops/sampling/columns.py has them */
    const float *temperature;
    const double *uniform;
    const int32_t *top_k;
    const double *top_p, *min_p;
    const int32_t *vocab;
    int64_t rows, stride; /* stride in elements */
};

enum { SCANNED = 128 * LANES, WALKED = 16 * LANES }; /* logits looked at before anything is decided */

/* The highest logit and the first token that has it; NaN if there is one. */
static float likeliest(const float *x, int64_t n, int64_t *token) {
    float best = -INFINITY;
    int64_t place = 0;
    for (int64_t first = 0; first < n; first += SCANNED) {
        int64_t end = first + SCANNED < n ? first + SCANNED : n;
        f32x16 most = splat(-INFINITY);
        i32x16 bad = {0};
        for (int64_t at = first; at < end; at += LANES) {
            f32x16 v = logits_at(x, at, n);
            bad |= v != v;
            i32x16 higher = v > most;
            most = (f32x16)((higher & (i32x16)v) | (~higher & (i32x16)most));
        }
        if (__builtin_reduce_or(bad)) return NAN;
        float highest = most[0];
        for (int lane = 1; lane < LANES; lane++) highest = most[lane] > highest ? most[lane] : highest;
        if (highest > best) {
            best = highest;
            place = first;
        }
    }
    while (x[place] != best) place++;
    *token = place;
    return best;
}

/* By ascending id, the first token with which the weight of what is kept passes the target. */
static int64_t walk(const struct weigher *w, struct edge edge, int64_t target) {
    float from = edge.x > w->floor ? edge.x : w->floor;
    int64_t of_equal = weight_of(w, edge.x), left = edge.equals, token = 0;
    for (int64_t first = 0; first < w->n; first += WALKED) {
        int64_t end = first + WALKED < w->n ? first + WALKED : w->n, same = 0;
        i64x16 sums = {0};
        for (int64_t at = first; at < end; at += LANES) {
            f32x16 x = logits_at(w->x, at, w->n);
            if (!__builtin_reduce_or(x >= from)) continue;
            sums += weights_of(w, x) & __builtin_convertvector(x > edge.x, i64x16);
            same -= __builtin_reduce_add(x == edge.x); /* true is -1 */
        }
        int64_t here = __builtin_reduce_add(sums) + (same < left ? same : left) * of_equal;
        if (here > target) {
            for (int64_t at = first; target >= 0; at++) {
                int64_t kept = w->x[at] > edge.x || (w->x[at] == edge.x && left-- > 0) ? weight_of(w, w->x[at]) : 0;
                target -= kept;
                token = at;
            }
            return token;
        }
        target -= here;
        left -= same < left ? same : left;
    }
    return -1; /* not reached: the target is below the sum of all */
}

static int64_t all_weight(const struct weigher *w) {
    i64x16 sums = {0};
    for (int64_t at = 0; at < w->n; at += LANES) {
        f32x16 x = logits_at(w->x, at, w->n);
        if (__builtin_reduce_or(x >= w->floor)) sums += weights_of(w, x);
    }
    return __builtin_reduce_add(sums);
}

static void draw_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct draw *a = context;
    struct weigher w = {.x = a->logits + row * a->stride, .n = a->vocab[row]};
    a->token[row] = -1;
    int64_t token = 0;
    w.best = likeliest(w.x, w.n, &token);
    if (!(w.best > -INFINITY && w.best < INFINITY)) return;
    float temperature = a->temperature[row];
    if (temperature == 0) {
        a->token[row] = token;
        return;
    }
    double least = ceil(a->min_p[row] * WEIGHT_ONE);
    w.inverse = 1 / temperature;
    w.least = least > 1 ? (int64_t)least : 1;
    /* More than far enough, whichever way these few operations are rounded. */
    float reach = 0.01f - (float)log((double)w.least / WEIGHT_ONE);
    w.floor = nextafterf(w.best - temperature * reach, -INFINITY);
    struct edge edge = {.x = -INFINITY, .equals = w.n};
    if (a->top_k[row] > 0 || a->top_p[row] < 1) {
        edge = sample_edge(&w, a->top_k[row], a->top_p[row]);
    } else {
        edge.weight = all_weight(&w);
    }
    int64_t target = (int64_t)(a->uniform[row] * (double)edge.weight);
    a->token[row] = walk(&w, edge, target < edge.weight ? target : edge.weight - 1);
}

LP_EXPORT int loraplex_draw(const struct draw *a, int threads) {
    lp_parallel_for(threads, a->rows, draw_row, (void *)(uintptr_t)a);
    return 0;
}
