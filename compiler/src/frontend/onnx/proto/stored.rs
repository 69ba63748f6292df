//! Finds the field that holds a tensor's elements, checks it, and reads the elements' bits from it.
//!
//! All checks that need no value come first: the data type is known, the dims multiply without overflow, and
//! the field has exactly the entries that they ask for. Only then is memory allocated, so absurd dims in a small
//! file cost nothing. From there on every storage form is a sequence of bit patterns as wide as the element.

use super::{DataLocation, DataType, TensorFault, TensorProto};

/// The field that holds a tensor's elements.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    Raw(&'a [u8]),
    Float(&'a [f32]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Double(&'a [f64]),
    Uint64(&'a [u64]),
    Strings(&'a [Vec<u8>]),
}

/// A tensor that passed all checks that need no value.
pub(super) struct Checked<'a> {
    pub(super) data_type: DataType,
    pub(super) stored: Stored<'a>,
    n_elems: usize,
}

/// The element type, when it is one of the schema.
pub(super) fn elem_type(tensor: &TensorProto) -> Result<DataType, TensorFault> {
    match DataType::try_from(tensor.data_type()) {
        Ok(data_type) if data_type != DataType::Undefined => Ok(data_type),
        _ => Err(TensorFault::UnknownDataType(tensor.data_type())),
    }
}

/// The product of the dims; 1 for a scalar.
pub(super) fn n_elems(tensor: &TensorProto) -> Result<usize, TensorFault> {
    // An empty tensor is empty whatever its other dims multiply to.
    let is_empty = tensor.dims.contains(&0);
    let mut n_elems = 1usize;
    for &dim in &tensor.dims {
        let dim = usize::try_from(dim).map_err(|_| impossible_dims(tensor))?;
        if !is_empty {
            n_elems = n_elems
                .checked_mul(dim)
                .ok_or_else(|| impossible_dims(tensor))?;
        }
    }
    Ok(if is_empty { 0 } else { n_elems })
}

/// The bytes that the elements take as `raw_data`.
pub(super) fn n_raw_bytes(tensor: &TensorProto) -> Result<usize, TensorFault> {
    let data_type = elem_type(tensor)?;
    let Some(bits) = data_type.bits() else {
        let wanted = "elements of a fixed size";
        return Err(TensorFault::WrongType { data_type, wanted });
    };
    let n_bits = n_elems(tensor)?.checked_mul(bits);
    Ok(n_bits.ok_or_else(|| impossible_dims(tensor))?.div_ceil(8))
}

impl<'a> Checked<'a> {
    /// Checks that the data is here and of exactly the length that dims and data type ask for.
    pub(super) fn of(tensor: &'a TensorProto) -> Result<Checked<'a>, TensorFault> {
        let data_type = elem_type(tensor)?;
        let n_elems = n_elems(tensor)?;
        if tensor.data_location() == DataLocation::External {
            return Err(TensorFault::ExternalData);
        }
        if tensor.segment.is_some() {
            return Err(TensorFault::Segmented);
        }

        // As in every other reader, `raw_data` wins where it is present, even if a list has entries too.
        let (field, unit, stored, found, expected) = if let Some(raw_data) = &tensor.raw_data {
            let n_bytes = n_raw_bytes(tensor)?;
            (
                "raw_data",
                "bytes",
                Stored::Raw(raw_data),
                raw_data.len(),
                n_bytes,
            )
        } else {
            let (field, stored, n_entries) = typed_field(tensor, data_type);
            let expected =
                entries_for(data_type, n_elems).ok_or_else(|| impossible_dims(tensor))?;
            (field, "entries", stored, n_entries, expected)
        };
        if found != expected {
            return Err(TensorFault::WrongLength {
                dims: tensor.dims.clone(),
                data_type,
                field,
                unit,
                expected,
                found,
            });
        }
        Ok(Checked {
            data_type,
            stored,
            n_elems,
        })
    }

    /// Converts each element from its index and its bits, zero-extended. Not for strings and complex numbers.
    pub(super) fn convert<T>(
        &self,
        mut convert: impl FnMut(usize, u64) -> Result<T, TensorFault>,
    ) -> Result<Vec<T>, TensorFault> {
        let data_type = self.data_type;
        let bits = data_type.bits().expect("strings are not converted");
        let mut values = Vec::with_capacity(self.n_elems);
        match self.stored {
            Stored::Raw(bytes) if bits < 8 => {
                for index in 0..self.n_elems {
                    values.push(convert(index, packed_pattern(bytes, index, bits))?);
                }
            }
            Stored::Raw(bytes) => {
                for (index, element) in bytes.chunks_exact(bits / 8).enumerate() {
                    let append = |high: u64, &byte: &u8| high << 8 | u64::from(byte);
                    values.push(convert(index, element.iter().rev().fold(0, append))?);
                }
            }
            // Here an entry is one byte of `raw_data`.
            Stored::Int32(entries) if matches!(bits, 2 | 4) => {
                let byte = |(index, &entry)| Ok(int32_pattern(index, entry, 8)? as u8);
                let bytes: Vec<u8> = entries
                    .iter()
                    .enumerate()
                    .map(byte)
                    .collect::<Result<_, TensorFault>>()?;
                for index in 0..self.n_elems {
                    values.push(convert(index, packed_pattern(&bytes, index, bits))?);
                }
            }
            // Truth values, not patterns.
            Stored::Int32(entries) if data_type == DataType::Bool => {
                for (index, &entry) in entries.iter().enumerate() {
                    values.push(convert(index, (entry != 0).into())?);
                }
            }
            Stored::Int32(entries) => {
                for (index, &entry) in entries.iter().enumerate() {
                    values.push(convert(index, int32_pattern(index, entry, bits)?)?);
                }
            }
            Stored::Uint64(entries) => {
                for (index, &entry) in entries.iter().enumerate() {
                    if bits < 64 && entry >> bits != 0 {
                        return Err(entry_too_wide(index, entry));
                    }
                    values.push(convert(index, entry)?);
                }
            }
            Stored::Int64(entries) => {
                for (index, &entry) in entries.iter().enumerate() {
                    values.push(convert(index, entry as u64)?);
                }
            }
            Stored::Float(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    values.push(convert(index, entry.to_bits().into())?);
                }
            }
            Stored::Double(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    values.push(convert(index, entry.to_bits())?);
                }
            }
            Stored::Strings(_) => unreachable!("strings have no bits"),
        }
        Ok(values)
    }
}

/// The list that the schema assigns to a data type: its name, its contents and their number.
fn typed_field(tensor: &TensorProto, data_type: DataType) -> (&'static str, Stored<'_>, usize) {
    match data_type {
        DataType::Float | DataType::Complex64 => {
            let entries = &tensor.float_data;
            ("float_data", Stored::Float(entries), entries.len())
        }
        DataType::Double | DataType::Complex128 => {
            let entries = &tensor.double_data;
            ("double_data", Stored::Double(entries), entries.len())
        }
        DataType::Int64 => {
            let entries = &tensor.int64_data;
            ("int64_data", Stored::Int64(entries), entries.len())
        }
        DataType::Uint32 | DataType::Uint64 => {
            let entries = &tensor.uint64_data;
            ("uint64_data", Stored::Uint64(entries), entries.len())
        }
        DataType::String => {
            let entries = &tensor.string_data;
            ("string_data", Stored::Strings(entries), entries.len())
        }
        DataType::Undefined
        | DataType::Int32
        | DataType::Uint16
        | DataType::Int16
        | DataType::Uint8
        | DataType::Int8
        | DataType::Uint4
        | DataType::Int4
        | DataType::Uint2
        | DataType::Int2
        | DataType::Bool
        | DataType::Float16
        | DataType::Bfloat16
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float8e8m0
        | DataType::Float6e2m3
        | DataType::Float6e3m2
        | DataType::Float4e2m1 => {
            let entries = &tensor.int32_data;
            ("int32_data", Stored::Int32(entries), entries.len())
        }
    }
}

/// How many entries of its list a tensor takes.
fn entries_for(data_type: DataType, n_elems: usize) -> Option<usize> {
    match (data_type, data_type.bits()) {
        (DataType::Complex64 | DataType::Complex128, _) => n_elems.checked_mul(2),
        // An entry is one byte as in `raw_data`, but a 6-bit element has an entry of its own.
        (_, Some(bits @ (2 | 4))) => Some(n_elems.div_ceil(8 / bits)),
        _ => Some(n_elems),
    }
}

/// Element `index` of a bit stream that fills bytes from their low bits up; an element may straddle two bytes.
fn packed_pattern(bytes: &[u8], index: usize, bits: usize) -> u64 {
    let first_bit = index * bits;
    let low = bytes[first_bit / 8];
    let high = bytes.get(first_bit / 8 + 1).copied().unwrap_or(0);
    u64::from(u16::from_le_bytes([low, high]) >> (first_bit % 8)) & ((1 << bits) - 1)
}

/// The low `bits` of an `int32_data` entry, when the rest is their zero or sign extension: writers do either.
fn int32_pattern(index: usize, entry: i32, bits: usize) -> Result<u64, TensorFault> {
    let unused = 32 - bits;
    let zero_extended = (entry as u32) << unused >> unused;
    let sign_extended = entry << unused >> unused;
    // Above the 6-bit pattern of a FLOAT6 the schema allows only zeros.
    if zero_extended as i32 == entry || (sign_extended == entry && bits >= 8) {
        Ok(zero_extended.into())
    } else {
        Err(entry_too_wide(index, entry))
    }
}

fn entry_too_wide(index: usize, entry: impl Into<i128>) -> TensorFault {
    TensorFault::OutOfRange {
        index,
        value: entry.into(),
        wanted: "the tensor's data type",
    }
}

fn impossible_dims(tensor: &TensorProto) -> TensorFault {
    TensorFault::ImpossibleDims(tensor.dims.clone())
}
