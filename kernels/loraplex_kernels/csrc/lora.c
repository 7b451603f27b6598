#include "lora.h"

#include <stdlib.h>

#include "parallel.h"

/* An item of the first phase is at most this many rows of A, of the second this many columns of B. Neither
 * changes a sum; they are small enough to share out a single adapter and large enough to read in long
 * stretches. */
enum { ITEM_RANKS = 8, ITEM_COLUMNS = 1024 };

struct item {
    int32_t block;
    int32_t cell; /* of the first phase: its own; of the second: of the block's first adapter */
    int32_t site; /* index in the group */
    int32_t first;
};

struct call {
    const struct lora_step *step;
    const struct lora_group *group;
    struct lora_matrix x, y, base;
    int64_t in;
    struct lora_cell *cells; /* [uses, group->count] */
    struct item *shrinks, *expands;
    int64_t shrink_count, expand_count;
};

static struct lora_rows rows_of(const struct lora_step *step, int64_t block) {
    int32_t start = step->row_start[block];
    return (struct lora_rows){step->row + start, step->row_start[block + 1] - start};
}

static void shrink_item(void *context, int64_t index, int thread) {
    const struct call *call = context;
    const struct item *item = &call->shrinks[index];
    const struct lora_cell *cell = &call->cells[item->cell];
    int last = item->first + ITEM_RANKS < cell->rank ? item->first + ITEM_RANKS : cell->rank;
    lora_shrink(cell, rows_of(call->step, item->block), call->x, call->in, item->first, last,
                (int)call->step->bf16);
    (void)thread;
}

static struct lora_matrix columns_from(struct lora_matrix matrix, int64_t column, int64_t bf16) {
    return (struct lora_matrix){(char *)matrix.data + column * (bf16 ? 2 : 4), matrix.stride};
}

static void expand_item(void *context, int64_t index, int thread) {
    const struct call *call = context;
    const struct lora_step *step = call->step;
    const struct item *item = &call->expands[index];
    int64_t width = call->group->width[item->site], offset = call->group->offset[item->site];
    int64_t last = item->first + ITEM_COLUMNS < width ? item->first + ITEM_COLUMNS : width;
    int64_t uses = step->use_start[item->block + 1] - step->use_start[item->block];
    lora_expand(&call->cells[item->cell], uses, call->group->count, rows_of(step, item->block),
                columns_from(call->y, offset, step->bf16), columns_from(call->base, offset, step->bf16),
                width, item->first, last, (int)step->bf16);
    (void)thread;
}

/* Reads the table's cells of the step. Returns the floats of v that they need together. */
static int64_t read_cells(struct call *call) {
    const struct lora_step *step = call->step;
    const struct lora_group *group = call->group;
    struct lora_cell *cell = call->cells;
    const float *weight = step->weight;
    int64_t floats = 0;
    for (int64_t block = 0; block < step->blocks; block++) {
        int64_t rows = rows_of(step, block).count;
        for (int32_t use = step->use_start[block]; use < step->use_start[block + 1]; use++, weight += rows) {
            for (int64_t s = 0; s < group->count; s++, cell++) {
                int64_t at = step->slot[use] * step->sites + group->site[s];
                *cell = (struct lora_cell){.a = (const void *)step->a[at],
                                           .b = (const void *)step->b[at],
                                           .magnitude = (const float *)step->magnitude[at],
                                           .factor = (const float *)step->factor[at],
                                           .weight = weight,
                                           .scale = step->scale[at],
                                           .rank = step->rank[at]};
                floats += rows * cell->rank;
                call->shrink_count += (cell->rank + ITEM_RANKS - 1) / ITEM_RANKS;
            }
        }
        for (int64_t s = 0; s < group->count; s++)
            call->expand_count += (group->width[s] + ITEM_COLUMNS - 1) / ITEM_COLUMNS;
    }
    return floats;
}

/* Numbers the work in the order in which the weights lie: adapter by adapter, linear by linear. */
static void list_items(struct call *call, float *v) {
    const struct lora_step *step = call->step;
    int32_t count = (int32_t)call->group->count, cell = 0;
    struct item *shrink = call->shrinks, *expand = call->expands;
    for (int32_t block = 0; block < step->blocks; block++) {
        int64_t rows = rows_of(step, block).count;
        int32_t uses = step->use_start[block + 1] - step->use_start[block], head = cell;
        for (int32_t s = 0; s < count; s++) {
            int32_t ranked = 0;
            for (int32_t use = 0; use < uses; use++) ranked += call->cells[head + use * count + s].rank;
            for (int32_t first = 0; ranked && first < call->group->width[s]; first += ITEM_COLUMNS)
                *expand++ = (struct item){block, head + s, s, first};
        }
        for (; cell < head + uses * count; cell++) {
            call->cells[cell].v = v;
            v += rows * call->cells[cell].rank;
            for (int32_t first = 0; first < call->cells[cell].rank; first += ITEM_RANKS)
                *shrink++ = (struct item){block, cell, 0, first};
        }
    }
    call->expand_count = expand - call->expands; /* linears that no adapter touches have none */
}

/* Adds a step's adapters to y. Returns 0, or 1 when there is no memory for the intermediate values. */
LP_EXPORT int loraplex_lora(const struct lora *a, int threads) {
    struct call call = {.step = a->step,
                        .group = a->group,
                        .x = {a->x, a->x_stride},
                        .y = {a->y, a->y_stride},
                        .base = {a->base, a->base_stride},
                        .in = a->in};
    int64_t cells = a->step->use_start[a->step->blocks] * a->group->count;
    call.cells = malloc((size_t)cells * sizeof *call.cells);
    if (!call.cells) return 1;
    int64_t floats = read_cells(&call);
    int64_t items = call.shrink_count + call.expand_count;
    call.shrinks = malloc((size_t)items * sizeof *call.shrinks + (size_t)floats * sizeof(float) + 1);
    if (!call.shrinks) {
        free(call.cells);
        return 1;
    }
    call.expands = call.shrinks + call.shrink_count;
    list_items(&call, (float *)(call.shrinks + items));
    lp_parallel_for(threads, call.shrink_count, shrink_item, &call);
    lp_parallel_for(threads, call.expand_count, expand_item, &call);
    free(call.shrinks);
    free(call.cells);
    return 0;
}
