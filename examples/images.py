"""Writes the first test image of each digit, for programs that read no files: `c/images.h`, `rust/images.bin`.

    python examples/images.py

Pixels of the digits supernet's inputs are k / 10 - 1 with k in 0..=32 (see digits/README.md). Both files hold k.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PER_LINE = 32


def pixels() -> np.ndarray:
    """The ten images, uint8 [10, 1024]."""
    with np.load(HERE / "digits" / "digits_test.npz") as test:
        x, y = test["x"], test["y"]
    x = x[[int(np.argmax(y == digit)) for digit in range(10)]].reshape(10, -1)
    k = np.rint((x + 1) * 10).astype(np.uint8)
    assert np.array_equal((k.astype(np.float32) - np.float32(10)) / np.float32(10), x), "pixels are not k / 10 - 1"
    return k


def c_header(images: np.ndarray) -> str:
    """The images as a C table."""
    lines = [
        "/* The first test image of each digit, 32x32; a pixel k stands for k / 10 - 1.",
        " * Written by ../images.py from ../digits/digits_test.npz, CC BY 4.0: see ../digits/README.md.",
        " */",
        "#ifndef IMAGES_H",
        "#define IMAGES_H",
        "",
        "#define IMAGES 10",
        "#define IMAGE_PIXELS 1024",
        "",
        "static const unsigned char image_pixels[IMAGES][IMAGE_PIXELS] = {",
    ]
    for digit, image in enumerate(images):
        lines.append(f"    {{ /* {digit} */")
        for begin in range(0, len(image), PER_LINE):
            lines.append("        " + "".join(f"{k}," for k in image[begin : begin + PER_LINE]))
        lines.append("    },")
    lines += ["};", "", "#endif /* IMAGES_H */", ""]
    return "\n".join(lines)


def main() -> None:
    """Writes both files."""
    images = pixels()
    (HERE / "c" / "images.h").write_text(c_header(images))
    (HERE / "rust" / "images.bin").write_bytes(images.tobytes())


if __name__ == "__main__":
    main()
