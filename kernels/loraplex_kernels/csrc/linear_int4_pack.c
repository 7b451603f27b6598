/* Codes into the layout of linear_int4.h. */
#include "pack.h"
#include "parallel.h"

struct packing_int4 {
    const uint8_t *codes; /* [N, K], each below 16 */
    char *out;            /* as struct linear_int4's weight; scales and zero points are left alone */
    int64_t inputs, outputs, group_steps, header_bytes, panel_bytes;
};

static uint32_t code_at(const struct packing_int4 *a, int64_t output, int64_t input) {
    return output < a->outputs && input < a->inputs ? a->codes[output * a->inputs + input] & 15u : 0;
}

static void pack_int4(void *context, int64_t panel, int thread) {
    (void)thread;
    const struct packing_int4 *a = context;
    char *out = a->out + panel * a->panel_bytes;
    for (int64_t step = 0; 2 * step < a->inputs; step++) {
        if (step % a->group_steps == 0) out += a->header_bytes;
        for (int64_t i = 0; i < LANES; i++, out += 4) {
            uint32_t lane = 0;
            for (int j = 0; j < PANEL_VECTORS; j++) {
                int64_t output = panel * PANEL + LANES * j + i;
                lane |= code_at(a, output, 2 * step) << (4 * j) | code_at(a, output, 2 * step + 1) << (4 * j + 16);
            }
            memcpy(out, &lane, sizeof lane);
        }
    }
}

LP_EXPORT void loraplex_linear_int4_pack(const struct packing_int4 *a, int threads) {
    lp_parallel_for(threads, (a->outputs + PANEL - 1) / PANEL, pack_int4, (void *)(uintptr_t)a);
}
