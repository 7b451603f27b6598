/* Thresholds without a sort: how much lies in which of some buckets of logits, then the same inside of one of them. */
#include "sample_edge.h"

#include <math.h>

/* The first buckets cut the 40 octaves of weights above 2^-40 into about 2000 parts. */
enum { BUCKETS = 2048, PER_OCTAVE = 50, NEAR = 1024 };

struct buckets { /* from the likeliest on; the last is for what belongs to none */
    int64_t weight[BUCKETS + 1];
    int64_t count[BUCKETS + 1];
};

/* Where a threshold is looked for: so many tokens, or so much weight, and what lies above the place already. */
struct search {
    int by_weight;
    int64_t wanted;
    int64_t count, weight;
};

static void put(struct buckets *buckets, const struct weigher *w, f32x16 x, i32x16 bucket) {
    i64x16 weights = weights_of(w, x);
    i32x16 some = __builtin_convertvector(weights > 0, i32x16);
    i32x16 at = (some & bucket) | (~some & BUCKETS);
    int64_t of_lane[LANES];
    int32_t to[LANES];
    memcpy(of_lane, &weights, sizeof of_lane);
    memcpy(to, &at, sizeof to);
    for (int lane = 0; lane < LANES; lane++) {
        buckets->weight[to[lane]] += of_lane[lane];
        buckets->count[to[lane]]++;
    }
}

/* Bucket of each logit, by how far below the highest it is. */
LP_INLINE i32x16 bucket_of(const struct weigher *w, f32x16 x) {
    f32x16 down = (w->best - x) * (w->inverse * (float)(PER_OCTAVE * 1.44269504));
    return __builtin_convertvector(__builtin_elementwise_min(down, splat(BUCKETS - 1)), i32x16);
}

/* Floats in ascending order as integers in ascending order; the two zeros are one. */
LP_INLINE i32x16 keys_of(f32x16 x) {
    i32x16 bits = (i32x16)(x + 0.0f);
    return bits ^ (bits >> 31 & 0x7fffffff);
}

static int32_t key_of(float x) { return keys_of(splat(x))[0]; }

static float float_of(int32_t key) {
    int32_t bits = key ^ (key >> 31 & 0x7fffffff);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The bucket in which what is wanted is reached. */
static int reached_in(struct search *search, const struct buckets *buckets) {
    int b = 0;
    for (; b < BUCKETS - 1; b++) {
        int64_t count = search->count + buckets->count[b], weight = search->weight + buckets->weight[b];
        if ((search->by_weight ? weight : count) >= search->wanted) break;
        search->count = count;
        search->weight = weight;
    }
    return b;
}

/* The logits of a bucket, all of them or at least the first NEAR; returns how many there are. */
static int64_t gather(const struct weigher *w, int bucket, float *near, float *lowest, float *highest) {
    int64_t found = 0;
    *lowest = INFINITY, *highest = -INFINITY;
    for (int64_t at = 0; at < w->n; at += LANES) {
        f32x16 x = logits_at(w->x, at, w->n);
        i32x16 members = (x >= w->floor) & (bucket_of(w, x) == bucket);
        if (!__builtin_reduce_or(members)) continue;
        for (int lane = 0; lane < LANES; lane++) {
            if (!members[lane]) continue;
            if (found < NEAR) near[found] = x[lane];
            found++;
            *lowest = x[lane] < *lowest ? x[lane] : *lowest;
            *highest = x[lane] > *highest ? x[lane] : *highest;
        }
    }
    return found;
}

static struct edge narrow_down(const struct weigher *w, const struct buckets *first, struct search search) {
    float near[NEAR], lowest, highest;
    int64_t members = gather(w, reached_in(&search, first), near, &lowest, &highest);
    const float *from = members <= NEAR ? near : w->x;
    int64_t n = members <= NEAR ? members : w->n;
    int32_t low = key_of(lowest), high = key_of(highest);
    while (low < high) {
        struct buckets buckets = {0};
        int shift = 0;
        while (((uint32_t)high - (uint32_t)low) >> shift >= BUCKETS) shift++;
        for (int64_t at = 0; at < n; at += LANES) {
            f32x16 x = logits_at(from, at, n);
            i32x16 keys = keys_of(x), inside = (keys >= low) & (keys <= high);
            if (!__builtin_reduce_or(inside)) continue;
            i32x16 bucket = (i32x16)(((uint32_t)high - (u32x16)keys) >> shift);
            put(&buckets, w, x, (inside & bucket) | (~inside & BUCKETS));
        }
        high = (int32_t)((uint32_t)high - ((uint32_t)reached_in(&search, &buckets) << shift));
        int32_t end = (int32_t)((uint32_t)high - (1u << shift) + 1);
        low = end > low ? end : low;
    }
    struct edge edge = {.x = float_of(low)};
    int64_t each = weight_of(w, edge.x), missing = search.wanted - (search.by_weight ? search.weight : search.count);
    edge.equals = search.by_weight ? (missing + each - 1) / each : missing;
    edge.weight = search.weight + edge.equals * each;
    return edge;
}

struct edge sample_edge(const struct weigher *w, int64_t top_k, double top_p) {
    struct buckets buckets = {0};
    for (int64_t at = 0; at < w->n; at += LANES) {
        f32x16 x = logits_at(w->x, at, w->n);
        if (__builtin_reduce_or(x >= w->floor)) put(&buckets, w, x, bucket_of(w, x));
    }
    struct edge edge = {.x = -INFINITY, .equals = w->n};
    int64_t count = 0;
    for (int b = 0; b < BUCKETS; b++) {
        edge.weight += buckets.weight[b];
        count += buckets.count[b];
    }
    if (top_k > 0 && top_k < count) edge = narrow_down(w, &buckets, (struct search){.wanted = top_k});
    if (top_p >= 1) return edge;
    int64_t wanted = (int64_t)ceil(top_p * (double)edge.weight);
    wanted = wanted < 1 ? 1 : wanted < edge.weight ? wanted : edge.weight;
    return narrow_down(w, &buckets, (struct search){.by_weight = 1, .wanted = wanted});
}
