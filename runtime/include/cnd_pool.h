/* A pool of threads for the parallel runs of condensec's libraries.
 *
 * The libraries need none of this: they take any cnd_parallel_for. This one is in the static
 * library of the runtime crate, for programs on an operating system that have no pool:
 *
 *     cargo rustc --release -p condensec-runtime --features std --crate-type staticlib
 *
 *     cnd_pool *pool = cnd_pool_new(2);
 *     net_run_parallel(model, inputs, outputs, cnd_pool_parallel_for, pool);
 *     cnd_pool_free(pool);
 */
#ifndef CND_POOL_H
#define CND_POOL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cnd_pool cnd_pool;

/* Starts n_threads - 1 threads, since the caller of a run works too; 0 stands for as many as the
 * machine runs at once. Null if the system starts no more. */
cnd_pool *cnd_pool_new(size_t n_threads);

/* Ends the threads of a pool that nobody uses any more; null is none. */
void cnd_pool_free(cnd_pool *pool);

/* A cnd_parallel_for; pool is a cnd_pool. Any thread, also several at once: who finds the pool at
 * work does its tasks alone. Allocates nothing. */
void cnd_pool_parallel_for(void *pool,
                           void (*kernel)(void *const *bases, const void *arguments, size_t begin, size_t end),
                           void *const *bases, const void *arguments, size_t n_tasks);

#ifdef __cplusplus
}
#endif

#endif /* CND_POOL_H */
