/* A program around a library called `network`: one run at each level that is named on the command line, of inputs
 * that are zero. How many instructions a run takes does not depend on the numbers. Used by instruction_counts.py.
 */
#include "network.h"

#include <stdlib.h>

static _Alignas(NETWORK_STATE_ALIGN) unsigned char memory[NETWORK_STATE_BYTES];

static void *allocate(const cnd_tensor_info *tensor)
{
    return calloc(1, (size_t)tensor->bytes);
}

int main(int argc, char **argv)
{
    const cnd_model *model = network_model();
    void **inputs = calloc(model->n_inputs, sizeof(void *));
    void **outputs = calloc(model->n_outputs, sizeof(void *));
    network *state;
    if (network_init(memory, sizeof memory, &state) != CND_OK)
        return 2;
    for (uint32_t i = 0; i < model->n_inputs; i++)
        inputs[i] = allocate(&model->inputs[i]);
    for (uint32_t i = 0; i < model->n_outputs; i++)
        outputs[i] = allocate(&model->outputs[i]);
    for (int i = 1; i < argc; i++) {
        if (network_set_level(state, (uint32_t)atoi(argv[i])) != CND_OK)
            return 3;
        if (network_run(state, (const void *const *)inputs, outputs) != CND_OK)
            return 4;
    }
    return 0;
}
