/* Work sharing on torch's own OpenMP threads.
 *
 * A second pool would fight torch's for the same cores: torch's workers spin for a while after each of their
 * regions. So the libgomp (or a stand-in with its entry points) that torch has loaded is asked for the
 * threads; its GOMP_parallel is handed over once, by loraplex_init. Without it everything runs on the calling
 * thread.
 *
 *     static void add_block(void *context, int64_t item, int thread) { ... }
 *     lp_parallel_for(threads, blocks, add_block, &arguments);
 *
 * What an item computes must depend on its index alone: which thread takes it, and when, differs from call to
 * call. Two items of one call may not write to the same address. `thread` is in [0, threads) and no two items
 * run under the same number at one time, so it may index scratch memory of each thread.
 */
#ifndef LORAPLEX_PARALLEL_H
#define LORAPLEX_PARALLEL_H

#include <stdint.h>

/* The library shows only what carries this mark. */
#define LP_EXPORT __attribute__((visibility("default")))

typedef void (*lp_item_fn)(void *context, int64_t item, int thread);

/* Calls fn for every item in [0, items) and returns when all are done. The items are handed out in ascending
 * runs, the next to whichever thread is free, so neighbours in memory should be neighbours in the numbering.
 * threads: torch.get_num_threads(), passed down by the caller of each op. */
void lp_parallel_for(int threads, int64_t items, lp_item_fn fn, void *context);

/* Of `threads`, as many as are worth waking where work is a few instructions for each of so many elements. */
static inline int lp_threads_for(int threads, int64_t elements) {
    int64_t useful = elements >> 14; /* fewer are done before another thread has woken */
    return useful < 1 ? 1 : useful < threads ? (int)useful : threads;
}

/* gomp_parallel: address of `void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned)`, or NULL. */
LP_EXPORT void loraplex_init(void *gomp_parallel);

#endif
