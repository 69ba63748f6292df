/* Runs that end in time: condensec's libraries, with a level that falls in the middle of a run as soon as what is left
 * of it would take too long. A run may begin one level above what it could afford as a whole, so that its time is not
 * bound to the times that levels have. Needs no operating system, only a clock:
 *
 *     cargo rustc --release -p condensec-runtime --features panic-handler --crate-type staticlib --target thumbv7em-none-eabihf
 *     cargo rustc --release -p condensec-runtime --features std --crate-type staticlib
 *
 *     cnd_deadline deadline = {.model = net_model(), .ns_per_unit = 0.4f, .deadline_ns = 8e6f, .reserve = 0.02f,
 *                              .clock = now_ns};
 *     cnd_deadline_start(&deadline);
 *     net_run_adaptive(net, inputs, outputs, cnd_deadline_choose, &deadline);
 *
 * With a governor (cnd_governor.h) that knows how fast the machine is; net_remaining_us is in the table that
 * `condensec profile --emit header` writes:
 *
 *     cnd_deadline deadline = {.model = net_model(), .remaining = net_remaining_us, .clock = now_ns};
 *     for (;;) {
 *         cnd_governor_choose(&governor, 8000.0f, frequency_khz());
 *         cnd_deadline_expect(&deadline, &governor, 8000.0f);
 *         cnd_deadline_start(&deadline);
 *         net_run_adaptive(net, inputs, outputs, cnd_deadline_choose, &deadline); // at the highest level
 *         cnd_deadline_observe(&deadline, &governor, run_us);
 *     }
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
    float reserve;     /* time to keep free, as a share of what is left to do; 0.02f is careful */
    uint64_t (*clock)(void *context); /* nanoseconds from any start; called before every step */
    void *clock_context;
    uint8_t *levels; /* one byte per step for the level it ran at, or null */
    /* Written by the functions below. */
    uint64_t start_ns;
    float done;            /* units of the steps so far */
    uint32_t lowest_level; /* of the steps so far; UINT32_MAX before the first */
    uint32_t highest_level; /* the run was started at; no step has a higher one */
} cnd_deadline;

struct cnd_governor;
struct cnd_profile;

/* Starts a run now. */
void cnd_deadline_start(cnd_deadline *deadline);

/* A cnd_choose_level; deadline is a cnd_deadline that has started. Allocates nothing. */
void cnd_deadline_choose(void *deadline, size_t step, uint32_t *level);

/* What is left of a run from each step on, at every level, in microseconds at the profile's reference frequency: n_levels
 * rows of n_steps, for the field remaining where no profile has them. Returns how many there are, or 0 where the table of length numbers is too
 * short, the profile has other levels, or the model is of another interface version. */
size_t cnd_deadline_remaining_us(const cnd_model *model, const struct cnd_profile *profile, float *table,
                                 size_t length);

/* Expects of the next run what the governor does since its last choice, and gives it deadline_us microseconds. The
 * field remaining is in microseconds at the reference frequency of the governor's profile. */
void cnd_deadline_expect(cnd_deadline *deadline, const struct cnd_governor *governor, float deadline_us);

/* Tells the governor how long the run took that just ended, at whatever levels it ran. */
void cnd_deadline_observe(const cnd_deadline *deadline, struct cnd_governor *governor, float run_us);

#ifdef __cplusplus
}
#endif

#endif /* CND_DEADLINE_H */
