/* y = x W^T + bias for a weight packed in panels of 64 outputs: [N / 64][K in 32-bit steps][64], the last panel as narrow as
 * what is left of N.
 *
 * One kernel for any number of rows: with few it runs at the memory's speed, since each panel is read once; with many at
 * that of the multipliers. Each output is one sum over k in order, so no row's result depends on the rows beside it.
 */
#include "pack.h"
#include "parallel.h"

enum { CHUNK = 512 };     /* steps whose 128 KB of a panel stay in the second-level cache while the rows go over them */
enum { MOST_ROWS = 96 };  /* whose sums are kept at a time */
enum { DISTANCE = 4096 }; /* bytes that reading is ahead of use: over the page's end, where the processor's own stops */
enum { ITEMS_PER_THREAD = 8 };

struct linear {
    const char *x; /* [rows, K], x_stride bytes apart */
    const uint32_t *weight; /* and 64 bytes more that may be read */
    const char *bias; /* [N], or NULL */
    char *y;          /* [rows, N], y_stride bytes apart */
    int64_t rows, outputs, steps, x_stride, y_stride;
    int64_t format; /* enum format: of x, weight, bias and y */
};

struct call {
    const struct linear *a;
    int64_t panels, run; /* run: panels an item */
};

/* Rows of one panel, and whether this thread takes the next panel too. */
struct share {
    int64_t panel, first, rows;
    int last;
};

static void write_rows(const struct linear *a, const struct share *s, const float *sums) {
    int64_t column = s->panel * PANEL, end = column + PANEL < a->outputs ? column + PANEL : a->outputs;
    int bf16 = a->format == PAIRS;
    for (int64_t at = column; at < end; at += LANES, sums += LANES) {
        f32x16 bias = a->bias != NULL ? load_part(a->bias, at, end - at, bf16) : splat(0);
        for (int64_t r = 0; r < s->rows; r++) {
            store_part(a->y + (s->first + r) * a->y_stride, at, end - at, bf16, load_floats(sums + r * PANEL) + bias);
        }
    }
}

/* A strip of rows over one chunk of the panel. The first strip reads the chunk, asking for it a little ahead; the next few
 * ask for the next chunk meanwhile; the rest only compute. */
static void strip(const struct linear *a, struct product p, int m, int vectors, int64_t index, int last) {
    const char *next = (const char *)(p.b + p.steps * PANEL);
    for (int j = 0; j < vectors; j += TILE_VECTORS) {
        int v = vectors - j < TILE_VECTORS ? vectors - j : TILE_VECTORS;
        if (index == 0) {
            p.ahead = (const char *)p.b + DISTANCE;
            multiply_any(&p, (enum format)a->format, m, v, PANEL_VECTORS);
        } else if (index <= PANEL_VECTORS && !last) {
            p.ahead = next + (index - 1) * 64 * p.steps;
            multiply_any(&p, (enum format)a->format, m, v, 1);
        } else {
            multiply_any(&p, (enum format)a->format, m, v, 0);
        }
        p.b += TILE_VECTORS * LANES;
        p.c += TILE_VECTORS * LANES;
    }
}

static void multiply_share(const struct linear *a, const struct share *s) {
    static const float keep[TILE_ROWS] = {[0 ... TILE_ROWS - 1] = 1};
    _Alignas(64) float sums[MOST_ROWS * PANEL];
    int64_t most = tile_rows((enum format)a->format), strips = (s->rows + most - 1) / most;
    int64_t outputs = a->outputs - s->panel * PANEL;
    int64_t width = outputs < PANEL ? outputs : PANEL;
    int vectors = (int)((width + LANES - 1) / LANES);
    const uint32_t *panel = a->weight + s->panel * a->steps * PANEL;
    for (int64_t from = 0; from < a->steps; from += CHUNK) {
        int64_t steps = a->steps - from < CHUNK ? a->steps - from : CHUNK;
        for (int64_t i = 0, row = 0; i < strips; i++) {
            int m = (int)((s->rows - row + strips - i - 1) / (strips - i));
            struct product p = {
                .steps = steps,
                .a = (const uint32_t *)(a->x + (s->first + row) * a->x_stride) + from,
                .lda = a->x_stride / 4,
                .b = panel + from * width,
                .ldb = width,
                .c = sums + row * PANEL,
                .ldc = PANEL,
                .decay = from > 0 ? keep : NULL,
            };
            strip(a, p, m, vectors, i, s->last && from + steps == a->steps);
            row += m;
        }
    }
    write_rows(a, s, sums);
}

static void multiply_panels(void *context, int64_t index, int thread) {
    (void)thread;
    const struct call *c = context;
    int64_t end = (index + 1) * c->run < c->panels ? (index + 1) * c->run : c->panels;
    for (int64_t panel = index * c->run; panel < end; panel++) {
        for (int64_t first = 0; first < c->a->rows; first += MOST_ROWS) {
            int64_t rows = c->a->rows - first < MOST_ROWS ? c->a->rows - first : MOST_ROWS;
            struct share share = {.panel = panel, .first = first, .rows = rows, .last = panel + 1 == end};
            multiply_share(c->a, &share);
        }
    }
}

LP_EXPORT void loraplex_linear(const struct linear *a, int threads) {
    struct call c = {.a = a, .panels = (a->outputs + PANEL - 1) / PANEL};
    c.run = c.panels / ((int64_t)threads * ITEMS_PER_THREAD);
    if (c.run < 1) c.run = 1;
    lp_parallel_for(threads, (c.panels + c.run - 1) / c.run, multiply_panels, &c);
}

struct packing {
    const char *rows; /* [N, K], row_bytes apart */
    uint32_t *out;    /* as struct linear's weight */
    int64_t outputs, steps, row_bytes;
};

static void pack(void *context, int64_t panel, int thread) {
    (void)thread;
    const struct packing *a = context;
    uint32_t *out = a->out + panel * a->steps * PANEL;
    int64_t width = a->outputs - panel * PANEL;
    const char *rows[PANEL];
    for (int64_t i = 0; i < PANEL; i++) rows[i] = a->rows + (panel * PANEL + i) * a->row_bytes;
    if (width >= PANEL) {
        struct ahead nothing = {.count = 0};
        pack_panel(rows, a->steps, ELEMENT_F32, FLOATS, (u32x16 *)out, &nothing);
        return;
    }
    for (int64_t step = 0; step < a->steps; step++) {
        for (int64_t i = 0; i < width; i++) memcpy(out + step * width + i, rows[i] + 4 * step, 4);
    }
}

/* Steps are copied as they are, whatever their format. */
LP_EXPORT void loraplex_linear_pack(const struct packing *a, int threads) {
    lp_parallel_for(threads, (a->outputs + PANEL - 1) / PANEL, pack, (void *)(uintptr_t)a);
}
