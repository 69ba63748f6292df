/* Chooses the level that the next run of a condensec model can afford.
 *
 * It is in the static library of the runtime crate, which needs no operating system:
 *
 *     cargo rustc --release -p condensec-runtime --features panic-handler --crate-type staticlib --target thumbv7em-none-eabihf
 *     cargo rustc --release -p condensec-runtime --features std --crate-type staticlib
 *
 * The profile comes from `condensec profile --emit header`:
 *
 *     cnd_governor governor;
 *     cnd_governor_init(&governor, &net_profile, NULL);
 *     for (;;) {
 *         net_set_level(model, cnd_governor_choose(&governor, 20000.0f, frequency_khz()));
 *         .. run, and measure how many microseconds it takes ..
 *         cnd_governor_observe(&governor, run_us);
 *     }
 *
 * Nothing allocates, and no function is safe to call for one governor from two threads at once. Fields of a
 * cnd_governor are its own business. Made by cbindgen from runtime/src/governor; do not edit.
 */

#ifndef CND_GOVERNOR_H
#define CND_GOVERNOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The descriptor that a model's header declares. */
struct cnd_model;


/*
 How long a run at one level takes.
 */
typedef struct cnd_level_timing {
  /*
   Cycles of the core's clock: the part of a run that a higher frequency shortens.
   */
  float cycles;
  /*
   Microseconds that no frequency changes, spent waiting for memory.
   */
  float memory_us;
} cnd_level_timing;

/*
 The timings of all levels, L0 first.
 */
typedef struct cnd_profile {
  /*
   `n_levels` timings; null where there are none.
   */
  const struct cnd_level_timing *levels;
  uint32_t n_levels;
  /*
   Frequency to assume where a caller gives none: the highest that was measured. 0 stands for 1 GHz.
   */
  uint32_t reference_khz;
} cnd_profile;

/*
 How careful a governor is.
 */
typedef struct cnd_governor_config {
  /*
   Standard deviations of the run time between prediction and deadline.
   */
  float deviations;
  /*
   Share of the deadline that must be left, on top of that, for a step up.
   */
  float margin;
  /*
   Runs in sequence that must have left it, before a step up that nothing but run times suggests.
   */
  uint32_t good_runs;
  /*
   Standard deviation of run times relative to their length, until the governor has seen some.
   */
  float jitter;
} cnd_governor_config;

/*
 The factor, how certain it is, and how much run times scatter around it.
 */
typedef struct cnd_slow_down {
  float mean;
  /*
   Of the factor.
   */
  float variance;
  /*
   Of run times around the factor, relative to the factor.
   */
  float scatter;
} cnd_slow_down;

/*
 Chooses levels for one model on one core, or one set of equal cores.
 */
typedef struct cnd_governor {
  struct cnd_profile profile;
  struct cnd_governor_config config;
  struct cnd_slow_down slow_down;
  uint32_t level;
  /*
   Frequency and deadline that `level` was chosen for; 0 before the first choice.
   */
  uint32_t khz;
  float deadline_us;
  /*
   Time of the run at `level`, until the next choice tells the frequency that it ended at; 0 for none.
   */
  float run_us;
  /*
   Choices in sequence that had room for a higher level.
   */
  uint32_t n_good;
  /*
   Steps up that had to be taken back, lately.
   */
  uint32_t n_mistakes;
  /*
   Choices since the last step up that only run times suggested.
   */
  uint32_t n_since_step_up;
} cnd_governor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Makes a governor in memory that the caller gives. `profile` and its timings are read as long as
 the governor is used; `config` may be null for the default. Nothing to free.

 # Safety
 `governor` leads to memory for one; `profile` to one whose timings exist; `config` is null or leads to one.
 */
void cnd_governor_init(struct cnd_governor *governor,
                       const struct cnd_profile *profile,
                       const struct cnd_governor_config *config);

/*
 The level for a run that has `deadline_us` microseconds from now and begins at the clock frequency
 `khz`, 0 if that is unknown. Level 0 where none is fast enough.

 # Safety
 `governor` was initialised, and nobody else uses it now.
 */
uint32_t cnd_governor_choose(struct cnd_governor *governor, float deadline_us, uint32_t khz);

/*
 Takes in how long the run at the chosen level took. Leave out runs that were cut short or used another level.

 # Safety
 As [`cnd_governor_choose`].
 */
void cnd_governor_observe(struct cnd_governor *governor, float run_us);

/*
 How much longer runs take than the profile says, as far as they have been observed: 1 is as it says.

 # Safety
 As [`cnd_governor_choose`].
 */
float cnd_governor_slow_down(const struct cnd_governor *governor);

/*
 How many microseconds a run at the chosen level is expected to take.

 # Safety
 As [`cnd_governor_choose`].
 */
float cnd_governor_expected_us(const struct cnd_governor *governor);

/*
 The default configuration, to change single fields of.
 */
struct cnd_governor_config cnd_governor_default_config(void);

/*
 Fills `timings`, which has room for `n_timings` levels, with the predictions in a model's descriptor; for a
 model that has no profile. Returns the number of levels, or 0 where there is no room or the descriptor
 is of another interface version. The first runs tell the governor what the predictions are worth.

 # Safety
 `model` is what `<name>_model()` returns; `timings` has room for `n_timings`.
 */
size_t cnd_timings_of_model(const struct cnd_model *model,
                            struct cnd_level_timing *timings,
                            size_t n_timings);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CND_GOVERNOR_H */
