/* What a change of level costs: nanoseconds of one <name>_set_level, called through a pointer.
 *
 * Used by library.py.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <time.h>

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Writes nanoseconds per call of `n_loops` loops of `n_calls` each; returns 0, or 1 where a switch is refused. */
int switch_cost(int32_t (*set_level)(void *, uint32_t), void *model, uint32_t n_levels, int n_loops, int n_calls,
                double *ns)
{
    for (int loop = 0; loop < n_loops; loop++) {
        uint32_t level = 0;
        double begin = now_ns();
        for (int call = 0; call < n_calls; call++) {
            if (set_level(model, level) != 0)
                return 1;
            level = level + 1 == n_levels ? 0 : level + 1;
        }
        ns[loop] = (now_ns() - begin) / n_calls;
    }
    return 0;
}
