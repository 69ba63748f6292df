/* What a change of level costs: nanoseconds of one <name>_set_level, called through a pointer.
 *
 *     switch_cost LIBRARY.so NAME LEVELS STATE_BYTES
 *
 * Prints the best and the median of 101 loops. Used by compare_onnxruntime.py.
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOPS 101
#define CALLS 1000000

static void *symbol(void *library, const char *name, const char *suffix)
{
    char text[512];
    snprintf(text, sizeof text, "%s_%s", name, suffix);
    void *address = dlsym(library, text);
    if (!address) {
        fprintf(stderr, "no symbol %s\n", text);
        exit(1);
    }
    return address;
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: switch_cost LIBRARY.so NAME LEVELS STATE_BYTES\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int32_t (*init)(void *, size_t, void **);
    int32_t (*set_level)(void *, uint32_t);
    void *address = symbol(library, argv[2], "init");
    memcpy(&init, &address, sizeof address);
    address = symbol(library, argv[2], "set_level");
    memcpy(&set_level, &address, sizeof address);
    uint32_t n_levels = (uint32_t)strtoul(argv[3], NULL, 10);
    size_t bytes = (size_t)strtoull(argv[4], NULL, 10);

    void *model = NULL;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory || init(memory, bytes, &model) != 0) {
        fprintf(stderr, "no instance\n");
        return 1;
    }
    double ns[LOOPS];
    for (int loop = 0; loop < LOOPS; loop++) {
        uint32_t level = 0;
        double begin = now_ns();
        for (int call = 0; call < CALLS; call++) {
            if (set_level(model, level) != 0)
                return 1;
            level = level + 1 == n_levels ? 0 : level + 1;
        }
        ns[loop] = (now_ns() - begin) / CALLS;
    }
    qsort(ns, LOOPS, sizeof ns[0], rising);
    printf("%.3f %.3f\n", ns[0], ns[LOOPS / 2]);
    free(memory);
    return 0;
}
