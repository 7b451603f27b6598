/* Rows by a weight packed in panels of 64 outputs, [N / 64][steps][64], the last panel as narrow as what is left of N.
 *
 * For any number of rows: with few it runs at the memory's speed, since each panel is read once; with many at that of the
 * multipliers. Each output is one sum over the steps in order, so no row's result depends on the rows beside it.
 */
#ifndef LORAPLEX_PANELS_H
#define LORAPLEX_PANELS_H

#include "pack.h"
#include "parallel.h"

enum { CHUNK = 512 };     /* steps whose 128 KB of a panel stay in the second-level cache while the rows go over them */
enum { MOST_ROWS = 96 };  /* whose sums are kept at a time */
enum { DISTANCE = 4096 }; /* bytes that reading is ahead of use: over the page's end, where the processor's own stops */
enum { ITEMS_PER_THREAD = 8 };

/* Takes the sums [rows][64] of `rows` rows from `first` on and the outputs from `column` on, `count` of them. */
typedef void (*write_fn)(const void *context, int64_t first, int64_t rows, int64_t column, int64_t count,
                         const float *sums);

struct panels {
    enum format format;
    const char *x; /* [rows, steps], x_stride bytes apart */
    const uint32_t *weight; /* and 64 bytes more that may be read */
    int64_t rows, outputs, steps, x_stride;
    write_fn write;
    const void *context;
    int64_t run; /* panels an item */
};

/* Rows of one panel, and whether this thread takes the next panel too. */
struct share {
    int64_t panel, first, rows;
    int last;
};

/* A strip of rows over one chunk of the panel. The first strip reads the chunk, asking for it a little ahead; the next few
 * ask for the next chunk meanwhile; the rest only compute. */
static void multiply_strip(enum format format, struct product p, int m, int vectors, int64_t index, int last) {
    const char *next = (const char *)(p.b + p.steps * PANEL);
    for (int j = 0; j < vectors; j += TILE_VECTORS) {
        int v = vectors - j < TILE_VECTORS ? vectors - j : TILE_VECTORS;
        if (index == 0) {
            p.ahead = (const char *)p.b + DISTANCE;
            multiply_any(&p, format, m, v, PANEL_VECTORS);
        } else if (index <= PANEL_VECTORS && !last) {
            p.ahead = next + (index - 1) * 64 * p.steps;
            multiply_any(&p, format, m, v, 1);
        } else {
            multiply_any(&p, format, m, v, 0);
        }
        p.b += TILE_VECTORS * LANES;
        p.c += TILE_VECTORS * LANES;
    }
}

static void multiply_share(const struct panels *a, const struct share *s) {
    _Alignas(64) float sums[MOST_ROWS * PANEL];
    int64_t most = tile_rows(a->format), strips = (s->rows + most - 1) / most;
    int64_t outputs = a->outputs - s->panel * PANEL, width = outputs < PANEL ? outputs : PANEL;
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
                .keep = from > 0,
            };
            multiply_strip(a->format, p, m, vectors, i, s->last && from + steps == a->steps);
            row += m;
        }
    }
    a->write(a->context, s->first, s->rows, s->panel * PANEL, width, sums);
}

static void multiply_item(void *context, int64_t index, int thread) {
    (void)thread;
    const struct panels *a = context;
    int64_t panels = (a->outputs + PANEL - 1) / PANEL;
    int64_t end = (index + 1) * a->run < panels ? (index + 1) * a->run : panels;
    for (int64_t panel = index * a->run; panel < end; panel++) {
        for (int64_t first = 0; first < a->rows; first += MOST_ROWS) {
            int64_t rows = a->rows - first < MOST_ROWS ? a->rows - first : MOST_ROWS;
            multiply_share(a, &(struct share){.panel = panel, .first = first, .rows = rows, .last = panel + 1 == end});
        }
    }
}

static inline void multiply_panels(struct panels a, int threads) {
    int64_t panels = (a.outputs + PANEL - 1) / PANEL;
    a.run = panels / ((int64_t)threads * ITEMS_PER_THREAD);
    if (a.run < 1) a.run = 1;
    lp_parallel_for(threads, (panels + a.run - 1) / a.run, multiply_item, &a);
}

#endif
