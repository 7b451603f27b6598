#include "parallel.h"

#include <stdatomic.h>
#include <stddef.h>

typedef void (*gomp_parallel_fn)(void (*)(void *), void *, unsigned, unsigned);

static gomp_parallel_fn gomp_parallel = NULL;

void loraplex_init(void *address) { gomp_parallel = (gomp_parallel_fn)address; }

/* Runs handed out to each thread: enough that a thread held up by the system leaves its share to the others,
 * few enough that the counter they share costs nothing. */
enum { RUNS_PER_THREAD = 8 };

struct region {
    lp_item_fn fn;
    void *context;
    int64_t items;
    int64_t run; /* items handed out at a time */
    _Alignas(64) atomic_int_fast64_t next;
    _Alignas(64) atomic_int joined;
};

static void work(void *argument) {
    struct region *region = argument;
    int thread = atomic_fetch_add_explicit(&region->joined, 1, memory_order_relaxed);
    for (;;) {
        int64_t item = atomic_fetch_add_explicit(&region->next, region->run, memory_order_relaxed);
        if (item >= region->items) return;
        int64_t end = item + region->run < region->items ? item + region->run : region->items;
        for (; item < end; item++) region->fn(region->context, item, thread);
    }
}

void lp_parallel_for(int threads, int64_t items, lp_item_fn fn, void *context) {
    if (gomp_parallel == NULL || threads <= 1 || items <= 1) {
        for (int64_t item = 0; item < items; item++) fn(context, item, 0);
        return;
    }
    if (threads > items) threads = (int)items;
    int64_t run = items / ((int64_t)threads * RUNS_PER_THREAD);
    struct region region = {.fn = fn, .context = context, .items = items, .run = run > 0 ? run : 1};
    atomic_init(&region.next, 0);
    atomic_init(&region.joined, 0);
    gomp_parallel(work, &region, (unsigned)threads, 0);
}
