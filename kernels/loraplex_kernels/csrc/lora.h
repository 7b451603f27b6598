/* The low-rank update on the CPU: y += weight * scale * B (A x) for rows that each name their adapters.
 *
 * Shrink: v = weight * scale * A x, float32, one dot product for each row and rank. Expand: y += sum over the
 * adapters of the row, sum over the ranks, v_j * B[j]. The rows come in blocks that use the same adapters, so
 * that a piece of A or B that was loaded serves several rows. A row's sums do not depend on what else is in the
 * step: every product and sum of a row keeps its place and order, in a block of any size and on any thread.
 *
 * Where A and B are int8, v_j is multiplied by factor_j, the product of the scales of the two rows: so neither
 * row is ever multiplied by its own, and B's elements are added as the integers that they are.
 */
#ifndef LORAPLEX_LORA_H
#define LORAPLEX_LORA_H

#include "simd.h"

/* The structures down to struct lora are mirrored in lora/cpu_plan.py. */

/* A step: its rows, and the adapters in memory. */
struct lora_step {
    int64_t bf16;                /* elements of x and y, of A and B unless int8: 1 bfloat16, 0 float32 */
    int64_t blocks;              /* sets of rows that use the same adapters */
    const int32_t *row_start;    /* [blocks + 1] first of each block in row */
    const int32_t *row;          /* rows of x and y; none twice */
    const int32_t *use_start;    /* [blocks + 1] first of each block in slot */
    const int32_t *slot;         /* adapters of each block, rows of the table */
    const int32_t *weight_start; /* [blocks + 1] first of each block in weight */
    const float *weight;         /* for each use in order, of each row of its block */
    int64_t sites;               /* columns of the table */
    const int64_t *a;            /* the table: addresses of A [rank, in] */
    const int64_t *b;            /*            of B transposed [rank, out] */
    const int64_t *magnitude;    /*            of float [out], 0 where the adapter has none */
    const int32_t *rank;         /*            0: the adapter leaves this linear alone */
    const float *scale;
    const int64_t *factor; /*            of float [rank] where A and B are int8, 0 where they are not */
    int64_t highest;       /* at least every rank of the step's adapters */
};

/* Linears that share x and lie side by side in y. */
struct lora_group {
    int64_t count;
    const int64_t *site;   /* columns of the table */
    const int64_t *offset; /* first column of y */
    const int64_t *width;  /* columns of y */
};

struct lora_matrix {
    void *data;
    int64_t stride; /* elements from row to row */
};

/* One call: the adapters of a step, added to what a group of linears gave. */
struct lora {
    const struct lora_step *step;
    const struct lora_group *group;
    void *x, *y;
    int64_t in, x_stride, y_stride; /* elements */
};

/* What one adapter does to one linear for some rows. */
struct lora_cell {
    const void *a, *b;
    const float *magnitude;
    const float *factor; /* [rank], NULL where A and B are not int8 */
    const float *weight; /* [rows] */
    float *v;            /* [rows, rank] */
    const char *next;    /* what is likely read after B */
    float scale;
    int32_t rank;
};

struct lora_rows {
    const int32_t *row;
    int64_t count;
};

/* What A, B, x and y are made of. Constants wherever they are passed: each pair has its own copy of the code. */
struct lora_types {
    int bf16; /* x and y, and A and B unless they are int8 */
    int int8;
};

LP_INLINE int64_t lora_size(const struct lora_types of) { return of.int8 ? 1 : of.bf16 ? 2 : 4; }

/* An adapter's arrays lie in the order in which they are read, in pieces too short for the processor to see that more
 * follow. With each `lines` cache lines of a piece that are used, as many of what lies behind it are asked for. */
LP_INLINE void lora_ask(const char *next, const int lines) {
    for (int i = 0; i < lines; i++) __builtin_prefetch(next + 64 * i, 0, 3);
}

/* v[:, first .. last) of one cell. */
void lora_shrink(const struct lora_cell *cell, struct lora_rows rows, struct lora_matrix x, int64_t in,
                 int first, int last, int bf16);

/* The columns [first, last) of one linear, for rows that all of `cells` act on. y begins at the linear's first column. */
void lora_expand(const struct lora_cell *cells, int64_t uses, struct lora_rows rows, struct lora_matrix y,
                 int64_t width, int64_t first, int64_t last, int bf16);

#endif
