#include "lora.h"

#include <stdlib.h>

#include "parallel.h"

/* An item of work is one linear of a block of rows, from x to y, so that nobody waits for anybody; of a large block where
 * there are few, a part of its rows. */
enum { ITEMS_PER_THREAD = 4, ITEM_ROWS = 16 };

/* Where fewer linears than threads are as large as this many elements of A and B, they are shared out instead: so many
 * rows of A an item, and when they are all done so many columns of B. */
enum { LARGE = 1 << 16, ITEM_RANKS = 8, ITEM_COLUMNS = 1024 };

/* Runs of items for each thread: enough that one held up by the system leaves its share to the others. */
enum { RUNS_PER_THREAD = 8 };

struct work {
    const struct lora *call;
    struct lora_cell *cells; /* of each block, part and linear its uses */
    float *v;
    int64_t parts; /* in which the rows of each block are cut */
    int64_t items, run; /* all; those that a thread takes at a time */
    int threads;
};

/* One linear for some rows of one block. */
struct linear {
    int64_t index; /* in the group */
    int64_t uses;
    struct lora_rows rows;
    struct lora_cell *cells; /* [uses] */
};

/* A of what the thread that computes an item most likely computes next, its own where nothing follows. */
static const char *after(const struct work *work, int64_t item) {
    const struct lora_step *step = work->call->step;
    int64_t next = item + 1, linears = work->call->group->count;
    if (next % work->run == 0) next += work->run * (work->threads - 1); /* the others have what lies between */
    if (next >= work->items) next = item;
    int64_t use = step->use_start[next / (work->parts * linears)], s = next / work->parts % linears;
    return (const char *)step->a[step->slot[use] * step->sites + work->call->group->site[s]];
}

/* Finds linear number `item` and reads what the table says of it. */
static struct linear read_linear(const struct work *work, int64_t item) {
    const struct lora_step *step = work->call->step;
    int64_t count = work->call->group->count, part = item % work->parts;
    int64_t s = item / work->parts % count, block = item / (work->parts * count);
    int64_t whole = step->row_start[block + 1] - step->row_start[block];
    int64_t first = whole * part / work->parts, rows = whole * (part + 1) / work->parts - first;
    int64_t use = step->use_start[block], uses = step->use_start[block + 1] - use;
    const float *weight = step->weight + step->weight_start[block] + first;
    float *v = work->v + ((step->weight_start[block] + uses * first) * count + s * uses * rows) * step->highest;
    struct lora_cell *cells = work->cells + (use * work->parts + part * uses) * count + s * uses;
    for (int64_t i = 0; i < uses; i++) {
        int64_t at = step->slot[use + i] * step->sites + work->call->group->site[s];
        cells[i] = (struct lora_cell){.a = (const void *)step->a[at],
                                      .b = (const void *)step->b[at],
                                      .magnitude = (const float *)step->magnitude[at],
                                      .factor = (const float *)step->factor[at],
                                      .weight = weight + i * whole,
                                      .v = v + i * rows * step->highest,
                                      .scale = step->scale[at],
                                      .rank = step->rank[at]};
        if (i > 0) cells[i - 1].next = cells[i].a;
    }
    cells[uses - 1].next = after(work, item);
    return (struct linear){s, uses, {step->row + step->row_start[block] + first, rows}, cells};
}

static void expand(const struct lora *call, const struct linear *linear, int64_t first, int64_t last) {
    int32_t ranks = 0, bf16 = (int32_t)call->step->bf16;
    for (int64_t i = 0; i < linear->uses; i++) ranks |= linear->cells[i].rank;
    if (!ranks) return; /* y keeps its very bits */
    int64_t width = call->group->width[linear->index];
    if (first >= width) return; /* another linear of the group is wider */
    struct lora_matrix y = {(char *)call->y + call->group->offset[linear->index] * (bf16 ? 2 : 4), call->y_stride};
    lora_expand(linear->cells, linear->uses, linear->rows, y, width, first, last < width ? last : width, bf16);
}

static void whole_item(const struct work *work, int64_t item) {
    const struct lora *call = work->call;
    struct linear linear = read_linear(work, item);
    for (int64_t i = 0; i < linear.uses; i++) {
        const struct lora_cell *cell = &linear.cells[i];
        struct lora_matrix x = {call->x, call->x_stride};
        lora_shrink(cell, linear.rows, x, call->in, 0, cell->rank, (int)call->step->bf16);
    }
    expand(call, &linear, 0, call->group->width[linear.index]);
}

static void whole_run(void *context, int64_t index, int thread) {
    (void)thread;
    const struct work *work = context;
    int64_t item = index * work->run, end = item + work->run < work->items ? item + work->run : work->items;
    for (; item < end; item++) whole_item(work, item);
}

/* Some of a shared linear. */
struct share {
    const struct work *work;
    const struct linear *linears;
    int64_t pieces; /* of each linear */
};

static void shrink_piece(void *context, int64_t item, int thread) {
    (void)thread;
    const struct share *share = context;
    const struct lora *call = share->work->call;
    const struct linear *linear = &share->linears[item / share->pieces];
    int64_t first = item % share->pieces * ITEM_RANKS;
    for (int64_t i = 0; i < linear->uses; i++) {
        const struct lora_cell *cell = &linear->cells[i];
        struct lora_matrix x = {call->x, call->x_stride};
        int64_t last = first + ITEM_RANKS < cell->rank ? first + ITEM_RANKS : cell->rank;
        lora_shrink(cell, linear->rows, x, call->in, first, last, (int)call->step->bf16);
    }
}

static void expand_piece(void *context, int64_t item, int thread) {
    (void)thread;
    const struct share *share = context;
    int64_t first = item % share->pieces * ITEM_COLUMNS;
    expand(share->work->call, &share->linears[item / share->pieces], first, first + ITEM_COLUMNS);
}

static void share_linears(const struct work *work, int64_t items, int64_t widest, int threads) {
    struct linear linears[items];
    for (int64_t item = 0; item < items; item++) linears[item] = read_linear(work, item);
    struct share share = {work, linears, (work->call->step->highest + ITEM_RANKS - 1) / ITEM_RANKS};
    lp_parallel_for(threads, items * share.pieces, shrink_piece, &share);
    share.pieces = (widest + ITEM_COLUMNS - 1) / ITEM_COLUMNS;
    lp_parallel_for(threads, items * share.pieces, expand_piece, &share);
}

static int64_t parts_of(const struct lora_step *step, int64_t linears, int threads) {
    int64_t wanted = (threads * ITEMS_PER_THREAD + linears - 1) / linears;
    int64_t most = step->row_start[step->blocks] / (step->blocks * ITEM_ROWS);
    return wanted < most ? wanted : most > 1 ? most : 1;
}

/* Adds a step's adapters to y. Returns 0, or 1 when there is no memory for the intermediate values. */
LP_EXPORT int loraplex_lora(const struct lora *call, int threads) {
    const struct lora_step *step = call->step;
    int64_t linears = step->blocks * call->group->count, widest = 0;
    if (linears == 0) return 0;
    for (int64_t s = 0; s < call->group->count; s++)
        if (call->group->width[s] > widest) widest = call->group->width[s];
    struct work work = {.call = call, .parts = parts_of(step, linears, threads), .threads = threads};
    size_t cells = (size_t)(step->use_start[step->blocks] * work.parts * call->group->count);
    size_t floats = (size_t)(step->weight_start[step->blocks] * call->group->count * step->highest);
    work.cells = malloc(cells * sizeof *work.cells + floats * sizeof *work.v);
    if (!work.cells) return 1;
    work.v = (float *)(work.cells + cells);
    int64_t items = work.items = linears * work.parts;
    work.run = items / ((int64_t)threads * RUNS_PER_THREAD);
    if (work.run < 1) work.run = 1;
    if (items < threads && (call->in + widest) * step->highest >= LARGE) {
        share_linears(&work, items, widest, threads);
    } else {
        lp_parallel_for(threads, (items + work.run - 1) / work.run, whole_run, &work);
    }
    free(work.cells);
    return 0;
}
