/* Handwritten digits on a microcontroller: the library that condensec made of
 * ../digits/digits_supernet.onnx, on a Cortex-M4F or M7 without an operating system.
 *
 * Runs ten images at every level and counts right answers, and leaves with success if every level
 * knows every digit and level 0 gives the same bits after all the switches. Weights, tables and code
 * stay in flash; the instance is a static array in RAM; there is no heap. Text and the exit status
 * go to the debugger, or qemu, by semihosting. Build and run: see run.sh.
 */
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "digits.h"
#include "images.h"

#define CLASSES 10

/* SysTick counts the processor's clock. In qemu under -icount shift=0 an instruction takes a
 * nanosecond of the board's time, whatever it does, and the clock of 25 MHz ticks once in 40 ns:
 * the counter tells instructions, not cycles. */
#define INSTRUCTIONS_PER_TICK 40

/* SysTick: control, reload and current value (Armv7-M Architecture Reference Manual, B3.3). */
static volatile uint32_t *const systick = (volatile uint32_t *)0xe000e010u;
#define SYSTICK_MASK 0xffffffu

/* Activations and the level. */
alignas(DIGITS_STATE_ALIGN) static unsigned char memory[DIGITS_STATE_BYTES];

static float image[IMAGE_PIXELS];

/* Semihosting (https://github.com/ARM-software/abi-aa, semihosting): the debugger does `operation`. */
enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18 };
#define EXIT_SUCCESS_REASON 0x20026u /* ADP_Stopped_ApplicationExit */
#define EXIT_FAILURE_REASON 0x20023u /* ADP_Stopped_RunTimeErrorUnknown */

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *text)
{
    semihost(SYS_WRITE0, text);
}

/* printf would bring a heap along. */
static void print_number(uint32_t number, int width)
{
    char text[12];
    char *at = text + sizeof text - 1;
    *at = 0;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
        width--;
    } while (number != 0);
    while (width-- > 0)
        *--at = ' ';
    print(at);
}

__attribute__((noreturn)) static void leave(int is_right)
{
    semihost(SYS_EXIT, (const void *)(is_right ? EXIT_SUCCESS_REASON : EXIT_FAILURE_REASON));
    for (;;) {
    }
}

static void check(cnd_status status, const char *what)
{
    if (status != CND_OK) {
        print(what);
        print(": status ");
        print_number((uint32_t)status, 1);
        print("\n");
        leave(0);
    }
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

/* What the instance says of image `number` at its level; adds up what the run takes. */
static void infer(digits *model, int number, float logits[CLASSES], uint32_t *ticks)
{
    for (int p = 0; p < IMAGE_PIXELS; p++)
        image[p] = ((float)image_pixels[number][p] - 10.0f) / 10.0f;
    uint32_t before = systick[2];
    check(digits_infer(model, image, logits), "digits_infer");
    /* It counts down, in 24 bits. */
    *ticks += (before - systick[2]) & SYSTICK_MASK;
}

int main(void)
{
    digits *model;
    float first[CLASSES], logits[CLASSES];
    uint32_t unused = 0;
    int n_wrong = 0;

    systick[1] = SYSTICK_MASK;
    systick[2] = 0;
    systick[0] = 5; /* on, from the processor's clock, without an interrupt */

    check(digits_init(memory, sizeof memory, &model), "digits_init");
    const cnd_model *description = digits_model();
    print(description->name);
    print(" on ");
    print(description->cpu);
    print(": ");
    print_number((uint32_t)description->weight_bytes, 1);
    print(" bytes of weights, ");
    print_number((uint32_t)description->state_bytes, 1);
    print(" of state\n");

    check(digits_set_level(model, 0), "digits_set_level");
    infer(model, 0, first, &unused);

    for (uint32_t level = 0; level < DIGITS_LEVELS; level++) {
        uint32_t ticks = 0;
        int n_right = 0;
        check(digits_set_level(model, level), "digits_set_level");
        print("L");
        print_number(level, 1);
        print(":");
        for (int i = 0; i < IMAGES; i++) {
            infer(model, i, logits, &ticks);
            int digit = largest(logits, CLASSES);
            print_number((uint32_t)digit, 2);
            n_right += digit == i; /* image i shows the digit i */
        }
        n_wrong += IMAGES - n_right;
        print("  ");
        print_number((uint32_t)n_right, 1);
        print(" right, ");
        print_number((uint32_t)(IMAGES - n_right), 1);
        print(" wrong, ");
        print_number((uint32_t)(description->levels[level].macs / 1000), 5);
        print(" k multiply-adds, ");
        print_number(ticks / IMAGES * INSTRUCTIONS_PER_TICK / 1000, 6);
        print(" k instructions\n");
    }

    check(digits_set_level(model, 0), "digits_set_level");
    infer(model, 0, logits, &unused);
    int is_same = memcmp(logits, first, sizeof first) == 0;
    print(is_same ? "back at L0: the same bits\n" : "back at L0: other bits\n");
    leave(n_wrong == 0 && is_same);
}
