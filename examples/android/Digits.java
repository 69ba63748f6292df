package com.example.condensec;

/**
 * One instance of the digits supernet, in native memory of its own. The weights are in libdigits_jni.so, once for all
 * instances. {@link #setLevel} may be called from any thread; one thread at a time runs {@link #infer}.
 */
public final class Digits implements AutoCloseable {
    static {
        System.loadLibrary("digits_jni");
    }

    /** Address of the instance; 0 once closed. */
    private long address = create();

    /** Level 0 is the sparsest and fastest. */
    public static native int levels();

    /** The next run uses {@code level}. */
    public void setLevel(int level) {
        setLevel(address, level);
    }

    /** @param image [1, 1, 32, 32], from -1 to 1; @param logits [1, 10] */
    public void infer(float[] image, float[] logits) {
        infer(address, image, logits);
    }

    /** Frees the instance; no other method may be called after it, or at the same time. */
    @Override
    public void close() {
        destroy(address);
        address = 0;
    }

    private static native long create();

    private static native void setLevel(long address, int level);

    private static native void infer(long address, float[] image, float[] logits);

    private static native void destroy(long address);
}
