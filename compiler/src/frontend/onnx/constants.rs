//! Tensors that are known at compile time: weights, parameters, and the shape arithmetic of
//! exporters.
//!
//! A constant carries its level data with it ([`ByLevel`], [`ChannelScale`]), so that masks follow
//! a weight through every transformation on the way to the node that uses it. Operations that only
//! move elements (in [`movement`]) move the mask along; any other is done once per level
//! ([`Constant::compute`]), and where the result is used as a weight it must be one set of weights
//! with a nested mask again ([`super::masks`]).

pub(super) mod arithmetic;
pub(super) mod movement;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use condensec_ir::LevelId;
use condensec_ir::sparsity::LevelMask;

use super::masks::{self, ChannelScale};
use super::proto::{DataType, SparseTensorProto, TensorProto};

/// Elements that a constant computed by the importer may have. A small file can ask for any size
/// (`ConstantOfShape`, `Expand`, `Range`, sparse tensors); the largest tensors of real models have
/// a fraction of this.
pub(super) const MAX_COMPUTED_ELEMS: usize = 1 << 27;

/// Elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elems {
    /// Any float type of the file.
    F32(Arc<[f32]>),
    /// Any integer type of the file.
    I64(Arc<[i64]>),
    /// Truth values.
    Bool(Arc<[bool]>),
}

/// Shape and elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    pub shape: Vec<usize>,
    pub elems: Elems,
}

/// How a constant depends on the level.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ByLevel {
    /// The same at every level.
    Shared,
    /// At level `l` the elements whose mask value is above `l` are zero.
    Masked(LevelMask),
    /// `[K, *shape]`, L0 first; the literal has the values of the highest level.
    Rows(Arc<[f32]>),
}

/// A tensor known at compile time.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    /// Name for the user: of the initializer, also where its elements have been moved since.
    pub name: String,
    pub literal: Literal,
    pub levels: ByLevel,
    pub scale: Option<Rc<ChannelScale>>,
}

impl Elems {
    pub fn len(&self) -> usize {
        match self {
            Elems::F32(values) => values.len(),
            Elems::I64(values) => values.len(),
            Elems::Bool(values) => values.len(),
        }
    }
}

/// The name of the type, as ONNX spells it.
impl fmt::Display for Elems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Elems::F32(_) => "FLOAT",
            Elems::I64(_) => "INT64",
            Elems::Bool(_) => "BOOL",
        })
    }
}

impl Literal {
    pub fn f32(shape: &[usize], values: impl Into<Arc<[f32]>>) -> Literal {
        Literal::new(shape, Elems::F32(values.into()))
    }

    pub fn i64(shape: &[usize], values: impl Into<Arc<[i64]>>) -> Literal {
        Literal::new(shape, Elems::I64(values.into()))
    }

    pub fn bool(shape: &[usize], values: impl Into<Arc<[bool]>>) -> Literal {
        Literal::new(shape, Elems::Bool(values.into()))
    }

    fn new(shape: &[usize], elems: Elems) -> Literal {
        assert_eq!(shape.iter().product::<usize>(), elems.len(), "{shape:?}");
        Literal {
            shape: shape.to_vec(),
            elems,
        }
    }

    pub fn n_elems(&self) -> usize {
        self.elems.len()
    }

    pub fn as_f32(&self) -> Option<&Arc<[f32]>> {
        match &self.elems {
            Elems::F32(values) => Some(values),
            Elems::I64(_) | Elems::Bool(_) => None,
        }
    }

    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.elems {
            Elems::I64(values) => Some(values),
            Elems::F32(_) | Elems::Bool(_) => None,
        }
    }

    pub fn as_bool(&self) -> Option<&[bool]> {
        match &self.elems {
            Elems::Bool(values) => Some(values),
            Elems::F32(_) | Elems::I64(_) => None,
        }
    }

    /// Reads a tensor of the file.
    pub fn from_proto(tensor: &TensorProto) -> Result<Literal, String> {
        let text = |error: super::proto::ProtoError| error.to_string();
        let data_type = tensor.elem_type().map_err(text)?;
        let shape: Option<Vec<usize>> = tensor
            .dims
            .iter()
            .map(|&dim| usize::try_from(dim).ok())
            .collect();
        let Some(shape) = shape.filter(|shape| checked_product(shape).is_some()) else {
            return Err(format!("impossible dims {:?}", tensor.dims));
        };
        match data_type {
            DataType::Double => {
                let values = tensor.to_f64_vec().map_err(text)?;
                let values: Arc<[f32]> = values.into_iter().map(|value| value as f32).collect();
                Ok(Literal::f32(&shape, values))
            }
            DataType::Bool => Ok(Literal::bool(&shape, tensor.to_bool_vec().map_err(text)?)),
            DataType::Uint2
            | DataType::Int2
            | DataType::Uint4
            | DataType::Int4
            | DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16
            | DataType::Uint32
            | DataType::Int32
            | DataType::Uint64
            | DataType::Int64 => Ok(Literal::i64(&shape, tensor.to_i64_vec().map_err(text)?)),
            DataType::Float
            | DataType::Float16
            | DataType::Bfloat16
            | DataType::Float8e4m3fn
            | DataType::Float8e4m3fnuz
            | DataType::Float8e5m2
            | DataType::Float8e5m2fnuz
            | DataType::Float8e8m0
            | DataType::Float6e2m3
            | DataType::Float6e3m2
            | DataType::Float4e2m1 => Ok(Literal::f32(&shape, tensor.to_f32_vec().map_err(text)?)),
            DataType::Undefined | DataType::String | DataType::Complex64 | DataType::Complex128 => {
                Err(format!("elements of type {data_type} are not supported"))
            }
        }
    }

    /// Reads a sparse tensor of the file: zeros where it names no value.
    pub fn from_sparse_proto(sparse: &SparseTensorProto) -> Result<Literal, String> {
        let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
            return Err("a sparse tensor needs values and indices".into());
        };
        let shape: Option<Vec<usize>> = sparse
            .dims
            .iter()
            .map(|&dim| usize::try_from(dim).ok())
            .collect();
        let size = |shape: &Vec<usize>| checked_product(shape).filter(|&n| n <= MAX_COMPUTED_ELEMS);
        let Some((shape, n_elems)) = shape.and_then(|shape| size(&shape).map(|n| (shape, n)))
        else {
            return Err(format!("impossible dims {:?}", sparse.dims));
        };
        let values = Literal::from_proto(values)?;
        let n_values = values.n_elems();
        let rank = shape.len();
        let places = indices.to_i64_vec().map_err(|error| error.to_string())?;
        // `[NNZ]`: row-major positions; `[NNZ, rank]`: coordinates.
        let position = |row: &[i64]| -> Option<usize> {
            let in_range =
                |index: i64, size: usize| usize::try_from(index).ok().filter(|&index| index < size);
            match row {
                [position] if indices.dims.len() == 1 => in_range(*position, n_elems),
                _ => row.iter().zip(&shape).try_fold(0, |at, (&index, &size)| {
                    Some(at * size + in_range(index, size)?)
                }),
            }
        };
        let row_len = match indices.dims[..] {
            [n] if usize::try_from(n) == Ok(n_values) => 1,
            [n, r] if usize::try_from(n) == Ok(n_values) && usize::try_from(r) == Ok(rank) => rank,
            _ => {
                return Err(format!(
                    "indices {:?} do not fit {n_values} values of a sparse tensor of {rank} axes",
                    indices.dims
                ));
            }
        };
        let mut positions = Vec::with_capacity(n_values);
        for at in 0..n_values {
            let row = &places[at * row_len..][..row_len];
            let outside = || format!("index {row:?} is outside of {shape:?}");
            positions.push(position(row).ok_or_else(outside)?);
        }
        fn dense<T: Copy>(values: &[T], positions: &[usize], zero: T, n_elems: usize) -> Vec<T> {
            let mut dense = vec![zero; n_elems];
            for (&value, &position) in values.iter().zip(positions) {
                dense[position] = value;
            }
            dense
        }
        Ok(match &values.elems {
            Elems::F32(values) => Literal::f32(&shape, dense(values, &positions, 0.0, n_elems)),
            Elems::I64(values) => Literal::i64(&shape, dense(values, &positions, 0, n_elems)),
            Elems::Bool(values) => Literal::bool(&shape, dense(values, &positions, false, n_elems)),
        })
    }
}

impl Constant {
    /// A constant that is the same at every level.
    pub fn shared(name: impl Into<String>, literal: Literal) -> Constant {
        Constant {
            name: name.into(),
            literal,
            levels: ByLevel::Shared,
            scale: None,
        }
    }

    pub fn shape(&self) -> &[usize] {
        &self.literal.shape
    }

    /// Whether any level sees other values than another.
    pub fn has_level_data(&self) -> bool {
        !matches!(self.levels, ByLevel::Shared) || self.scale.is_some()
    }

    /// What `level` sees, without level data.
    pub fn at_level(&self, level: LevelId) -> Literal {
        let values = match (&self.levels, &self.literal.elems) {
            (ByLevel::Masked(mask), Elems::F32(values)) => values
                .iter()
                .zip(mask.values())
                .map(|(&value, &v)| if u32::from(v) <= level.0 { value } else { 0.0 })
                .collect(),
            (ByLevel::Rows(rows), Elems::F32(_)) => {
                let n_elems = self.literal.n_elems();
                Arc::from(&rows[level.0 as usize * n_elems..][..n_elems])
            }
            _ => return self.literal.clone(),
        };
        Literal::f32(self.shape(), values)
    }
}

/// The result of a computation on constants: done once where nothing depends on the level, else
/// once per level.
pub(super) fn compute(
    name: &str,
    inputs: &[&Constant],
    n_levels: u32,
    operation: impl Fn(&[&Literal]) -> Result<Literal, String>,
) -> Result<Constant, String> {
    if let Some(scaled) = inputs.iter().find_map(|input| input.scale.as_ref()) {
        return Err(format!(
            "the weight of `{}` is computed from other constants",
            scaled.name
        ));
    }
    if !inputs.iter().any(|input| input.has_level_data()) {
        let literals: Vec<&Literal> = inputs.iter().map(|input| &input.literal).collect();
        return Ok(Constant::shared(name, operation(&literals)?));
    }
    let mut rows: Vec<f32> = Vec::new();
    let mut top = None;
    for level in (0..n_levels).map(LevelId) {
        let literals: Vec<Literal> = inputs.iter().map(|input| input.at_level(level)).collect();
        let result = operation(&literals.iter().collect::<Vec<_>>())?;
        let Elems::F32(values) = &result.elems else {
            return Err(format!(
                "{} elements cannot depend on the level",
                result.elems
            ));
        };
        if values.len().saturating_mul(n_levels as usize) > 2 * MAX_COMPUTED_ELEMS {
            return Err(format!(
                "{} elements for each of {n_levels} levels are too many",
                values.len()
            ));
        }
        rows.extend_from_slice(values);
        top = Some(result);
    }
    let literal = top.ok_or("a model has at least one level")?;
    let bits = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<u32>>()
    };
    let n_elems = literal.n_elems();
    let is_shared = n_elems == 0
        || rows
            .chunks_exact(n_elems)
            .all(|row| bits(row) == bits(&rows[..n_elems]));
    Ok(Constant {
        levels: if is_shared {
            ByLevel::Shared
        } else {
            ByLevel::Rows(rows.into())
        },
        ..Constant::shared(name, literal)
    })
}

/// The product of two constants. Unlike [`compute`] it keeps a mask a mask: weights times a
/// constant of zeros and ones is how pruning tools write a mask.
pub(super) fn product(
    name: &str,
    a: &Constant,
    b: &Constant,
    n_levels: u32,
) -> Result<Constant, String> {
    let multiply = |inputs: &[&Literal]| {
        arithmetic::binary(condensec_ir::ops::BinaryKind::Mul, inputs[0], inputs[1])
    };
    // What a tool calls a mask may be given per level; where such rows nest, they are a mask.
    let nested = |constant: &Constant| match &constant.levels {
        ByLevel::Rows(rows) => {
            masks::nested_from_rows(rows, n_levels)
                .ok()
                .map(|(values, mask)| {
                    let block = vec![1; constant.shape().len()];
                    Constant {
                        levels: ByLevel::Masked(LevelMask::new(mask, &block)),
                        literal: Literal::f32(constant.shape(), values),
                        ..constant.clone()
                    }
                })
        }
        ByLevel::Shared | ByLevel::Masked(_) => Some(constant.clone()),
    };
    let scale = match (&a.scale, &b.scale) {
        (Some(_), Some(_)) => return Err("both factors have a scale per level".into()),
        (scale, None) | (None, scale) => scale.clone(),
    };
    let unscaled = |constant: &Constant| Constant {
        scale: None,
        ..constant.clone()
    };
    let (Some(masked_a), Some(masked_b)) = (nested(a), nested(b)) else {
        let result = compute(name, &[&unscaled(a), &unscaled(b)], n_levels, multiply)?;
        return Ok(Constant { scale, ..result });
    };
    let literal = multiply(&[&masked_a.literal, &masked_b.literal])?;
    let shape = literal.shape.clone();
    let mask_on_result = |constant: &Constant| match &constant.levels {
        ByLevel::Masked(mask) if constant.shape() == shape => Some(mask.clone()),
        ByLevel::Masked(_) => match constant.broadcast(&shape).levels {
            ByLevel::Masked(mask) => Some(mask),
            ByLevel::Shared | ByLevel::Rows(_) => None,
        },
        ByLevel::Shared | ByLevel::Rows(_) => None,
    };
    let levels = match (mask_on_result(&masked_a), mask_on_result(&masked_b)) {
        (None, None) => ByLevel::Shared,
        (Some(mask), None) | (None, Some(mask)) => ByLevel::Masked(mask),
        (Some(a), Some(b)) => {
            let values: Vec<u8> = a
                .values()
                .iter()
                .zip(b.values())
                .map(|(&a, &b)| a.max(b))
                .collect();
            let block = if a.block() == b.block() {
                a.block().to_vec()
            } else {
                vec![1; shape.len()]
            };
            ByLevel::Masked(LevelMask::new(values, &block))
        }
    };
    // The user knows the larger factor: the weight, not its mask.
    let weight = if b.literal.n_elems() > a.literal.n_elems() {
        b
    } else {
        a
    };
    Ok(Constant {
        name: weight.name.clone(),
        literal,
        levels,
        scale,
    })
}

/// The product of sizes, if a tensor of them can be. Zero sizes do not hide an overflow of the
/// others, so that strides do not overflow either.
pub(super) fn checked_product(shape: &[usize]) -> Option<usize> {
    let bound = shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size.max(1)))?;
    isize::try_from(bound).ok()?;
    Some(shape.iter().product())
}

/// Calls `visit` with every index of a tensor of `shape`, in row-major order.
pub(super) fn for_each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        visit(&index);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Distance of neighbours along each axis of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
