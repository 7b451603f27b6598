/* Rows of 32-bit elements, transposed in panels of 64 for `multiply`. */
#ifndef LORAPLEX_PACK_H
#define LORAPLEX_PACK_H

#include "matrix.h"

enum { PANEL = 64, PANEL_VECTORS = PANEL / LANES };

enum element { ELEMENT_F32, ELEMENT_BF16 };

LP_INLINE int64_t element_size(enum element element) { return element == ELEMENT_F32 ? 4 : 2; }

/* 32-bit elements that n cached ones become. */
LP_INLINE int64_t steps_of(enum format format, int64_t n) { return format == PAIRS ? n / 2 : n; }

/* 16 of a row's 32-bit elements, zeros after its end. */
LP_INLINE u32x16 load_steps(const char *row, int64_t step, int64_t steps, enum element element, enum format format) {
    if (format == FLOATS && element == ELEMENT_BF16) {
        return (u32x16)widen(load_halves_part((const lp_bf16 *)row + step, steps - step));
    }
    return load_bits_part(row + 4 * step, steps - step);
}

/* One round of a transpose: the halves of `width` lanes that are off the diagonal change places between two rows. */
#define EXCHANGE(a, b, lower, upper)                          \
    do {                                                      \
        u32x16 first = __builtin_shufflevector(a, b, lower);  \
        b = __builtin_shufflevector(a, b, upper);             \
        a = first;                                            \
    } while (0)
#define LOWER_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define UPPER_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LOWER_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define UPPER_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOWER_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define UPPER_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOWER_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define UPPER_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31

LP_INLINE void transpose(u32x16 v[LANES]) {
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; i++) {
        if (!(i & 8)) EXCHANGE(v[i], v[i + 8], LOWER_8, UPPER_8);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; i++) {
        if (!(i & 4)) EXCHANGE(v[i], v[i + 4], LOWER_4, UPPER_4);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; i++) {
        if (!(i & 2)) EXCHANGE(v[i], v[i + 2], LOWER_2, UPPER_2);
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; i++) {
        if (!(i & 1)) EXCHANGE(v[i], v[i + 1], LOWER_1, UPPER_1);
    }
}

/* Memory that will be read next, in rows too short and scattered for the processor to foresee. It is asked for a few rows at
 * each step of the work: all at once would only wait, since a core has about 24 reads under way. */
struct ahead {
    const char *rows[2 * PANEL];
    int next, count;
    int64_t bytes; /* of a row */
};

LP_INLINE void look_ahead(struct ahead *ahead) {
    int end = ahead->next + 3 < ahead->count ? ahead->next + 3 : ahead->count;
    for (; ahead->next < end; ahead->next++) {
        for (int64_t at = 0; at < ahead->bytes; at += 64) __builtin_prefetch(ahead->rows[ahead->next] + at, 0, 2);
    }
}

/* 64 rows become out[step][row / 16]: a vector is one step of 16 rows; of the first `groups` times 16 rows only. */
LP_INLINE void pack_groups(const char *const rows[PANEL], int groups, int64_t steps, enum element element,
                           enum format format, u32x16 *out, struct ahead *ahead) {
    for (int64_t step = 0; step < steps; step += LANES) {
        int64_t count = steps - step < LANES ? steps - step : LANES;
        for (int group = 0; group < groups; group++) {
            u32x16 v[LANES];
#pragma clang loop unroll(full)
            for (int i = 0; i < LANES; i++) v[i] = load_steps(rows[LANES * group + i], step, steps, element, format);
            transpose(v);
            look_ahead(ahead);
            if (count == LANES) { /* apart, so that v stays in registers */
#pragma clang loop unroll(full)
                for (int i = 0; i < LANES; i++) out[(step + i) * PANEL_VECTORS + group] = v[i];
                continue;
            }
            for (int64_t i = 0; i < count; i++) out[(step + i) * PANEL_VECTORS + group] = v[i];
        }
    }
}

static inline void pack_panel(const char *const rows[PANEL], int64_t steps, enum element element, enum format format,
                              u32x16 *out, struct ahead *ahead) {
    pack_groups(rows, PANEL_VECTORS, steps, element, format, out, ahead);
}

#endif
