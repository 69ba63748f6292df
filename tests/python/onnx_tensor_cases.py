"""Writes tensors of every number type in both storage forms, with the values that `onnx` reads from them.

    python onnx_tensor_cases.py OUT.onnx > VALUES.json

OUT.onnx has initializers named `<DATA_TYPE> raw` and `<DATA_TYPE> typed`, all of one data type with
the same values: every bit pattern for types of up to 16 bits (and one more element, so that
sub-byte types do not fill their last byte), chosen values for wider ones. VALUES.json maps the data
type to them: integers as they are, floats as the bits of a float64.
"""

import json
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BITS = {
    **dict.fromkeys(["UINT2", "INT2"], 2),
    **dict.fromkeys(["UINT4", "INT4", "FLOAT4E2M1"], 4),
    **dict.fromkeys(["FLOAT6E2M3", "FLOAT6E3M2"], 6),
    **dict.fromkeys(["UINT8", "INT8", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ"], 8),
    **dict.fromkeys(["FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"], 8),
    **dict.fromkeys(["UINT16", "INT16", "FLOAT16", "BFLOAT16"], 16),
}

WIDE = {
    "FLOAT": np.array([0, -0.0, 1.5, -3.25e-40, np.inf, -np.inf, np.nan, 3.4e38], np.float32),
    "DOUBLE": np.array([0, -0.0, 1.5, -5e-324, np.inf, -np.inf, np.nan, 1.7e308], np.float64),
    "INT32": np.array([0, 1, -1, 2**31 - 1, -(2**31), 300], np.int32),
    "INT64": np.array([0, 1, -1, 2**63 - 1, -(2**63), 300], np.int64),
    "UINT32": np.array([0, 1, 2**32 - 1, 2**31], np.uint32),
    "UINT64": np.array([0, 1, 2**64 - 1, 2**63], np.uint64),
    "BOOL": np.array([True, False, True], np.bool_),
}


def packed_bytes(patterns, bits):
    """Patterns as one stream of bits that fills bytes from their low end."""
    stream = (patterns[:, None].astype(np.uint32) >> np.arange(bits)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little").tobytes()


def pattern_tensors(name, bits):
    patterns = np.append(np.arange(2**bits), 1)
    data_type = TensorProto.DataType.Value(name)
    raw = TensorProto(data_type=data_type, dims=patterns.shape, raw_data=packed_bytes(patterns, bits))
    typed = TensorProto(data_type=data_type, dims=patterns.shape)
    if bits in (2, 4):
        typed.int32_data.extend(raw.raw_data)
    elif name in ("INT8", "INT16"):
        typed.int32_data.extend(patterns.astype(name.lower()).tolist())
    else:
        typed.int32_data.extend(patterns.tolist())
    return raw, typed


def wide_tensors(name, values):
    raw = numpy_helper.from_array(values)
    typed = helper.make_tensor("", TensorProto.DataType.Value(name), values.shape, values.tolist())
    return raw, typed


def expected(tensor, name):
    values = numpy_helper.to_array(tensor)
    if name.startswith(("FLOAT", "BFLOAT", "DOUBLE")):
        return values.astype(np.float64).view(np.uint64).tolist()
    return [int(value) for value in values]


def main(out):
    tensors = {name: pattern_tensors(name, bits) for name, bits in BITS.items()}
    tensors |= {name: wide_tensors(name, values) for name, values in WIDE.items()}
    # Strings and complex numbers are no numbers to the reader.
    untested = set(TensorProto.DataType.keys()) - set(tensors)
    assert untested == {"UNDEFINED", "STRING", "COMPLEX64", "COMPLEX128"}, untested

    model = onnx.ModelProto(ir_version=onnx.IR_VERSION)
    model.graph.SetInParent()
    values = {}
    for name, (raw, typed) in tensors.items():
        raw.name, typed.name = f"{name} raw", f"{name} typed"
        assert raw.HasField("raw_data") and not typed.HasField("raw_data"), name
        model.graph.initializer.extend([raw, typed])
        values[name] = expected(raw, name)
        assert len(values[name]) == raw.dims[0] and values[name] == expected(typed, name), name
    with open(out, "wb") as file:
        file.write(model.SerializeToString())
    json.dump(values, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
