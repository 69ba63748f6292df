/* Handwritten digits on one core: the library that condensec made of ../digits/digits_supernet.onnx.
 *
 * Runs ten images at every level, then RUNS more while a second thread switches levels under it, as
 * a governor would. Reads no file and allocates nothing; C11, and C++11 just as well. Build and
 * run: see ../README.md.
 *
 *     digits [RUNS]
 */
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "digits.h"
#include "images.h"

#define CLASSES 10

/* An instance lives in memory that the program gives: here a static array, no heap needed. */
alignas(DIGITS_STATE_ALIGN) static unsigned char memory[DIGITS_STATE_BYTES];

static float images[IMAGES][IMAGE_PIXELS];

/* What every level says of every image, to recognise it by later. */
static float logits[DIGITS_LEVELS][IMAGES][CLASSES];

static void check(cnd_status status, const char *what)
{
    if (status != CND_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)status);
        exit(1);
    }
}

static double now_ms(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int largest(const float *values, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++) {
        if (values[i] > values[best])
            best = i;
    }
    return best;
}

/* The thread that switches, and how it is told to stop. */
typedef struct {
    digits *model;
    pthread_mutex_t lock;
    int stop;
    long n_switches;
} governor;

static void *govern(void *argument)
{
    governor *self = (governor *)argument;
    uint32_t level = 0;
    for (;;) {
        pthread_mutex_lock(&self->lock);
        int stop = self->stop;
        pthread_mutex_unlock(&self->lock);
        if (stop)
            return NULL;
        /* One store. No lock is needed, and a run under way keeps the level it began with. */
        check(digits_set_level(self->model, level), "digits_set_level");
        self->n_switches++;
        level = (level + 1) % DIGITS_LEVELS;
    }
}

int main(int argc, char **argv)
{
    int n_runs = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < IMAGES; i++) {
        for (int p = 0; p < IMAGE_PIXELS; p++)
            images[i][p] = ((float)image_pixels[i][p] - 10.0f) / 10.0f;
    }

    digits *model;
    check(digits_init(memory, sizeof memory, &model), "digits_init");
    const cnd_model *description = digits_model();
    printf("%s: %u levels, %llu bytes of weights, %u bytes of state, for %s\n", description->name,
           (unsigned)description->n_levels, (unsigned long long)description->weight_bytes,
           (unsigned)DIGITS_STATE_BYTES, description->target);

    for (uint32_t level = 0; level < DIGITS_LEVELS; level++) {
        check(digits_set_level(model, level), "digits_set_level");
        double begin = now_ms();
        for (int i = 0; i < IMAGES; i++)
            check(digits_infer(model, images[i], logits[level][i]), "digits_infer");
        double ms = (now_ms() - begin) / IMAGES;
        printf("L%u %-5s density %.2f:", (unsigned)level, description->levels[level].name,
               description->levels[level].density);
        for (int i = 0; i < IMAGES; i++)
            printf(" %d", largest(logits[level][i], CLASSES));
        printf("  %.3f ms an image\n", ms);
    }

    /* What goes wrong is said, and changes nothing. */
    if (digits_set_level(model, DIGITS_LEVELS) != CND_BAD_LEVEL || digits_level(model) != DIGITS_LEVELS - 1
        || digits_init(memory + 1, sizeof memory - 1, &model) != CND_BAD_MEMORY
        || digits_init(memory, sizeof memory - 1, &model) != CND_BAD_MEMORY
        || digits_run(model, NULL, NULL) != CND_BAD_POINTER) {
        fprintf(stderr, "a mistake went unnoticed\n");
        return 1;
    }

    governor other;
    memset(&other, 0, sizeof other);
    other.model = model;
    pthread_t thread;
    if (pthread_mutex_init(&other.lock, NULL) != 0 || pthread_create(&thread, NULL, govern, &other) != 0) {
        fprintf(stderr, "cannot start a thread\n");
        return 1;
    }
    int n_mixed = 0;
    for (int run = 0; run < n_runs; run++) {
        int image = run % IMAGES;
        float result[CLASSES];
        check(digits_infer(model, images[image], result), "digits_infer");
        int is_known = 0;
        for (int level = 0; level < DIGITS_LEVELS; level++)
            is_known |= memcmp(result, logits[level][image], sizeof result) == 0;
        n_mixed += !is_known;
    }
    pthread_mutex_lock(&other.lock);
    other.stop = 1;
    pthread_mutex_unlock(&other.lock);
    pthread_join(thread, NULL);
    pthread_mutex_destroy(&other.lock);
    printf("%d runs during %ld switches of level: %d results of no single level\n", n_runs, other.n_switches, n_mixed);
    return n_mixed == 0 ? 0 : 1;
}
