/* Clock frequencies of Linux, for a governor: see cnd_governor.h.
 *
 *     cnd_cpufreq *clock = cnd_cpufreq_open(NULL, cpu);
 *     cnd_governor_choose(&governor, deadline_us, cnd_cpufreq_khz(clock));
 *
 * In the static library of the runtime crate with the feature std. Made by cbindgen from
 * runtime/src/cpufreq; do not edit.
 */

#ifndef CND_CPUFREQ_H
#define CND_CPUFREQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


/*
 The clock of a core.
 */
typedef struct cnd_cpufreq cnd_cpufreq;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The clock of core number `cpu`; `sysfs` is null for `/sys`. Null where the system does not tell it.

 # Safety
 `sysfs` is null or a string.
 */
struct cnd_cpufreq *cnd_cpufreq_open(const char *sysfs, uint32_t cpu);

/*
 The frequency that the next run begins at, in kHz; 0, which a governor takes for unknown, where it
 cannot be read or `clock` is null. Allocates nothing.

 # Safety
 `clock` is null or from [`cnd_cpufreq_open`].
 */
uint32_t cnd_cpufreq_khz(const struct cnd_cpufreq *clock);

/*
 Closes a clock; null is none.

 # Safety
 `clock` is null, or from [`cnd_cpufreq_open`] and used by nobody, now or later.
 */
void cnd_cpufreq_close(struct cnd_cpufreq *clock);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CND_CPUFREQ_H */
