//! A tensor of level data as it was given, in the model or in a sidecar.

use std::sync::Arc;

use condensec_ir::Diagnostic;

use crate::frontend::onnx::proto::{DataType, ModelProto, ProtoError, TensorProto};
use crate::frontend::onnx::sidecar::MaskFile;
use crate::npz::NpzElems;

/// A tensor of level data as it was given.
#[derive(Debug, Clone)]
pub struct LevelArray {
    pub name: String,
    pub shape: Vec<usize>,
    pub elems: LevelElems,
}

/// Its elements.
#[derive(Debug, Clone)]
pub enum LevelElems {
    U8(Arc<[u8]>),
    F32(Arc<[f32]>),
    /// A type that no level data has, by its name.
    Other(String),
}

impl LevelArray {
    fn from_proto(tensor: &TensorProto) -> Result<LevelArray, Diagnostic> {
        let fault =
            |message: String| Diagnostic::error("bad-tensor", message).at_tensor(tensor.name());
        let text = |error: ProtoError| fault(error.to_string());
        let elems = match tensor.elem_type().map_err(text)? {
            DataType::Uint8 => LevelElems::U8(tensor.to_u8_vec().map_err(text)?.into()),
            DataType::Float => LevelElems::F32(tensor.to_f32_vec().map_err(text)?.into()),
            other => LevelElems::Other(other.to_string().to_ascii_lowercase()),
        };
        let shape: Option<Vec<usize>> = tensor
            .dims
            .iter()
            .map(|&dim| usize::try_from(dim).ok())
            .collect();
        let shape = shape.ok_or_else(|| fault(format!("impossible dims {:?}", tensor.dims)))?;
        Ok(LevelArray {
            name: tensor.name().to_string(),
            shape,
            elems,
        })
    }

    pub fn elem_type(&self) -> &str {
        match &self.elems {
            LevelElems::U8(_) => "uint8",
            LevelElems::F32(_) => "float32",
            LevelElems::Other(name) => name,
        }
    }

    /// The level data `name`; the sidecar's wins.
    pub fn find(
        model: &ModelProto,
        sidecar: Option<&MaskFile>,
        name: &str,
    ) -> Result<LevelArray, Diagnostic> {
        if let Some(array) =
            sidecar.and_then(|file| file.tensors().find(|array| array.name == name))
        {
            return Ok(LevelArray {
                name: name.to_string(),
                shape: array.shape.clone(),
                elems: match &array.elems {
                    NpzElems::U8(values) => LevelElems::U8(values.clone().into()),
                    NpzElems::F32(values) => LevelElems::F32(values.clone().into()),
                    NpzElems::I64(_) | NpzElems::Other(_) => {
                        LevelElems::Other(array.elem_type().to_string())
                    }
                },
            });
        }
        let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
        let tensor = initializers
            .into_iter()
            .find(|tensor| tensor.name() == name);
        LevelArray::from_proto(tensor.expect("a name that the sidecar lacks is the model's"))
    }
}
