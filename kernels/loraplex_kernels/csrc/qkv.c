/* Queries, keys and values between their projection and attention: norms of heads, rotary embedding, the cache. */
#include <stdatomic.h>

#include "heads.h"
#include "parallel.h"

enum { OUTSIDE = 2 }; /* what is returned where an index is out of range */

struct qkv {
    char *q, *k;    /* [rows, heads, head_dim], strides in elements; q NULL with no heads */
    const char *v;  /* [rows, kv_heads, head_dim] */
    const float *cos, *sin; /* [rows, half], or NULL with half 0 */
    const int64_t *slots;   /* [rows]; below 0: the row's key and value are not kept */
    char *keys, *values;    /* [blocks, kv_heads, block_size, head_dim] */
    const char *q_norm, *k_norm; /* [head_dim], or NULL */
    int64_t rows, heads, kv_heads, head_dim, half, q_row, q_head, k_row, k_head, v_row, v_head, blocks, block_size, bf16;
    double eps, offset;
};

struct writing {
    const struct qkv *a;
    atomic_int outside; /* whether a slot was past the cache's end */
};

/* One head, normed and turned, at `to`. It may be overwritten on the way. */
LP_INLINE void place_head(const struct qkv *a, char *head, const char *norm, int64_t row, const int bf16, char *to) {
    int64_t size = bf16 ? 2 : 4, turned = 2 * a->half * size;
    if (norm != NULL) norm_head(head, norm, a->head_dim, (float)a->eps, (float)a->offset, bf16, head);
    if (a->half > 0) turn_head(head, a->cos + row * a->half, a->sin + row * a->half, a->half, bf16, to);
    if (to != head) memcpy(to + turned, head + turned, (size_t)(a->head_dim * size - turned));
}

LP_INLINE void place_row(struct writing *w, int64_t row, const int bf16) {
    const struct qkv *a = w->a;
    int64_t size = bf16 ? 2 : 4, slot = a->slots[row], length = a->head_dim * size;
    for (int64_t h = 0; h < a->heads; h++) {
        char *head = a->q + (row * a->q_row + h * a->q_head) * size;
        place_head(a, head, a->q_norm, row, bf16, head);
    }
    if (slot >= a->blocks * a->block_size) w->outside = 1;
    if (slot < 0 || slot >= a->blocks * a->block_size) return;
    for (int64_t h = 0; h < a->kv_heads; h++) {
        int64_t page = slot / a->block_size * a->kv_heads + h;
        int64_t to = (page * a->block_size + slot % a->block_size) * length;
        place_head(a, a->k + (row * a->k_row + h * a->k_head) * size, a->k_norm, row, bf16, a->keys + to);
        memcpy(a->values + to, a->v + (row * a->v_row + h * a->v_head) * size, (size_t)length);
    }
}

static void place_halves(void *context, int64_t row, int thread) {
    (void)thread;
    place_row(context, row, 1);
}

static void place_floats(void *context, int64_t row, int thread) {
    (void)thread;
    place_row(context, row, 0);
}

/* Returns 0, or OUTSIDE where a slot is past the end of the cache: that row was not written. */
LP_EXPORT int loraplex_qkv(const struct qkv *a, int threads) {
    struct writing w = {.a = a};
    threads = lp_threads_for(threads, a->rows * (a->heads + 2 * a->kv_heads) * a->head_dim);
    lp_parallel_for(threads, a->rows, a->bf16 ? place_halves : place_floats, &w);
    return w.outside ? OUTSIDE : 0;
}

struct gather_angles {
    const float *cos_table, *sin_table; /* [length, half] */
    const int64_t *positions;           /* [rows] */
    float *cos, *sin;                   /* [rows, half] */
    int64_t rows, half, length;
};

/* Rows of the tables. Returns 0, or OUTSIDE where a position is not in them. */
LP_EXPORT int loraplex_gather_angles(const struct gather_angles *a, int threads) {
    (void)threads; /* a few kilobytes */
    for (int64_t row = 0; row < a->rows; row++) {
        int64_t position = a->positions[row];
        if (position < 0 || position >= a->length) return OUTSIDE;
        memcpy(a->cos + row * a->half, a->cos_table + position * a->half, (size_t)a->half * sizeof *a->cos);
        memcpy(a->sin + row * a->half, a->sin_table + position * a->half, (size_t)a->half * sizeof *a->sin);
    }
    return 0;
}
