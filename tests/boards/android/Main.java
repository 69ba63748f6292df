import com.example.condensec.Digits;
import java.nio.file.Files;
import java.nio.file.Path;

/** Names the ten images of a file at every level, then does what is refused. */
class Main {
    private static final int IMAGES = 10, PIXELS = 1024, CLASSES = 10;

    public static void main(String[] arguments) throws Exception {
        byte[] pixels = Files.readAllBytes(Path.of(arguments[0]));
        float[] image = new float[PIXELS], logits = new float[CLASSES];
        Digits digits = new Digits();
        for (int level = 0; level < Digits.levels(); level++) {
            digits.setLevel(level);
            StringBuilder line = new StringBuilder("L" + level + ":");
            for (int i = 0; i < IMAGES; i++) {
                for (int p = 0; p < PIXELS; p++) {
                    image[p] = pixels[i * PIXELS + p] / 10.0f - 1.0f;
                }
                digits.infer(image, logits);
                line.append(" ").append(largest(logits));
            }
            System.out.println(line);
        }
        refused(() -> digits.setLevel(Digits.levels()));
        refused(() -> digits.infer(new float[PIXELS - 1], logits));
        refused(() -> digits.infer(image, new float[CLASSES - 1]));
        digits.close();
        refused(() -> digits.infer(image, logits));
        digits.close();
    }

    private static int largest(float[] values) {
        int best = 0;
        for (int i = 1; i < values.length; i++) {
            if (values[i] > values[best]) {
                best = i;
            }
        }
        return best;
    }

    private static void refused(Runnable action) {
        try {
            action.run();
            System.out.println("not refused");
        } catch (RuntimeException exception) {
            System.out.println(exception.getClass().getSimpleName());
        }
    }
}
