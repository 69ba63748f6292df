/* Runs that end in time: condensec's libraries, with a level that falls in the middle of a run when what is left
 * of it would take too long. Needs no operating system, only a clock:
 *
 *     cargo rustc --release -p condensec-runtime --crate-type staticlib [--target thumbv7em-none-eabihf]
 *
 *     cnd_deadline deadline = {.model = net_model(), .ns_per_unit = 0.4f, .deadline_ns = 8e6f, .clock = now_ns};
 *     cnd_deadline_start(&deadline);
 *     net_run_adaptive(net, inputs, outputs, cnd_deadline_choose, &deadline);
 *
 * The results are those of the layers at the levels they ran at. Include the header of a model before this one.
 */
#ifndef CND_DEADLINE_H
#define CND_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cnd_deadline {
    const cnd_model *model;
    /* What is left of a run from each step on: n_levels rows, L0 first, of n_steps, in any unit of time. Null stands
     * for the model's predicted cycles. */
    const float *remaining;
    float ns_per_unit; /* how long a unit of it is expected to take */
    float deadline_ns; /* how long a run may take */
    uint64_t (*clock)(void *context); /* nanoseconds from any start; called before every step */
    void *clock_context;
    uint8_t *levels; /* one byte per step for the level it ran at, or null */
    /* Written by the functions below. */
    uint64_t start_ns;
    float done;            /* units of the steps so far */
    uint32_t lowest_level; /* of the steps so far; UINT32_MAX before the first */
} cnd_deadline;

/* Starts a run now. */
void cnd_deadline_start(cnd_deadline *deadline);

/* A cnd_choose_level; deadline is a cnd_deadline that has started. Allocates nothing. */
void cnd_deadline_choose(void *deadline, size_t step, uint32_t *level);

#ifdef __cplusplus
}
#endif

#endif /* CND_DEADLINE_H */
