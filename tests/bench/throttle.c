/* Takes a core away for a part of every period, as a lower clock would: what else is pinned to the core gets the
 * given share of it. Runs at a real-time priority, so that it comes on time; needs root or CAP_SYS_NICE.
 *
 *     throttle CORE SHARE SECONDS PERIOD_US
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: throttle CORE SHARE SECONDS PERIOD_US\n");
        return 2;
    }
    const double share = atof(argv[2]), seconds = atof(argv[3]);
    const int64_t period_ns = (int64_t)(1e3 * atof(argv[4]));
    const int64_t busy_ns = (int64_t)((1 - share) * (double)period_ns);
    const struct sched_param priority = {.sched_priority = 50};
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(atoi(argv[1]), &core);
    if (sched_setaffinity(0, sizeof core, &core) != 0 || sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
        perror("throttle");
        return 1;
    }
    int64_t turn_ns = now_ns();
    for (const int64_t end_ns = turn_ns + (int64_t)(1e9 * seconds); turn_ns < end_ns; turn_ns += period_ns) {
        const struct timespec turn = {.tv_sec = turn_ns / 1000000000, .tv_nsec = turn_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &turn, NULL);
        while (now_ns() < turn_ns + busy_ns) {
        }
    }
    return 0;
}
