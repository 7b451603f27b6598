/* Causal attention over a paged KV cache: decode rows and prefill chunks alike.
 *
 * A block is up to 64 rows (positions, times the query heads that share a kv head); it meets the keys and values in tiles
 * of 64 tokens at fixed positions, and the tiles in parts of 512 tokens whose results are merged in order. So a row's
 * result is a function of its own context alone: not of the rows beside it, the chunk it came in, the other sequences or
 * the number of threads.
 */
#include <stdlib.h>

#include "attention_block.h"
#include "parallel.h"

enum { RUNS_PER_THREAD = 4, MOST_RUN = 8 };

static void clear(struct gathered *g, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++) g->top[r] = LOWEST;
    memset(g->sum, 0, (size_t)rows * sizeof *g->sum);
    memset(g->values, 0, (size_t)(rows * width) * sizeof *g->values);
}

/* Where the keys and values of the tile at `base` lie; none past the end. */
static void find_tile(const struct call *c, const struct item *b, int64_t base, int64_t end, struct ahead *tile) {
    tile->next = tile->count = 0;
    if (base >= end) return;
    tile->count = 2 * TOKENS;
    find_rows(c, b, base, c->a->k, tile->rows);
    find_rows(c, b, base, c->a->v, tile->rows + TOKENS);
}

/* Part of the context of an item. */
struct stretch {
    const struct item *item;
    int64_t first, end; /* positions; the first is a tile's */
};

/* Walk the tiles of one stretch; meanwhile the memory is asked for each next tile, and at the end for that of `then`. */
static void gather(const struct call *c, const uint32_t *queries, struct stretch now, struct stretch then,
                   struct gathered *g) {
    u32x16 packed[MOST_HEAD_DIM * TOKEN_VECTORS];
    _Alignas(64) float scores[BLOCK_ROWS * TOKENS];
    float decay[BLOCK_ROWS] = {0};
    f32x16 sum[BLOCK_ROWS] = {{0}};
    struct ahead tiles[2], *tile = &tiles[0], *next = &tiles[1];
    const struct item *b = now.item;
    enum format format = format_of(c->element);
    int64_t steps = steps_of(format, c->a->head_dim);
    tiles[0].bytes = tiles[1].bytes = c->a->head_dim * element_size(c->element);
    clear(g, b->rows, c->width);
    find_tile(c, b, now.first, now.end, tile);
    for (int64_t base = now.first; base < now.end; base += TOKENS) {
        int last = base + TOKENS >= now.end;
        /* Vectors past the end of the context would have weights of 0, which change nothing. */
        int vectors = last ? (int)((now.end - base + LANES - 1) / LANES) : TOKEN_VECTORS;
        find_tile(c, last ? then.item : b, last ? then.first : base + TOKENS, last ? then.end : now.end, next);
        pack_groups(tile->rows, vectors, steps, c->element, format, packed, next);
        multiply(format, b->rows, vectors,
                 (struct product){.steps = steps, .a = queries, .lda = steps, .b = (const uint32_t *)packed, .ldb = TOKENS,
                                  .c = scores, .ldc = TOKENS});
        weigh(scores, b->rows, vectors, c->group, format, &c->how, base, b->position, g->top, sum, decay, next);
        pack_values(tile->rows + TOKENS, LANES * vectors, c->a->head_dim, c->element, packed, next);
        multiply(format, b->rows, (int)(c->width / LANES),
                 (struct product){.steps = steps_of(format, LANES * vectors), .a = (const uint32_t *)scores, .lda = TOKENS,
                                  .b = (const uint32_t *)packed, .ldb = c->width, .c = g->values, .ldc = c->width, .keep = 1,
                                  .decay = decay});
        while (next->next < next->count) look_ahead(next);
        struct ahead *done = tile;
        tile = next;
        next = done;
    }
    for (int64_t r = 0; r < b->rows; r++) g->sum[r] = lanes_sum(sum[r]);
}

/* total += part. An empty one changes nothing, bit for bit, on either side. */
static void merge(struct gathered *total, const struct gathered *part, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++) {
        float top = total->top[r] > part->top[r] ? total->top[r] : part->top[r];
        float old = exponential(splat(total->top[r] - top))[0], new = exponential(splat(part->top[r] - top))[0];
        total->top[r] = top;
        total->sum[r] = total->sum[r] * old + part->sum[r] * new;
        for (int64_t i = r * width; i < (r + 1) * width; i += LANES) {
            f32x16 kept = load_floats(total->values + i) * old;
            store_floats(total->values + i, kept + load_floats(part->values + i) * new);
        }
    }
}

static void write_out(const struct call *c, const struct item *b, const struct gathered *g) {
    int64_t head_dim = c->a->head_dim, size = element_size(c->element);
    for (int64_t r = 0; r < b->rows; r++) {
        int64_t head = b->kv_head * c->group + r % c->group;
        char *to = c->a->out + ((b->row + r / c->group) * c->a->heads + head) * head_dim * size;
        float inverse = 1 / g->sum[r];
        for (int64_t i = 0; i < head_dim; i += LANES) {
            f32x16 v = load_floats(g->values + r * c->width + i) * inverse;
            store_part(to, i, head_dim - i, c->element == ELEMENT_BF16, v);
        }
    }
}

/* What of its part `p` an item walks; nothing for no item. */
static struct stretch stretch_of(const struct call *c, const struct item *b, int64_t p) {
    if (b == NULL) return (struct stretch){0};
    int64_t end = b->position + b->positions, seen = first_seen(&c->how, b->position) / TOKENS * TOKENS;
    int64_t from = p * PART > seen ? p * PART : seen, to = (p + 1) * PART < end ? (p + 1) * PART : end;
    return (struct stretch){b, from, to};
}

/* `then` is the item that this thread takes next, or NULL. */
static void attend(const struct call *c, const struct item *b, const struct item *then) {
    _Alignas(64) char space[2][sizeof(struct gathered) + sizeof(float) * BLOCK_ROWS * MOST_HEAD_DIM];
    struct gathered *part = (struct gathered *)space[0], *total = (struct gathered *)space[1];
    uint32_t queries[BLOCK_ROWS * MOST_HEAD_DIM];
    gather_queries(c, b, steps_of(format_of(c->element), c->a->head_dim), queries);
    clear(total, b->rows, c->width);
    for (int64_t p = b->first_part; p < b->end_part; p++) {
        int first = p == b->first_part, last = p + 1 == b->end_part;
        struct stretch next = stretch_of(c, last ? then : b, last && then != NULL ? then->first_part : p + 1);
        gather(c, queries, stretch_of(c, b, p), next, first ? total : part);
        if (!first) merge(total, part, b->rows, c->width);
    }
    if (b->partial >= 0) {
        memcpy(partial_of(c, b->partial), total, sizeof *total + sizeof(float) * (size_t)(b->rows * c->width));
    } else {
        write_out(c, b, total);
    }
}

/* A run of items, so that a thread knows what it reads next. */
static void attend_run(void *context, int64_t index, int thread) {
    (void)thread;
    const struct call *c = context;
    int64_t first = index * c->run, end = first + c->run < c->count ? first + c->run : c->count;
    for (int64_t i = first; i < end; i++) {
        const struct item *item = &c->items[c->count - 1 - i]; /* the longest contexts first, so that they end together */
        attend(c, item, i + 1 < end ? item - 1 : NULL);
    }
}

/* Merge the parts of a block that was split. */
static void join(void *context, int64_t index, int thread) {
    (void)thread;
    const struct call *c = context;
    const struct item *b = &c->items[index];
    if (b->parts == 0) return;
    struct gathered *total = partial_of(c, b->partial);
    for (int64_t p = 1; p < b->parts; p++) merge(total, partial_of(c, b->partial + p), b->rows, c->width);
    write_out(c, b, total);
}

/* The items of one sequence's rows [done, done + step), for every kv head; heads of one part side by side, since they lie so
 * in the cache. Returns how many partial results they need. */
static int64_t plan_block(struct call *c, int64_t sequence, int64_t done, int64_t step, int64_t partials) {
    const struct attention *a = c->a;
    int64_t rows = a->starts[sequence + 1] - a->starts[sequence];
    struct item b = {.sequence = sequence, .row = a->starts[sequence] + done, .partial = -1};
    b.positions = rows - done < step ? rows - done : step;
    if (a->contexts[sequence] == 0) { /* a row of padding, which sees nothing */
        int64_t bytes = a->heads * a->head_dim * element_size(c->element);
        if (c->items == NULL) memset(a->out + b.row * bytes, 0, (size_t)(b.positions * bytes));
        return 0;
    }
    b.rows = b.positions * c->group;
    b.position = a->contexts[sequence] - rows + done;
    b.first_part = first_seen(&c->how, b.position) / PART;
    b.end_part = (b.position + b.positions + PART - 1) / PART;
    /* A long chunk is blocks enough for all threads; a decode row may be less than there are threads. */
    int64_t parts = b.end_part - b.first_part, pieces = rows <= step ? parts : 1;
    for (int64_t piece = 0; piece < pieces; piece++) {
        for (b.kv_head = 0; b.kv_head < a->kv_heads; b.kv_head++, c->count++) {
            if (c->items == NULL) continue;
            struct item *item = &c->items[c->count];
            *item = b;
            if (pieces == 1) continue;
            item->first_part = b.first_part + piece;
            item->end_part = item->first_part + 1;
            item->parts = piece == 0 ? parts : 0;
            item->partial = partials + b.kv_head * parts + piece;
        }
    }
    if (pieces == 1) return 0;
    int64_t size = (int64_t)sizeof(struct gathered) + b.rows * c->width * (int64_t)sizeof(float);
    if (size > c->partial_size) c->partial_size = size;
    return parts * a->kv_heads;
}

/* List the items; with no room for them (items NULL), only count. Returns the number of partial results. */
static int64_t plan(struct call *c) {
    int64_t step = BLOCK_ROWS / c->group, partials = 0;
    c->count = 0;
    for (int64_t s = 0; s < c->a->sequences; s++) {
        int64_t rows = c->a->starts[s + 1] - c->a->starts[s];
        for (int64_t done = 0; done < rows; done += step) partials += plan_block(c, s, done, step, partials);
    }
    return partials;
}

/* Returns 0, or -1 where there is no memory for the plan. */
LP_EXPORT int loraplex_attention(const struct attention *a, int threads) {
    struct call c = {.a = a, .element = (enum element)a->element, .group = a->heads / a->kv_heads};
    c.how = (struct scoring){.scale = (float)a->scale, .softcap = (float)a->softcap, .window = a->window};
    c.width = (a->head_dim + LANES - 1) / LANES * LANES;
    int64_t partials = plan(&c);
    c.items = malloc(sizeof *c.items * (size_t)(c.count + 1));
    c.partials = malloc((size_t)(partials * c.partial_size + 1));
    int status = c.items == NULL || c.partials == NULL ? -1 : 0;
    if (status == 0) {
        plan(&c);
        c.run = c.count / (threads * RUNS_PER_THREAD);
        c.run = c.run < 1 ? 1 : c.run > MOST_RUN ? MOST_RUN : c.run;
        lp_parallel_for(threads, (c.count + c.run - 1) / c.run, attend_run, &c);
        if (partials > 0) lp_parallel_for(threads, c.count, join, &c);
    }
    free(c.partials);
    free(c.items);
    return status;
}
