/* Thresholds without a sort: how much lies in which of some buckets of logits, then the same inside of one of them. */
#include "sample_edge.h"

#include <math.h>

/* The first buckets cut the 40 octaves of weights above 2^-40 into about 2000 parts. Of these the LIKELIEST are filled
 * first, from the likeliest token's weight down to a 256th of it: few tokens lie there, and mostly the threshold. */
enum { BUCKETS = 2048, PER_OCTAVE = 50, LIKELIEST = 8 * PER_OCTAVE };
/* Logits of the threshold's bucket that are copied out of the row. */
enum { GATHERED = 1024 };
/* Fewer lanes than this are looked at one by one: faster than all 16 of them. */
enum { FEW_LANES = 6 };

typedef int64_t i64x2 __attribute__((vector_size(16)));

struct buckets { /* weight and number, from the likeliest on; after them a place for what belongs to none */
    i64x2 of[BUCKETS + 1];
    int filled; /* so many of the first */
};

/* Where a threshold is looked for: so many tokens, or so much weight, and what lies above the place already. */
struct search {
    int by_weight;
    int64_t wanted;
    int64_t count, weight;
};

/* Those of the 16 that are among `some`, and weigh anything, into their buckets. */
LP_INLINE void put(struct buckets *buckets, i64x16 weights, i32x16 bucket, i32x16 some) {
    some &= __builtin_convertvector(weights > 0, i32x16);
    unsigned left = lane_bits(some);
    if (!left) return;
    int64_t of_lane[LANES];
    int32_t to[LANES];
    memcpy(of_lane, &weights, sizeof of_lane);
    if (__builtin_popcount(left) < FEW_LANES) {
        memcpy(to, &bucket, sizeof to);
        for (; left; left &= left - 1) {
            int lane = __builtin_ctz(left);
            buckets->of[to[lane]] += (i64x2){of_lane[lane], 1};
        }
        return;
    }
    bucket = (some & bucket) | (~some & BUCKETS);
    memcpy(to, &bucket, sizeof to);
#pragma clang loop unroll(full)
    for (int lane = 0; lane < LANES; lane++) buckets->of[to[lane]] += (i64x2){of_lane[lane], 1};
}

/* Bucket of each logit, by how far below the highest it is. */
LP_INLINE i32x16 bucket_of(const struct weigher *w, f32x16 x) {
    f32x16 down = (w->best - x) * (w->inverse * (float)(PER_OCTAVE * 1.44269504));
    return __builtin_convertvector(__builtin_elementwise_min(down, splat(BUCKETS - 1)), i32x16);
}

/* Fill the buckets up to one; returns the weight and number of all that weigh anything. */
static i64x2 fill(struct buckets *buckets, const struct weigher *w, int up_to) {
    i64x16 sums = {0};
    i32x16 counts = {0};
    for (int64_t at = 0; at < w->n; at += LANES) {
        f32x16 x = logits_at(w->x, at, w->n);
        if (!__builtin_reduce_or(x >= w->floor)) continue;
        i64x16 weights = weights_of(w, x);
        i32x16 bucket = bucket_of(w, x);
        sums += weights;
        counts -= __builtin_convertvector(weights > 0, i32x16); /* true is -1 */
        put(buckets, weights, bucket, (bucket >= buckets->filled) & (bucket < up_to));
    }
    buckets->filled = up_to;
    return (i64x2){__builtin_reduce_add(sums), __builtin_reduce_add(counts)};
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

/* The bucket, not before `from`, in which what is wanted is reached; what lies above it goes to the search. */
static int reached_in(struct search *search, const struct buckets *buckets, int from) {
    int b = from;
    for (; b < buckets->filled; b++) {
        int64_t weight = search->weight + buckets->of[b][0], count = search->count + buckets->of[b][1];
        if ((search->by_weight ? weight : count) >= search->wanted) break;
        search->count = count;
        search->weight = weight;
    }
    return b;
}

/* The logits of a bucket, all of them or at least the first GATHERED; returns how many there are. */
static int64_t gather(const struct weigher *w, int bucket, float *near, float *lowest, float *highest) {
    int64_t found = 0;
    *lowest = INFINITY, *highest = -INFINITY;
    for (int64_t at = 0; at < w->n; at += LANES) {
        f32x16 x = logits_at(w->x, at, w->n);
        i32x16 members = (x >= w->floor) & (bucket_of(w, x) == bucket);
        if (!__builtin_reduce_or(members)) continue;
        for (int lane = 0; lane < LANES; lane++) {
            if (!members[lane]) continue;
            if (found < GATHERED) near[found] = x[lane];
            found++;
            *lowest = x[lane] < *lowest ? x[lane] : *lowest;
            *highest = x[lane] > *highest ? x[lane] : *highest;
        }
    }
    return found;
}

static struct edge narrow_down(const struct weigher *w, struct buckets *first, struct search search) {
    int bucket = reached_in(&search, first, 0);
    while (bucket == first->filled && bucket < BUCKETS) {
        fill(first, w, 2 * bucket < BUCKETS ? 2 * bucket : BUCKETS);
        bucket = reached_in(&search, first, bucket);
    }
    float near[GATHERED], lowest, highest;
    int64_t members = gather(w, bucket, near, &lowest, &highest);
    const float *from = members <= GATHERED ? near : w->x;
    int64_t n = members <= GATHERED ? members : w->n;
    int32_t low = key_of(lowest), high = key_of(highest);
    while (low < high) {
        struct buckets buckets = {.filled = BUCKETS};
        int shift = 0;
        while (((uint32_t)high - (uint32_t)low) >> shift >= BUCKETS) shift++;
        for (int64_t at = 0; at < n; at += LANES) {
            f32x16 x = logits_at(from, at, n);
            i32x16 keys = keys_of(x), inside = (keys >= low) & (keys <= high);
            if (!__builtin_reduce_or(inside)) continue;
            i64x16 weights = weights_of(w, x);
            i32x16 to = (i32x16)(((uint32_t)high - (u32x16)keys) >> shift);
            put(&buckets, weights, to, inside);
        }
        high = (int32_t)((uint32_t)high - ((uint32_t)reached_in(&search, &buckets, 0) << shift));
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
    i64x2 all = fill(&buckets, w, LIKELIEST);
    struct edge edge = {.x = -INFINITY, .equals = w->n, .weight = all[0]};
    if (top_k > 0 && top_k < all[1]) edge = narrow_down(w, &buckets, (struct search){.wanted = top_k});
    if (top_p >= 1) return edge;
    int64_t wanted = (int64_t)ceil(top_p * (double)edge.weight);
    wanted = wanted < 1 ? 1 : wanted < edge.weight ? wanted : edge.weight;
    return narrow_down(w, &buckets, (struct search){.by_weight = 1, .wanted = wanted});
}
