/* The native half of Digits.java: the library that condensec made of ../digits/digits_supernet.onnx.
 *
 * An instance is a block of memory whose address Java keeps. Status codes other than CND_OK become
 * IllegalArgumentException.
 */
#include <jni.h>
#include <stdint.h>
#include <stdlib.h>

#include "digits.h"

#define PIXELS 1024
#define CLASSES 10

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_com_example_condensec_Digits_##name

static void throw_new(JNIEnv *env, const char *class_name, const char *message)
{
    jclass thrown = (*env)->FindClass(env, class_name);
    if (thrown != NULL)
        (*env)->ThrowNew(env, thrown, message);
}

static digits *instance(JNIEnv *env, jlong address)
{
    if (address == 0)
        throw_new(env, "java/lang/IllegalStateException", "closed");
    return (digits *)(uintptr_t)address;
}

static void check(JNIEnv *env, cnd_status status, const char *what)
{
    if (status != CND_OK)
        throw_new(env, "java/lang/IllegalArgumentException", what);
}

NATIVE(jint, levels)(JNIEnv *env, jclass class)
{
    (void)env, (void)class;
    return DIGITS_LEVELS;
}

NATIVE(jlong, create)(JNIEnv *env, jclass class)
{
    (void)class;
    void *memory = NULL;
    digits *model;
    /* aligned_alloc comes with API level 28. */
    if (posix_memalign(&memory, DIGITS_STATE_ALIGN, DIGITS_STATE_BYTES) != 0 ||
        digits_init(memory, DIGITS_STATE_BYTES, &model) != CND_OK) {
        free(memory);
        throw_new(env, "java/lang/OutOfMemoryError", "digits");
        return 0;
    }
    return (jlong)(uintptr_t)model;
}

NATIVE(void, setLevel)(JNIEnv *env, jclass class, jlong address, jint level)
{
    (void)class;
    digits *model = instance(env, address);
    if (model != NULL)
        check(env, digits_set_level(model, (uint32_t)level), "no such level");
}

NATIVE(void, infer)(JNIEnv *env, jclass class, jlong address, jfloatArray image, jfloatArray logits)
{
    (void)class;
    float pixels[PIXELS], values[CLASSES];
    digits *model = instance(env, address);
    if (model == NULL)
        return;
    /* Throws if the array is shorter. */
    (*env)->GetFloatArrayRegion(env, image, 0, PIXELS, pixels);
    if ((*env)->ExceptionCheck(env))
        return;
    cnd_status status = digits_infer(model, pixels, values);
    check(env, status, "digits_infer");
    if (status == CND_OK)
        (*env)->SetFloatArrayRegion(env, logits, 0, CLASSES, values);
}

NATIVE(void, destroy)(JNIEnv *env, jclass class, jlong address)
{
    (void)env, (void)class;
    /* The instance is the memory that create() took. */
    free((void *)(uintptr_t)address);
}
