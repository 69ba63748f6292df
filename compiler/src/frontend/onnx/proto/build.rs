//! Constructors for messages that the compiler and its tests write.
//!
//! They fill what the schema calls mandatory and leave the rest absent. Tensors are written as `raw_data`,
//! which every reader takes.

use super::{
    AttributeProto, AttributeType, DataType, Dimension, Extent, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto,
};

impl ModelProto {
    /// `graph` as a model of this version of the default operator set.
    pub fn of_graph(graph: GraphProto, opset: i64) -> ModelProto {
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(opset),
            }],
            graph: Some(graph),
            ..Default::default()
        }
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self
            .metadata_props
            .iter()
            .find(|entry| entry.key() == key)?;
        entry.value.as_deref()
    }

    /// Sets a metadata key, in place where it exists and at the end where not.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<String>) {
        let value = Some(value.into());
        match self
            .metadata_props
            .iter_mut()
            .find(|entry| entry.key() == key)
        {
            Some(entry) => entry.value = value,
            None => self.metadata_props.push(StringStringEntryProto {
                key: Some(key.to_string()),
                value,
            }),
        }
    }
}

impl GraphProto {
    /// Adds an initializer to a file of this IR version.
    pub fn add_initializer(&mut self, tensor: TensorProto, ir_version: i64) {
        // Up to IR version 3 every initializer is listed as an input too.
        if ir_version < 4 {
            let data_type = tensor.elem_type().unwrap_or(DataType::Float);
            self.input.push(ValueInfoProto::tensor(
                tensor.name(),
                data_type,
                &tensor.dims,
            ));
        }
        self.initializer.push(tensor);
    }
}

impl NodeProto {
    /// A node of the default operator domain. An empty input name leaves out an optional input.
    pub fn new(
        op_type: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> NodeProto {
        NodeProto {
            op_type: Some(op_type.to_string()),
            name: Some(name.to_string()),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: outputs.iter().map(|output| output.to_string()).collect(),
            attribute: attributes,
            ..Default::default()
        }
    }
}

impl AttributeProto {
    /// An integer.
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto {
            i: Some(value),
            ..AttributeProto::of_type(name, AttributeType::Int)
        }
    }

    /// A list of integers.
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto {
            ints: values.to_vec(),
            ..AttributeProto::of_type(name, AttributeType::Ints)
        }
    }

    /// A float.
    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto {
            f: Some(value),
            ..AttributeProto::of_type(name, AttributeType::Float)
        }
    }

    /// A list of floats.
    pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
        AttributeProto {
            floats: values.to_vec(),
            ..AttributeProto::of_type(name, AttributeType::Floats)
        }
    }

    /// A string.
    pub fn string(name: &str, value: &str) -> AttributeProto {
        AttributeProto {
            s: Some(value.as_bytes().to_vec()),
            ..AttributeProto::of_type(name, AttributeType::String)
        }
    }

    /// A list of strings.
    pub fn strings(name: &str, values: &[&str]) -> AttributeProto {
        AttributeProto {
            strings: values
                .iter()
                .map(|value| value.as_bytes().to_vec())
                .collect(),
            ..AttributeProto::of_type(name, AttributeType::Strings)
        }
    }

    /// A tensor.
    pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
        AttributeProto {
            t: Some(Box::new(value)),
            ..AttributeProto::of_type(name, AttributeType::Tensor)
        }
    }

    /// A subgraph.
    pub fn graph(name: &str, value: GraphProto) -> AttributeProto {
        AttributeProto {
            g: Some(Box::new(value)),
            ..AttributeProto::of_type(name, AttributeType::Graph)
        }
    }

    fn of_type(name: &str, attribute_type: AttributeType) -> AttributeProto {
        AttributeProto {
            name: Some(name.to_string()),
            r#type: Some(attribute_type as i32),
            ..Default::default()
        }
    }
}

impl TensorProto {
    /// A FLOAT tensor; `values` in row-major order.
    ///
    /// # Panics
    /// When `dims` do not ask for `values.len()` elements.
    pub fn from_f32(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        let raw_data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        TensorProto::from_raw(name, DataType::Float, dims, raw_data)
    }

    /// A UINT8 tensor; `values` in row-major order.
    ///
    /// # Panics
    /// When `dims` do not ask for `values.len()` elements.
    pub fn from_u8(name: &str, dims: &[i64], values: &[u8]) -> TensorProto {
        TensorProto::from_raw(name, DataType::Uint8, dims, values.to_vec())
    }

    /// An INT8 tensor; `values` in row-major order.
    ///
    /// # Panics
    /// When `dims` do not ask for `values.len()` elements.
    pub fn from_i8(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
        let raw_data = values.iter().map(|&value| value as u8).collect();
        TensorProto::from_raw(name, DataType::Int8, dims, raw_data)
    }

    /// An INT32 tensor; `values` in row-major order.
    ///
    /// # Panics
    /// When `dims` do not ask for `values.len()` elements.
    pub fn from_i32(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
        let raw_data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        TensorProto::from_raw(name, DataType::Int32, dims, raw_data)
    }

    /// An INT64 tensor; `values` in row-major order.
    ///
    /// # Panics
    /// When `dims` do not ask for `values.len()` elements.
    pub fn from_i64(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
        let raw_data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        TensorProto::from_raw(name, DataType::Int64, dims, raw_data)
    }

    /// A tensor of any type but STRING from little-endian bytes, sub-byte elements packed from the low bits up.
    ///
    /// # Panics
    /// When `data_type` and `dims` do not ask for `raw_data.len()` bytes.
    pub fn from_raw(
        name: &str,
        data_type: DataType,
        dims: &[i64],
        raw_data: Vec<u8>,
    ) -> TensorProto {
        let tensor = TensorProto {
            name: Some(name.to_string()),
            data_type: Some(data_type as i32),
            dims: dims.to_vec(),
            raw_data: Some(raw_data),
            ..Default::default()
        };
        // A wrong length here is a slip of the caller, never of a file.
        if let Err(error) = tensor.check_data() {
            panic!("{error}");
        }
        tensor
    }
}

impl ValueInfoProto {
    /// A tensor value: `[1, 3, 224, 224]`, or `["N".into(), Dimension::from(10)]` where an extent is symbolic.
    pub fn tensor(
        name: &str,
        elem_type: DataType,
        dims: impl IntoIterator<Item = impl Into<Dimension>>,
    ) -> ValueInfoProto {
        let tensor_type = TensorType {
            elem_type: Some(elem_type as i32),
            shape: Some(TensorShapeProto {
                dim: dims.into_iter().map(Into::into).collect(),
            }),
        };
        ValueInfoProto {
            name: Some(name.to_string()),
            r#type: Some(TypeProto {
                value: Some(TypeValue::TensorType(tensor_type)),
                denotation: None,
            }),
            ..Default::default()
        }
    }
}

impl From<i64> for Dimension {
    fn from(value: i64) -> Dimension {
        Dimension {
            value: Some(Extent::DimValue(value)),
            denotation: None,
        }
    }
}

impl From<&i64> for Dimension {
    fn from(value: &i64) -> Dimension {
        Dimension::from(*value)
    }
}

impl From<&str> for Dimension {
    fn from(name: &str) -> Dimension {
        Dimension {
            value: Some(Extent::DimParam(name.to_string())),
            denotation: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_replaced_in_place_or_appended() {
        let mut model = ModelProto::default();
        model.set_metadata("condense.version", "1");
        model.set_metadata("condense.levels", "4");
        model.set_metadata("condense.version", "2");
        let keys: Vec<&str> = model
            .metadata_props
            .iter()
            .map(|entry| entry.key())
            .collect();
        assert_eq!(keys, ["condense.version", "condense.levels"]);
        assert_eq!(model.metadata("condense.version"), Some("2"));
        assert_eq!(model.metadata("condense.block"), None);
    }

    #[test]
    #[should_panic(expected = "dims [2, 3] of FLOAT need 24 bytes in raw_data, but there are 20")]
    fn a_constructor_refuses_dims_that_do_not_match() {
        TensorProto::from_f32("w", &[2, 3], &[0.0; 5]);
    }

    #[test]
    fn dims_come_from_arrays_and_slices() {
        let dims = vec![1, 3];
        let from_array = ValueInfoProto::tensor("x", DataType::Float, [1, 3]);
        assert_eq!(
            ValueInfoProto::tensor("x", DataType::Float, &dims),
            from_array
        );
    }
}
