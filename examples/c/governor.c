/* Handwritten digits in time: the library that condensec made of ../digits/digits_supernet.onnx, with the governor of
 * the runtime crate.
 *
 * Every frame asks the governor for a level, runs it, and says how long that took. In the middle of the
 * program something else begins to use the core - here the program itself, which runs the model a second time -
 * and no clock tells of it: the governor sees it in the run times, and goes down to levels that still are in
 * time. The table of run times is the one in the model's descriptor, which the compiler predicted;
 * `condensec profile --emit header` measures a better one. C11, and C++11 just as well. Build and run: see ../README.md.
 *
 *     governor [DEADLINE_US]
 */
#define _POSIX_C_SOURCE 199309L /* for clock_gettime */
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cnd_cpufreq.h"
#include "cnd_governor.h"
#include "digits.h"
#include "images.h"

#define CLASSES 10
#define FRAMES 200 /* of each part */

alignas(DIGITS_STATE_ALIGN) static unsigned char memory[DIGITS_STATE_BYTES];

static float now_us(void)
{
    static struct timespec begin;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (begin.tv_sec == 0)
        begin = now;
    return (float)((double)(now.tv_sec - begin.tv_sec) * 1e6 + (double)(now.tv_nsec - begin.tv_nsec) * 1e-3);
}

/* How long a run takes; twice as long with a neighbour. */
static float run_us(digits *model, int index, int has_neighbour)
{
    float image[IMAGE_PIXELS], logits[CLASSES];
    for (int p = 0; p < IMAGE_PIXELS; p++)
        image[p] = ((float)image_pixels[index % IMAGES][p] - 10.0f) / 10.0f;
    float begin = now_us();
    digits_infer(model, image, logits);
    if (has_neighbour)
        digits_infer(model, image, logits);
    return now_us() - begin;
}

int main(int argc, char **argv)
{
    digits *model;
    cnd_level_timing timings[DIGITS_LEVELS];
    if (digits_init(memory, sizeof memory, &model) != CND_OK
        || cnd_timings_of_model(digits_model(), timings, DIGITS_LEVELS) != DIGITS_LEVELS) {
        fprintf(stderr, "cannot start\n");
        return 1;
    }
    const cnd_profile profile = {timings, DIGITS_LEVELS, 0};
    cnd_governor governor;
    cnd_governor_init(&governor, &profile, NULL);
    /* Null on a machine that does not tell its frequency; then the governor goes by run times alone. A real program
     * stays on one core, and names that. */
    cnd_cpufreq *clock = cnd_cpufreq_open(NULL, 0);

    /* Unless told otherwise: a third more than the dense level takes. */
    float deadline_us = argc > 1 ? (float)atof(argv[1]) : 0.0f;
    if (deadline_us <= 0.0f) {
        float fastest_us = run_us(model, 0, 0);
        for (int i = 0; i < 20; i++) {
            float us = run_us(model, i, 0);
            fastest_us = us < fastest_us ? us : fastest_us;
        }
        deadline_us = 1.33f * fastest_us;
    }

    static const char *const parts[] = {"alone", "with a neighbour", "alone again"};
    printf("%d levels, deadline %.0f us\n", DIGITS_LEVELS, (double)deadline_us);
    for (int part = 0; part < 3; part++) {
        int n_late = 0, sum_of_levels = 0;
        for (int frame = 0; frame < FRAMES; frame++) {
            uint32_t level = cnd_governor_choose(&governor, deadline_us, cnd_cpufreq_khz(clock));
            digits_set_level(model, level);
            float us = run_us(model, frame, part == 1);
            cnd_governor_observe(&governor, us);
            n_late += us > deadline_us;
            sum_of_levels += (int)level;
        }
        printf("%s: mean level %.2f, %d of %d frames late\n", parts[part], sum_of_levels / (double)FRAMES, n_late,
               FRAMES);
    }
    cnd_cpufreq_close(clock);
    return 0;
}
