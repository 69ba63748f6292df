"""Compares ONNX files in pairs as protobuf messages, unknown fields included.

    python onnx_equal.py ORIGINAL REWRITTEN [ORIGINAL REWRITTEN ..]

Exit code 1 and a line per pair that differs. External data is not loaded.
"""

import sys

import onnx


def first_difference(left, right, path):
    """Path of the first field in which two unequal messages differ, or `path` itself."""
    for field in left.DESCRIPTOR.fields:
        a, b = getattr(left, field.name), getattr(right, field.name)
        if a == b:
            continue
        here = f"{path}.{field.name}"
        if not field.message_type:
            return here
        if hasattr(a, "DESCRIPTOR"):
            return first_difference(a, b, here)
        if len(a) != len(b):
            return f"{here} ({len(a)} entries against {len(b)})"
        index = next(i for i, pair in enumerate(zip(a, b)) if pair[0] != pair[1])
        return first_difference(a[index], b[index], f"{here}[{index}]")
    return f"{path} (presence of a field, or an unknown field)"


def main(files):
    if not files or len(files) % 2:
        sys.exit(__doc__)
    is_equal = True
    for original, rewritten in zip(files[::2], files[1::2]):
        left = onnx.load(original, load_external_data=False)
        right = onnx.load(rewritten, load_external_data=False)
        if left != right:
            print(f"{original}: {first_difference(left, right, 'model')}", file=sys.stderr)
            is_equal = False
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
