/* Single precision multiply-adds that this core can do per second, by width of the vectors.
 *
 * Independent chains in registers, as many as hide the latency of an FMA (4 or 5 cycles on 2 ports, up to 4 on 4 on
 * ARM): nothing else can be faster, so this is what 100 % of peak means. Used by fma_peak.py.
 */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#define LOOPS_PER_CLOCK 20000

static volatile float sink;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The sums converge to `y / (1 - x)`: never denormal, never infinite. */
#define FMA_LOOP(vector, n_chains, fma, splat)      \
    const vector x = splat(0.5f), y = splat(0.25f); \
    vector sum[n_chains];                           \
    for (int i = 0; i < n_chains; i++)              \
        sum[i] = splat((float)i);                   \
    for (long loop = 0; loop < LOOPS_PER_CLOCK; loop++) { \
        _Pragma("GCC unroll 32")                    \
        for (int i = 0; i < n_chains; i++)          \
            sum[i] = fma;                           \
    }                                               \
    float all = 0;                                  \
    for (int i = 0; i < n_chains; i++)              \
        all += sum[i][0];                           \
    sink = all;                                     \
    return 2.0 * LOOPS_PER_CLOCK * n_chains * sizeof(vector) / sizeof(float)

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2,fma"))) static double loop_256(void)
{
    FMA_LOOP(__m256, 12, _mm256_fmadd_ps(sum[i], x, y), _mm256_set1_ps);
}

__attribute__((target("avx512f"))) static double loop_512(void)
{
    FMA_LOOP(__m512, 12, _mm512_fmadd_ps(sum[i], x, y), _mm512_set1_ps);
}

static double (*find_loop(int vector_bits))(void)
{
    if (vector_bits == 256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return loop_256;
    if (vector_bits == 512 && __builtin_cpu_supports("avx512f"))
        return loop_512;
    return 0;
}
#elif defined(__aarch64__)
#include <arm_neon.h>

static double loop_128(void)
{
    FMA_LOOP(float32x4_t, 24, vfmaq_f32(y, sum[i], x), vdupq_n_f32);
}

static double (*find_loop(int vector_bits))(void)
{
    return vector_bits == 128 ? loop_128 : 0;
}
#else
static double (*find_loop(int vector_bits))(void)
{
    (void)vector_bits;
    return 0;
}
#endif

/* GFLOP/s of about `seconds` of CPU time; 0 where the core has no vectors of that width. */
double fma_gflops(int vector_bits, double seconds)
{
    double (*loop)(void) = find_loop(vector_bits);
    if (!loop)
        return 0;
    double flops = 0, begin = now_s(), spent;
    do {
        flops += loop();
        spent = now_s() - begin;
    } while (spent < seconds);
    return flops / spent * 1e-9;
}
