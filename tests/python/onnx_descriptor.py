"""Prints the ONNX schema as JSON: every message and enum that the installed `onnx` package knows.

    python onnx_descriptor.py

    {"onnx": "1.19.0", "ir_version": 12,
     "messages": {"NodeProto": {"input": {"number": 1, "kind": "string", "label": "repeated",
                                          "packed": false, "oneof": null}, ..}, ..},
     "enums": {"TensorProto.DataType": {"FLOAT": 1, ..}, ..}}

`kind` is a protobuf scalar type, `message <name>` or `enum <name>`; names have no package.
"""

import json
import sys

import onnx
from google.protobuf.descriptor import FieldDescriptor

SCALARS = {
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def short_name(descriptor):
    return descriptor.full_name.removeprefix("onnx.")


def is_repeated(field):
    # protobuf 7 has no `label`, and protobuf before 6 no `is_repeated`.
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return field.label == FieldDescriptor.LABEL_REPEATED


def kind(field):
    if field.message_type:
        return f"message {short_name(field.message_type)}"
    if field.enum_type:
        return f"enum {short_name(field.enum_type)}"
    # A scalar type that the schema does not use today must not pass unseen.
    return SCALARS.get(field.type, f"protobuf type {field.type}")


def describe(field):
    return {
        "number": field.number,
        "kind": kind(field),
        "label": "repeated" if is_repeated(field) else "optional",
        "packed": field.GetOptions().packed,
        "oneof": field.containing_oneof and field.containing_oneof.name,
    }


def add_enums(descriptors, enums):
    for enum in descriptors:
        enums[short_name(enum)] = {value.name: value.number for value in enum.values}


def add_messages(descriptors, messages, enums):
    for message in descriptors:
        messages[short_name(message)] = {field.name: describe(field) for field in message.fields}
        add_enums(message.enum_types, enums)
        add_messages(message.nested_types, messages, enums)


def main():
    schema = onnx.ModelProto.DESCRIPTOR.file
    messages, enums = {}, {}
    add_enums(schema.enum_types_by_name.values(), enums)
    add_messages(schema.message_types_by_name.values(), messages, enums)
    description = {
        "onnx": onnx.__version__,
        "ir_version": onnx.IR_VERSION,
        "messages": messages,
        "enums": enums,
    }
    json.dump(description, sys.stdout)


if __name__ == "__main__":
    main()
