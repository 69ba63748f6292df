/* Handwritten digits on two cores: the library that condensec made of ../digits/digits_supernet.onnx,
 * with a thread of this program.
 *
 * The library starts no threads. It hands the tasks of every step to a function that the program
 * gives; here to one that has a POSIX thread do half of them, but OpenMP or an engine's job system
 * would do. The tasks of a step are about equal in cost, so half of them is half of the work. C11,
 * and C++11 just as well. Build and run: see ../README.md.
 *
 *     parallel
 */
#define _POSIX_C_SOURCE 200809L /* for barriers */
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#include "digits.h"
#include "images.h"

#define CLASSES 10

alignas(DIGITS_STATE_ALIGN) static unsigned char memory[DIGITS_STATE_BYTES];

/* Two threads that meet before and after every step. A pool for production would let them spin for
 * some microseconds before they sleep in the barrier: a step is as short. */
typedef struct {
    pthread_barrier_t begin, end;
    cnd_kernel kernel; /* null: no more steps */
    void *const *bases;
    const void *arguments;
    size_t n_tasks;
    long n_steps;
} pair;

static void *do_second_half(void *argument)
{
    pair *self = (pair *)argument;
    for (;;) {
        pthread_barrier_wait(&self->begin);
        if (self->kernel == NULL)
            return NULL;
        self->kernel(self->bases, self->arguments, self->n_tasks / 2, self->n_tasks);
        pthread_barrier_wait(&self->end);
    }
}

/* A cnd_parallel_for. */
static void do_step(void *pool, cnd_kernel kernel, void *const *bases, const void *arguments, size_t n_tasks)
{
    pair *self = (pair *)pool;
    self->kernel = kernel;
    self->bases = bases;
    self->arguments = arguments;
    self->n_tasks = n_tasks;
    self->n_steps++;
    pthread_barrier_wait(&self->begin);
    kernel(bases, arguments, 0, n_tasks / 2);
    pthread_barrier_wait(&self->end);
}

int main(void)
{
    digits *model;
    pair threads;
    pthread_t other;
    memset(&threads, 0, sizeof threads);
    if (digits_init(memory, sizeof memory, &model) != CND_OK
        || pthread_barrier_init(&threads.begin, NULL, 2) != 0 || pthread_barrier_init(&threads.end, NULL, 2) != 0
        || pthread_create(&other, NULL, do_second_half, &threads) != 0) {
        fprintf(stderr, "cannot start\n");
        return 1;
    }

    int n_different = 0;
    for (uint32_t level = 0; level < DIGITS_LEVELS; level++) {
        digits_set_level(model, level);
        for (int i = 0; i < IMAGES; i++) {
            float image[IMAGE_PIXELS], alone[CLASSES], together[CLASSES];
            for (int p = 0; p < IMAGE_PIXELS; p++)
                image[p] = ((float)image_pixels[i][p] - 10.0f) / 10.0f;
            const void *const inputs[] = {image};
            void *const outputs[] = {together};
            if (digits_infer(model, image, alone) != CND_OK
                || digits_run_parallel(model, inputs, outputs, do_step, &threads) != CND_OK) {
                fprintf(stderr, "a run failed\n");
                return 1;
            }
            n_different += memcmp(alone, together, sizeof alone) != 0;
        }
    }

    threads.kernel = NULL;
    pthread_barrier_wait(&threads.begin);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&threads.begin);
    pthread_barrier_destroy(&threads.end);
    printf("%ld steps on two threads: %d results differ from those of one\n", threads.n_steps, n_different);
    return n_different == 0 && threads.n_steps > 0 ? 0 : 1;
}
