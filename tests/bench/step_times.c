/* One run of a compiled model, step by step, with the time of each: what <name>_run does, and a clock.
 *
 * Within a real run, because a kernel alone in a loop would find its input and its weights in the cache. Used by
 * profile_layers.py.
 */
#define _POSIX_C_SOURCE 200809L
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* As `Step` in runtime/src/abi.rs. */
struct step {
    void (*kernel)(void *const *bases, const void *arguments, size_t begin, size_t end);
    const void *arguments;
    const char *node;
    size_t n_tasks;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void step_times(const struct step *steps, size_t n_steps, void *const *bases, int64_t *ns)
{
    int64_t begin = now_ns();
    for (size_t i = 0; i < n_steps; i++) {
        steps[i].kernel(bases, steps[i].arguments, 0, steps[i].n_tasks);
        int64_t end = now_ns();
        ns[i] = end - begin;
        begin = end;
    }
}
