/* y = x W^T + bias for an int8 weight in panels, x rounded to int8 on the way in, each row by its own scale.
 *
 * The machine multiplies unsigned bytes of x by signed ones of W, so x is shifted by 128, and the sums start at -128 times
 * that of W's row. They are exact.
 */
#include "parallel.h"

/* Every processor with bfloat16 products has those of bytes as well, though the build does not say so. */
#ifdef __AVX512BF16__
#pragma clang attribute push(__attribute__((target("avx512vnni"))), apply_to = function)
#include "linear_int8.h"

enum { CHUNK = 512 };     /* steps whose 128 KB of a panel stay in the second-level cache while the rows go over them */
enum { MOST_ROWS = 96 };  /* whose sums are kept at a time where there are several chunks */
enum { DISTANCE = 4096 }; /* bytes that reading is ahead of use: over the page's end, where the processor's own stops */

typedef uint8_t u8x16 __attribute__((vector_size(LANES)));

LP_INLINE f32x16 magnitude(f32x16 v) { return (f32x16)((u32x16)v & 0x7fffffff); }

/* Rounded to the nearest integer, and 128 more. */
LP_INLINE u8x16 shifted_bytes(f32x16 v) {
    u32x16 whole = (u32x16)(v + 12583040.0f); /* 1.5 * 2^23 + 128: the sum is in the lowest byte */
    return __builtin_convertvector(whole, u8x16);
}

LP_INLINE void round_as(const struct linear_int8 *a, int64_t row, const int bf16) {
    const char *x = a->x + row * a->x_stride;
    uint8_t *to = a->rounded + row * a->steps * 4;
    int64_t whole = a->inputs / LANES * LANES;
    f32x16 rest = load_part(x, whole, a->inputs - whole, bf16);
    f32x16 most = splat(1e-30f); /* so that a row of zeros has a scale to be divided by */
    i32x16 nan = rest != rest;
    for (int64_t k = 0; k < whole; k += LANES) {
        f32x16 v = load_part(x, k, LANES, bf16);
        most = greater(magnitude(v), most);
        nan |= v != v;
    }
    float scale = greatest(greater(magnitude(rest), most)) / 127;
    a->row_scale[row] = lane_bits(nan) ? __builtin_nanf("") : scale; /* bytes cannot say it, and nobody shall miss it */
    for (int64_t k = 0; k < whole; k += LANES) {
        u8x16 bytes = shifted_bytes(load_part(x, k, LANES, bf16) / scale);
        memcpy(to + k, &bytes, sizeof bytes);
    }
    u8x16 bytes = shifted_bytes(rest / scale);
    memcpy(to + whole, &bytes, (size_t)(a->steps * 4 - whole));
}

static void round_row(void *context, int64_t row, int thread) {
    (void)thread;
    const struct linear_int8 *a = context;
    if (a->bf16) {
        round_as(a, row, 1);
    } else {
        round_as(a, row, 0);
    }
}

static void multiply_strip(struct tile t, int m) {
    if (t.width == PANEL) return multiply_tile_of(&t, m, PANEL_VECTORS);
    for (int64_t i = 0; i < t.width; i += LANES) {
        multiply_tile_of(&t, m, 1);
        t.b += LANES;
        t.column += LANES;
        t.sums += LANES;
    }
}

/* Where a thread is in the panels that it takes one after the other. */
struct place {
    int64_t panel, end;
    int64_t first, rows; /* of x */
};

/* What a strip asks for while it computes: the first for the chunk that it reads itself, a little ahead; the next few for
 * what comes after the chunk. */
static void look_ahead_from(struct tile *t, int64_t strip, int last) {
    if (strip == 0) {
        t->ahead = (const char *)t->b + DISTANCE;
        t->lines = PANEL_VECTORS;
    } else if (!last && strip <= PANEL_VECTORS) {
        t->ahead = (const char *)(t->b + t->steps * PANEL) + (strip - 1) * 64 * t->steps;
        t->lines = 1;
    }
}

static void multiply_panel(const struct linear_int8 *a, const struct place *at) {
    _Alignas(64) int32_t sums[MOST_ROWS * PANEL];
    int64_t strips = (at->rows + BYTE_ROWS - 1) / BYTE_ROWS, left = a->outputs - at->panel * PANEL;
    struct tile t = {.a = a, .column = at->panel * PANEL, .width = left < PANEL ? left : PANEL};
    const uint32_t *panel = a->weight + at->panel * PANEL * a->steps;
    int last_rows = at->first + at->rows == a->rows;
    for (; t.from < a->steps; t.from += CHUNK) {
        int64_t remaining = a->steps - t.from;
        t.b = panel + t.from * t.width;
        t.steps = remaining < CHUNK ? remaining : CHUNK;
        int last = remaining <= CHUNK && (!last_rows || at->panel + 1 == at->end);
        for (int64_t i = 0, row = 0; i < strips; i++) {
            int m = (int)((at->rows - row + strips - i - 1) / (strips - i)); /* 7 rows are 4 and 3, not 6 and 1 */
            struct tile strip = t;
            strip.row = at->first + row;
            strip.sums = sums + (a->steps > CHUNK ? row * PANEL : 0);
            look_ahead_from(&strip, i, last);
            multiply_strip(strip, m);
            row += m;
        }
    }
}

struct work {
    const struct linear_int8 *a;
    int64_t panels, large, small; /* of one of the first items, one for each thread, and of the others */
    int64_t threads;
};

static void multiply_item(void *context, int64_t index, int thread) {
    (void)thread;
    const struct work *w = context;
    int64_t later = index - w->threads;
    int64_t from = later < 0 ? index * w->large : w->threads * w->large + later * w->small;
    int64_t end = from + (later < 0 ? w->large : w->small);
    int64_t most = w->a->steps > CHUNK ? MOST_ROWS : w->a->rows;
    if (end > w->panels) end = w->panels;
    for (int64_t panel = from; panel < end; panel++) {
        for (int64_t first = 0; first < w->a->rows; first += most) {
            int64_t left = w->a->rows - first;
            multiply_panel(w->a, &(struct place){
                .panel = panel,
                .end = end,
                .first = first,
                .rows = left < most ? left : most,
            });
        }
    }
}

LP_EXPORT int loraplex_has_int8(void) { return 1; }

LP_EXPORT int loraplex_linear_int8(const struct linear_int8 *a, int threads) {
    int some = a->rows * a->inputs < 1 << 14 ? 1 : threads; /* fewer are done before another thread has woken */
    lp_parallel_for(some, a->rows, round_row, (void *)(uintptr_t)a);
    /* Long runs of memory for most of it, short ones for the rest, so that no thread waits long for the last. */
    struct work w = {.a = a, .panels = (a->outputs + PANEL - 1) / PANEL, .threads = threads};
    w.large = w.panels * 3 / 4 / threads;
    w.small = w.panels / (16 * w.threads) > 0 ? w.panels / (16 * w.threads) : 1;
    int64_t others = w.panels - w.threads * w.large;
    lp_parallel_for(threads, threads + (others + w.small - 1) / w.small, multiply_item, &w);
    return 0;
}
#pragma clang attribute pop
#else
LP_EXPORT int loraplex_has_int8(void) { return 0; }
#endif
