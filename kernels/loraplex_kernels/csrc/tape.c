#include <stdint.h>

#include "parallel.h"

/* A kernel of a step, and where its structure lies. */
struct tape_call {
    int (*kernel)(const void *arguments, int threads);
    const void *arguments;
};

struct tape {
    const struct tape_call *calls;
    int64_t count;
};

/* Calls them in order. Returns what the first that failed gave; those after it are not called. */
LP_EXPORT int loraplex_tape(const struct tape *a, int threads) {
    for (int64_t i = 0; i < a->count; i++) {
        int status = a->calls[i].kernel(a->calls[i].arguments, threads);
        if (status) return status;
    }
    return 0;
}
