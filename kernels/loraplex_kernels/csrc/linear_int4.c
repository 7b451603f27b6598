/* y = x W^T + bias for a weight of 4-bit codes with a scale, and perhaps a zero point, for each output's group of inputs.
 *
 * Codes stay packed up to the registers, so that few rows run at the memory's speed. Neither activations nor scales are
 * rounded, and values are multiplied as bfloat16 only if the caller says that it holds them: W is what the codes stand for.
 *
 * The weight: panels of 64 outputs, each a row of groups, each group its 64 scales, its 64 zero points and its blocks.
 */
#include "linear_int4.h"
#include "parallel.h"

enum { MOST_ROWS = 96, MOST_STEPS = 64, ITEMS_PER_THREAD = 8 };

enum scale_type { SCALE_F32, SCALE_BF16, SCALE_F16 };

typedef _Float16 f16x16 __attribute__((vector_size(32)));

struct linear_int4 {
    const char *x;        /* [rows, K] float32 or bfloat16, x_stride bytes apart */
    const int32_t *order; /* [K]: the input that each code belongs to; NULL for their own order */
    uint32_t *copy;       /* scratch [rows, steps] pairs or [rows, 2 steps] floats; NULL where x can be used as it is */
    float *x_sum;         /* scratch [rows, blocks] where there are zero points, else NULL */
    const char *weight;
    const float *table; /* [16] */
    const char *bias;   /* [N] of x's type, or NULL */
    char *y;            /* [rows, N] of x's type, y_stride bytes apart */
    int64_t rows, inputs, outputs, x_stride, y_stride, bf16;
    int64_t pairs;       /* whether bfloat16 is multiplied by bfloat16, which holds the table's values */
    int64_t integers;    /* whether the table is -8 .. 7 */
    int64_t steps;       /* pairs of inputs, the last with a zero where K is odd */
    int64_t block_steps; /* of a block; the last may be shorter */
    int64_t group_blocks;
    int64_t panel_bytes;
    int64_t scale_type, zero_type; /* the latter below 0 where there are none */
    int64_t run;                   /* panels an item; set here */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t blocks_of(const struct linear_int4 *a) { return (a->steps + a->block_steps - 1) / a->block_steps; }

static const uint32_t *row_of(const struct linear_int4 *a, int64_t row) {
    if (a->copy != NULL) return a->copy + row * a->steps * (a->pairs ? 1 : 2);
    return (const uint32_t *)(a->x + row * a->x_stride);
}

/* A row in the order of the codes and in the type that is multiplied, zeros after its end; and its blocks' sums. */
static void copy_row(const struct linear_int4 *a, const char *x, uint32_t *to) {
    lp_bf16 *halves = (lp_bf16 *)to;
    for (int64_t k = 0; k < a->inputs; k++) {
        int64_t from = a->order != NULL ? a->order[k] : k;
        if (a->pairs) {
            halves[k] = ((const lp_bf16 *)x)[from];
        } else if (a->bf16) {
            to[k] = (uint32_t)((const lp_bf16 *)x)[from] << 16;
        } else {
            to[k] = ((const uint32_t *)x)[from];
        }
    }
    if (a->inputs % 2 == 0) return;
    if (a->pairs) {
        halves[a->inputs] = 0;
    } else {
        to[a->inputs] = 0;
    }
}

static void prepare_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct linear_int4 *a = context;
    if (a->copy != NULL) copy_row(a, a->x + row * a->x_stride, a->copy + row * a->steps * (a->pairs ? 1 : 2));
    if (a->x_sum == NULL) return;
    const uint32_t *x = row_of(a, row);
    int64_t inputs = a->copy != NULL ? 2 * a->steps : a->inputs;
    for (int64_t block = 0; block < blocks_of(a); block++) {
        int64_t from = 2 * block * a->block_steps, end = least(from + 2 * a->block_steps, inputs);
        f32x16 sum = splat(0);
        for (int64_t k = from; k < end; k += LANES) sum = sum + load_part(x, k, end - k, (int)a->pairs);
        a->x_sum[row * blocks_of(a) + block] = lanes_sum(sum);
    }
}

/* 64 scales or zero points of a group, less `offset`; returns what comes after them. */
static const char *read_header(const char *at, enum scale_type type, float offset, float out[PANEL]) {
    for (int i = 0; i < PANEL; i += LANES) {
        f32x16 v;
        if (type == SCALE_F16) {
            f16x16 halves;
            memcpy(&halves, at + 2 * i, sizeof halves);
            v = __builtin_convertvector(halves, f32x16);
        } else {
            v = load_part(at, i, LANES, type == SCALE_BF16);
        }
        store_floats(out + i, v - offset);
    }
    return at + PANEL * (type == SCALE_F32 ? 4 : 2);
}

static void write_rows(const struct linear_int4 *a, int64_t first, int64_t rows, int64_t panel, const float *total) {
    int64_t column = panel * PANEL, count = least(a->outputs - column, PANEL);
    for (int64_t i = 0; i < count; i += LANES) {
        f32x16 bias = a->bias != NULL ? load_part(a->bias, column + i, count - i, (int)a->bf16) : splat(0);
        for (int64_t r = 0; r < rows; r++) {
            char *y = a->y + (first + r) * a->y_stride;
            store_part(y, column + i, count - i, (int)a->bf16, load_floats(total + r * PANEL + i) + bias);
        }
    }
}

static void multiply_share(const struct linear_int4 *a, const struct lookup *lookup, int64_t panel, int64_t first,
                           int64_t rows) {
    _Alignas(64) float total[MOST_ROWS * PANEL];
    _Alignas(64) float values[MOST_STEPS * 2 * PANEL];
    _Alignas(64) float scale[PANEL], zero[PANEL];
    enum format format = a->pairs ? PAIRS : FLOATS;
    enum source source = a->integers ? FROM_INTEGERS : FROM_TABLE;
    int64_t strips = (rows + TILE_ROWS - 1) / TILE_ROWS, blocks = blocks_of(a);
    int expanded = expands(format, rows);
    const char *at = a->weight + panel * a->panel_bytes;
    memset(total, 0, (size_t)rows * PANEL * sizeof(float));
    for (int64_t block = 0; block < blocks; block++) {
        if (block % a->group_blocks == 0) {
            at = read_header(at, (enum scale_type)a->scale_type, 0, scale);
            if (a->zero_type >= 0) at = read_header(at, (enum scale_type)a->zero_type, 8, zero);
        }
        int64_t start = block * a->block_steps;
        struct block b = {
            .steps = least(a->block_steps, a->steps - start),
            .ldx = a->copy != NULL ? a->steps * (a->pairs ? 1 : 2) : a->x_stride / 4,
            .codes = (const uint32_t *)at,
            .values = values,
            .lookup = lookup,
            .scale = scale,
            .zero = a->zero_type >= 0 ? zero : NULL,
            .x_sum_stride = blocks,
        };
        if (expanded) expand_block_any(&b, source, values);
        for (int64_t strip = 0, row = 0; strip < strips; strip++) {
            int m = (int)((rows - row + strips - strip - 1) / (strips - strip));
            b.x = row_of(a, first + row) + start * (a->pairs ? 1 : 2);
            b.x_sum = a->x_sum != NULL ? a->x_sum + (first + row) * blocks + block : NULL;
            b.total = total + row * PANEL;
            multiply_block_any(&b, format, expanded ? EXPANDED : source, m);
            row += m;
        }
        at += b.steps * LANES * 4;
    }
    write_rows(a, first, rows, panel, total);
}

static void multiply_item(void *context, int64_t index, int thread) {
    (void)thread;
    const struct linear_int4 *a = context;
    struct lookup lookup = make_lookup(a->table);
    int64_t end = least((index + 1) * a->run, (a->outputs + PANEL - 1) / PANEL);
    for (int64_t panel = index * a->run; panel < end; panel++) {
        for (int64_t first = 0; first < a->rows; first += MOST_ROWS) {
            multiply_share(a, &lookup, panel, first, least(a->rows - first, MOST_ROWS));
        }
    }
}

/* Whether bfloat16 is multiplied as it is; elsewhere it is widened, and pairs must be 0. */
LP_EXPORT int loraplex_int4_has_pairs(void) { return HAS_PAIRS; }

LP_EXPORT int loraplex_linear_int4(const struct linear_int4 *given, int threads) {
    struct linear_int4 a = *given;
    if (a.copy != NULL || a.x_sum != NULL) {
        int some = a.rows * a.inputs < 1 << 14 ? 1 : threads; /* fewer are done before another thread has woken */
        lp_parallel_for(some, a.rows, prepare_row, &a);
    }
    int64_t panels = (a.outputs + PANEL - 1) / PANEL;
    a.run = panels / ((int64_t)threads * ITEMS_PER_THREAD);
    if (a.run < 1) a.run = 1;
    lp_parallel_for(threads, (panels + a.run - 1) / a.run, multiply_item, &a);
    return 0;
}
