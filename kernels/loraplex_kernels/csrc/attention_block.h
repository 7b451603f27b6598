/* What attention is cut into, and what a block of it reads. */
#ifndef LORAPLEX_ATTENTION_BLOCK_H
#define LORAPLEX_ATTENTION_BLOCK_H

#include "attention_softmax.h"

enum { BLOCK_ROWS = 64, PART = 512 };

struct attention {
    const char *q;            /* [T, heads, head_dim], rows q_stride elements apart */
    const char *k, *v;        /* [num_blocks, kv_heads, block_size, head_dim] */
    char *out;                /* [T, heads, head_dim] */
    const int32_t *starts;    /* [sequences + 1] */
    const int32_t *contexts;  /* [sequences] */
    const int32_t *table;     /* [sequences, table_width] */
    int64_t sequences, heads, kv_heads, head_dim, block_size, table_width, q_stride;
    int64_t element; /* enum element */
    int64_t window;
    double scale, softcap;
};

/* What a block has gathered over some of its context: sums of weights, and of values by weight, relative to e^top. */
struct gathered {
    float top[BLOCK_ROWS], sum[BLOCK_ROWS];
    float values[]; /* [rows][width] */
};

/* Up to BLOCK_ROWS rows of one sequence and one kv head, and the parts of their context that one thread walks. */
struct item {
    int64_t sequence, kv_head;
    int64_t row, position;   /* the first position's: in the step, in its sequence */
    int64_t positions, rows; /* rows: positions * group */
    int64_t first_part, end_part;
    int64_t parts;   /* of a block whose parts are walked by as many items, on the first of them; else 0 */
    int64_t partial; /* which of the partial results is this item's; -1 where it walks the whole context */
};

struct call {
    const struct attention *a;
    struct scoring how;
    enum element element;
    int64_t group, width; /* query heads of a kv head; floats of a row of values, whole vectors */
    struct item *items;
    int64_t count, run; /* items, and how many of them a thread takes at a time */
    char *partials;
    int64_t partial_size;
};

static struct gathered *partial_of(const struct call *c, int64_t index) {
    return (struct gathered *)(c->partials + index * c->partial_size);
}

static void gather_queries(const struct call *c, const struct item *b, int64_t steps, uint32_t *out) {
    enum format format = format_of(c->element);
    for (int64_t r = 0; r < b->rows; r++) {
        int64_t at = (b->row + r / c->group) * c->a->q_stride + (b->kv_head * c->group + r % c->group) * c->a->head_dim;
        for (int64_t step = 0; step < steps; step += LANES) {
            u32x16 v = load_steps(c->a->q + at * element_size(c->element), step, steps, c->element, format);
            memcpy(out + r * steps + step, &v, 4 * (size_t)(steps - step < LANES ? steps - step : LANES));
        }
    }
}

/* Where the tile's rows lie; past the block's context, zeros, so that nothing that was never written is read. */
static void find_rows(const struct call *c, const struct item *b, int64_t base, const char *pages, const char **rows) {
    static const char zeros[4 * MOST_HEAD_DIM];
    const struct attention *a = c->a;
    int64_t stride = a->head_dim * element_size(c->element), end = b->position + b->positions;
    const int32_t *table = a->table + b->sequence * a->table_width;
    for (int64_t token = 0; token < TOKENS;) {
        int64_t position = base + token, offset = position % a->block_size, run = a->block_size - offset;
        if (position >= end) {
            rows[token++] = zeros;
            continue;
        }
        if (run > TOKENS - token) run = TOKENS - token;
        if (run > end - position) run = end - position;
        int64_t page = (int64_t)table[position / a->block_size] * a->kv_heads + b->kv_head;
        const char *at = pages + (page * a->block_size + offset) * stride;
        for (int64_t i = 0; i < run; i++) rows[token + i] = at + i * stride;
        token += run;
    }
}

#endif
