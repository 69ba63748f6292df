"""Writes a model in which every field of every message that a model can reach is set somewhere.

    python onnx_every_field.py OUT.onnx

The model means nothing. It shows whether a program that rewrites files keeps all of them, also
fields that are present with their default value.
"""

import itertools
import sys

import onnx
from google.protobuf.descriptor import FieldDescriptor
from onnx_descriptor import is_repeated

# How often a message type may contain itself: one subgraph level is enough to meet every field.
MAX_NESTING = 2

VALUES = {
    FieldDescriptor.TYPE_BYTES: itertools.cycle([b"", b"\xff\x00\xfe", b"text"]),
    FieldDescriptor.TYPE_DOUBLE: itertools.cycle([0.0, -2.5e-300, 1e300]),
    FieldDescriptor.TYPE_FLOAT: itertools.cycle([0.0, -1.5, float("inf")]),
    FieldDescriptor.TYPE_INT32: itertools.cycle([0, -1, 2**31 - 1, -(2**31)]),
    FieldDescriptor.TYPE_INT64: itertools.cycle([0, -1, 2**63 - 1, -(2**63), 300]),
    FieldDescriptor.TYPE_STRING: itertools.cycle(["", "name", "µ\n\0"]),
    FieldDescriptor.TYPE_UINT64: itertools.cycle([0, 2**64 - 1, 128]),
}

# One endless list of values per enum and of members per oneof, so that all have their turn.
turns = {}


def take_turn(key, choices):
    return next(turns.setdefault(key, itertools.cycle(choices)))


def scalar(field):
    if field.enum_type:
        return take_turn(field.enum_type.full_name, [value.number for value in field.enum_type.values])
    return next(VALUES[field.type])


def fill(message, path, seen):
    """Sets the fields of a message. `path` is the list of message types around it."""
    name = message.DESCRIPTOR.full_name
    # Turns per depth, or a member could come up only where it may nest no further.
    depth = path.count(name)
    oneofs = message.DESCRIPTOR.oneofs
    chosen = [take_turn((oneof.full_name, depth), oneof.fields).name for oneof in oneofs]
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof and field.name not in chosen:
            continue
        if field.message_type:
            if path.count(field.message_type.full_name) >= MAX_NESTING:
                continue
            child = getattr(message, field.name)
            child = child.add() if is_repeated(field) else child
            child.SetInParent()
            fill(child, path + [field.message_type.full_name], seen)
        elif is_repeated(field):
            getattr(message, field.name).extend(scalar(field) for _ in range(3))
        else:
            setattr(message, field.name, scalar(field))
        seen.add((name, field.name))


def reachable_fields(descriptor, found):
    for field in descriptor.fields:
        if (descriptor.full_name, field.name) not in found:
            found.add((descriptor.full_name, field.name))
            if field.message_type:
                reachable_fields(field.message_type, found)
    return found


def main(out):
    model, seen = onnx.ModelProto(), set()
    fill(model, [model.DESCRIPTOR.full_name], seen)
    missing = reachable_fields(model.DESCRIPTOR, set()) - seen
    assert not missing, f"never set: {sorted(missing)}"
    with open(out, "wb") as file:
        file.write(model.SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1])
