/* Handwritten digits on Zephyr: the library that condensec made of ../../digits/digits_supernet.onnx,
 * in an application's main thread.
 *
 * Runs ten images at every level, counts right answers, and checks that level 0 gives the same bits
 * after all the switches. Weights and tables are const and stay in flash; the instance is a static
 * array in RAM; there is no heap. Text goes to Zephyr's console, its last line is "passed" or "failed".
 */
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "digits.h"
#include "images.h"

#define CLASSES 10

/* Activations and the level. */
alignas(DIGITS_STATE_ALIGN) static unsigned char memory[DIGITS_STATE_BYTES];

static float image[IMAGE_PIXELS];

static int largest(const float *values, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++) {
        if (values[i] > values[best])
            best = i;
    }
    return best;
}

/* What the instance says of image `number` at its level. */
static cnd_status infer(digits *model, int number, float logits[CLASSES])
{
    for (int p = 0; p < IMAGE_PIXELS; p++)
        image[p] = ((float)image_pixels[number][p] - 10.0f) / 10.0f;
    return digits_infer(model, image, logits);
}

/* Runs all images at `level` and adds the wrong answers to `n_wrong`. */
static cnd_status run_level(digits *model, uint32_t level, int *n_wrong)
{
    float logits[CLASSES];
    int n_right = 0;
    cnd_status status = digits_set_level(model, level);
    printk("L%u:", (unsigned)level);
    for (int i = 0; i < IMAGES && status == CND_OK; i++) {
        status = infer(model, i, logits);
        int digit = largest(logits, CLASSES);
        printk(" %d", digit);
        n_right += digit == i; /* image i shows the digit i */
    }
    printk("  %d right, %d wrong\n", n_right, IMAGES - n_right);
    *n_wrong += IMAGES - n_right;
    return status;
}

static cnd_status run(int *n_wrong)
{
    digits *model;
    float first[CLASSES], last[CLASSES];

    cnd_status status = digits_init(memory, sizeof memory, &model);
    if (status != CND_OK)
        return status;
    const cnd_model *description = digits_model();
    printk("%s on %s: %u bytes of weights, %u of state\n", description->name, description->cpu,
           (unsigned)description->weight_bytes, (unsigned)description->state_bytes);

    status = digits_set_level(model, 0);
    if (status == CND_OK)
        status = infer(model, 0, first);
    for (uint32_t level = 0; level < DIGITS_LEVELS && status == CND_OK; level++)
        status = run_level(model, level, n_wrong);
    if (status == CND_OK)
        status = digits_set_level(model, 0);
    if (status == CND_OK)
        status = infer(model, 0, last);
    if (status != CND_OK)
        return status;

    int is_same = memcmp(last, first, sizeof first) == 0;
    printk(is_same ? "back at L0: the same bits\n" : "back at L0: other bits\n");
    *n_wrong += !is_same;
    return CND_OK;
}

int main(void)
{
    int n_wrong = 0;
    cnd_status status = run(&n_wrong);
    if (status != CND_OK)
        printk("status %d\n", (int)status);
    printk(status == CND_OK && n_wrong == 0 ? "passed\n" : "failed\n");
    return 0;
}
