//! ONNX protobuf messages: the door through which models enter and leave, and the only user of prost.
//!
//! The message types are our own, written from the published field numbers of `onnx.proto`. prost drops
//! fields that it does not know, and `nest` and `merge` rewrite files, so every message and field of the
//! schema is here; a test holds them against the descriptor in the `onnx` Python package. Writing them
//! by hand needs neither protoc nor a build script. Every scalar is an `Option`, because the
//! schema is proto2: a field that is present with its default value stays present when a file is rewritten.
//!
//! Bytes come from the driver; [`super::external_data`] adds weights stored beside the model; the importer
//! reads the result through the accessors in `tensor_data`, and `build` has constructors for what we write.

mod build;
mod device;
mod element;
mod model;
mod stored;
mod tensor;
mod tensor_data;
mod types;

use prost::Message as _;
use thiserror::Error;

pub use device::{
    DeviceConfigurationProto, IntIntListEntryProto, NodeDeviceConfigurationProto, ShardedDimProto,
    ShardedExtent, ShardingSpecProto, SimpleShardedDimProto,
};
pub use model::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorAnnotation, TrainingInfoProto,
};
pub use tensor::{DataLocation, DataType, Segment, SparseTensorProto, TensorProto};
pub use types::{
    Dimension, Extent, MapType, OpaqueType, OptionalType, SequenceType, SparseTensorType,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};

/// The newest `ModelProto.ir_version` whose fields are all known here; rewriting a newer file may lose some.
pub const NEWEST_IR_VERSION: i64 = 14;

/// Why bytes are not an ONNX model, or a tensor in one cannot be read. Always the fault of the file.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ProtoError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes break the protobuf wire format or the schema: not an ONNX file, damaged or cut off.
    #[error("not an ONNX model, or cut off: {detail}")]
    Malformed {
        /// What the protobuf decoder met, and in which field.
        detail: String,
    },
    /// The bytes are protobuf, but `ModelProto.graph` is absent: a cut-off file, or another message.
    #[error("the model holds no graph")]
    NoGraph,
    /// A tensor cannot be read as asked.
    #[error("tensor `{tensor}`: {fault}")]
    Tensor {
        /// `TensorProto.name`; empty where the file gives none, as in most attributes.
        tensor: String,
        /// What is wrong with it.
        fault: TensorFault,
    },
}

/// What is wrong with a tensor.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TensorFault {
    /// `data_type` is missing, undefined or newer than this schema.
    #[error("unknown data type {0}")]
    UnknownDataType(i32),
    /// A dimension is negative, or the tensor's size overflows the address space.
    #[error("impossible dims {0:?}")]
    ImpossibleDims(Vec<i64>),
    /// The data lies in another file, which has not been loaded.
    #[error("external data is not loaded")]
    ExternalData,
    /// The message holds one segment of a larger tensor. No known tool writes this.
    #[error("tensors stored in segments are not supported")]
    Segmented,
    /// The amount of data does not follow from dims and data type.
    #[error(
        "dims {dims:?} of {data_type} need {expected} {unit} in {field}, but there are {found}"
    )]
    WrongLength {
        /// The tensor's dims.
        dims: Vec<i64>,
        /// The tensor's element type.
        data_type: DataType,
        /// The field that holds the data.
        field: &'static str,
        /// What is counted: bytes of `raw_data`, entries elsewhere.
        unit: &'static str,
        /// How many dims and data type ask for.
        expected: usize,
        /// How many the file has.
        found: usize,
    },
    /// The elements are not of a type that the caller can use.
    #[error("{data_type} elements where {wanted} are needed")]
    WrongType {
        /// The tensor's element type.
        data_type: DataType,
        /// The types that would do.
        wanted: &'static str,
    },
    /// An element does not fit the type asked for, or a stored entry does not fit the tensor's data type.
    #[error("value {value} at flat index {index} does not fit {wanted}")]
    OutOfRange {
        /// Row-major index of the element, or of the entry in its field.
        index: usize,
        /// The value.
        value: i128,
        /// The type that it does not fit.
        wanted: &'static str,
    },
}

/// Reads a model from the bytes of an `.onnx` file. External data stays unread.
///
/// # Errors
/// [`ProtoError::Empty`], [`ProtoError::Malformed`] or [`ProtoError::NoGraph`]. A file cut off exactly between
/// two fields is valid protobuf, so only what is missing later (the graph, a node's input) can tell.
pub fn decode_model(bytes: &[u8]) -> Result<ModelProto, ProtoError> {
    if bytes.is_empty() {
        return Err(ProtoError::Empty);
    }
    let model = ModelProto::decode(bytes).map_err(|error| ProtoError::Malformed {
        detail: error.to_string(),
    })?;
    if model.graph.is_none() {
        return Err(ProtoError::NoGraph);
    }
    Ok(model)
}

/// The bytes of an `.onnx` file with this model: fields in order of their numbers, so equal models give equal bytes.
pub fn encode_model(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small_model() -> ModelProto {
        ModelProto {
            ir_version: Some(NEWEST_IR_VERSION),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(21),
            }],
            graph: Some(GraphProto {
                name: Some("g".into()),
                node: vec![NodeProto::new(
                    "Gemm",
                    "fc",
                    &["x", "w"],
                    &["y"],
                    vec![
                        AttributeProto::float("alpha", 0.5),
                        AttributeProto::ints("axes", &[-1, 2]),
                        AttributeProto::string("mode", "linear"),
                        AttributeProto::tensor("t", TensorProto::from_i64("", &[1], &[7])),
                    ],
                )],
                initializer: vec![TensorProto::from_f32("w", &[2, 2], &[1.0, 0.0, -2.5, 3.0])],
                input: vec![ValueInfoProto::tensor(
                    "x",
                    DataType::Float,
                    [Dimension::from("N"), Dimension::from(2)],
                )],
                output: vec![ValueInfoProto::tensor("y", DataType::Float, [1, 2])],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_model_survives_the_round_trip() {
        let model = small_model();
        let bytes = encode_model(&model);
        assert_eq!(decode_model(&bytes).unwrap(), model);
    }

    #[test]
    fn an_empty_file_and_a_model_without_graph_are_told_apart() {
        assert_eq!(decode_model(b""), Err(ProtoError::Empty));
        let model = ModelProto {
            ir_version: Some(8),
            ..Default::default()
        };
        assert_eq!(
            decode_model(&encode_model(&model)),
            Err(ProtoError::NoGraph)
        );
    }

    #[test]
    fn other_files_are_malformed() {
        for bytes in [
            &b"<!DOCTYPE html>"[..],
            b"version https://git-lfs",
            b"PK\x03\x04",
            &[0xff; 64],
        ] {
            let result = decode_model(bytes);
            assert!(
                matches!(result, Err(ProtoError::Malformed { .. })),
                "{bytes:?}: {result:?}"
            );
        }
    }

    #[test]
    fn a_string_that_is_not_utf8_is_malformed() {
        let mut bytes = encode_model(&small_model());
        let at = bytes
            .windows(4)
            .position(|window| window == b"Gemm")
            .unwrap();
        bytes[at] = 0xff;
        let Err(ProtoError::Malformed { detail }) = decode_model(&bytes) else {
            panic!("accepted");
        };
        assert!(detail.contains("op_type"), "{detail}");
    }

    /// A prefix is either refused or is itself a whole file, of which nothing was dropped.
    #[test]
    fn truncation_at_every_byte_is_refused_or_harmless() {
        let bytes = encode_model(&small_model());
        let mut n_refused = 0;
        for len in 0..bytes.len() {
            match decode_model(&bytes[..len]) {
                Ok(model) => assert_eq!(encode_model(&model), &bytes[..len], "cut at {len}"),
                Err(_) => n_refused += 1,
            }
        }
        // Whole fields follow the graph only in `opset_import`: nearly every cut must be noticed.
        assert!(
            n_refused > bytes.len() - 10,
            "{n_refused} of {}",
            bytes.len()
        );
    }

    /// Damage in any byte must end in an error or in a model whose tensors read or refuse to.
    #[test]
    fn a_changed_byte_never_panics() {
        let bytes = encode_model(&small_model());
        for at in 0..bytes.len() {
            for flip in [0x01, 0x08, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let Ok(model) = decode_model(&damaged) else {
                    continue;
                };
                for tensor in &model.graph.unwrap_or_default().initializer {
                    let _ = (
                        tensor.to_f32_vec(),
                        tensor.to_i64_vec(),
                        tensor.to_bool_vec(),
                    );
                }
            }
        }
    }

    #[test]
    fn nesting_beyond_the_decoders_depth_is_refused() {
        let mut graph = GraphProto::default();
        for _ in 0..200 {
            let node = NodeProto::new("If", "", &[], &[], vec![AttributeProto::graph("g", graph)]);
            graph = GraphProto {
                node: vec![node],
                ..Default::default()
            };
        }
        let model = ModelProto {
            graph: Some(graph),
            ..Default::default()
        };
        assert!(matches!(
            decode_model(&encode_model(&model)),
            Err(ProtoError::Malformed { .. })
        ));
    }
}
