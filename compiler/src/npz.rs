//! NumPy archives in and out: the door to npyz, and its only user.
//!
//! Inputs, outputs, calibration data and mask sidecars travel as `.npz`. Whatever number type an
//! array has, the compiler wants f32 or i64 of it; `uint8` keeps its own form, since a mask must be
//! of that type and may be as large as the network. The files are not trusted: a header is checked
//! before npyz multiplies its numbers or recurses into its brackets, and what an archive unpacks to
//! is bounded.

use std::io::{Cursor, Read as _};
use std::path::Path;

use npyz::zip::CompressionMethod;
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar, WriterBuilder as _};
use thiserror::Error;

/// Bytes that one array may unpack to: twice the largest tensor that an ONNX file can hold.
const MAX_ARRAY_BYTES: u64 = 4 << 30;

/// Bytes of an array's header; NumPy itself refuses longer ones.
const MAX_HEADER_BYTES: usize = 10_000;

/// One array of an archive, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct NpzArray {
    /// Name in the archive, without `.npy`.
    pub name: String,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements.
    pub elems: NpzElems,
}

/// The elements of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum NpzElems {
    /// `float32`, or `float64` rounded to it.
    F32(Vec<f32>),
    /// `bool` and every integer type but `uint8`.
    I64(Vec<i64>),
    /// `uint8`
    U8(Vec<u8>),
    /// A type that is no number, as NumPy spells it; the elements are not read.
    Other(String),
}

/// Why an archive or one of its arrays cannot be used. Always the fault of the file, but for `Io`.
#[derive(Debug, Error)]
pub enum NpzError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Not a zip archive, or a damaged one.
    #[error("not a NumPy archive, or damaged: {detail}")]
    Archive {
        /// What was met.
        detail: String,
    },
    /// The header of an array is not one.
    #[error("array `{array}`: bad header: {detail}")]
    Header {
        /// The array.
        array: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The data of an array is cut off or damaged.
    #[error("array `{array}`: bad data: {detail}")]
    Data {
        /// The array.
        array: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An array unpacks to more than is sensible.
    #[error("array `{array}`: larger than {MAX_ARRAY_BYTES} bytes")]
    TooLarge {
        /// The array.
        array: String,
    },
    /// The elements are of a type that the caller cannot use.
    #[error("array `{array}`: elements of type {found} where {wanted} are needed")]
    WrongType {
        /// The array.
        array: String,
        /// The type it has.
        found: String,
        /// The types that would do.
        wanted: &'static str,
    },
    /// Shape and number of elements disagree: the caller's slip, when writing.
    #[error("array `{array}`: shape {shape:?} does not fit {n_elems} elements")]
    WrongLength {
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements given.
        n_elems: usize,
    },
}

impl NpzArray {
    /// An array of `float32`.
    pub fn f32(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> NpzArray {
        NpzArray {
            name: name.into(),
            shape: shape.to_vec(),
            elems: NpzElems::F32(values),
        }
    }

    /// An array of `int64`.
    pub fn i64(name: impl Into<String>, shape: &[usize], values: Vec<i64>) -> NpzArray {
        NpzArray {
            name: name.into(),
            shape: shape.to_vec(),
            elems: NpzElems::I64(values),
        }
    }

    /// The elements as f32; integers are rounded to it.
    ///
    /// # Errors
    /// [`NpzError::WrongType`] if the elements are no numbers.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, NpzError> {
        match &self.elems {
            NpzElems::F32(values) => Ok(values.clone()),
            NpzElems::I64(values) => Ok(values.iter().map(|&value| value as f32).collect()),
            NpzElems::U8(values) => Ok(values.iter().map(|&value| f32::from(value)).collect()),
            NpzElems::Other(_) => Err(self.wrong_type("numbers")),
        }
    }

    /// The elements as i64.
    ///
    /// # Errors
    /// [`NpzError::WrongType`] if the elements are no integers.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>, NpzError> {
        match &self.elems {
            NpzElems::I64(values) => Ok(values.clone()),
            NpzElems::U8(values) => Ok(values.iter().map(|&value| i64::from(value)).collect()),
            NpzElems::F32(_) | NpzElems::Other(_) => Err(self.wrong_type("integers")),
        }
    }

    /// Name of the element type.
    pub fn elem_type(&self) -> &str {
        match &self.elems {
            NpzElems::F32(_) => "float32",
            NpzElems::I64(_) => "int64",
            NpzElems::U8(_) => "uint8",
            NpzElems::Other(descr) => descr,
        }
    }

    fn wrong_type(&self, wanted: &'static str) -> NpzError {
        NpzError::WrongType {
            array: self.name.clone(),
            found: self.elem_type().to_string(),
            wanted,
        }
    }
}

/// Reads the archive at `path`.
///
/// # Errors
/// See [`NpzError`].
pub fn read_npz_file(path: &Path) -> Result<Vec<NpzArray>, NpzError> {
    let bytes = std::fs::read(path).map_err(|source| NpzError::Io {
        path: path.display().to_string(),
        source,
    })?;
    read_npz(&bytes)
}

/// Reads all arrays of an archive, in its order.
///
/// # Errors
/// See [`NpzError`].
pub fn read_npz(bytes: &[u8]) -> Result<Vec<NpzArray>, NpzError> {
    let archive_error = |detail: String| NpzError::Archive { detail };
    let mut npz = npyz::npz::NpzArchive::new(Cursor::new(bytes))
        .map_err(|error| archive_error(error.to_string()))?;
    let archive = npz.zip_archive();
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|error| archive_error(error.to_string()))?;
        let Some(name) = npyz::npz::array_name_from_file_name(entry.name()) else {
            continue;
        };
        let name = name.to_string();
        // What NumPy writes. Other methods would bring decoders that nobody has tried on bad data.
        let method = entry.compression();
        if !matches!(
            method,
            CompressionMethod::Stored | CompressionMethod::Deflated
        ) {
            return Err(archive_error(format!("`{name}` is compressed by {method}")));
        }
        let mut unpacked = Vec::new();
        let n_read = entry.take(MAX_ARRAY_BYTES + 1).read_to_end(&mut unpacked);
        match n_read {
            Ok(n) if n as u64 > MAX_ARRAY_BYTES => return Err(NpzError::TooLarge { array: name }),
            Ok(_) => arrays.push(read_npy(name, &unpacked)?),
            Err(error) => {
                return Err(NpzError::Data {
                    array: name,
                    detail: error.to_string(),
                });
            }
        }
    }
    Ok(arrays)
}

/// The bytes of an archive with these arrays, in their order.
///
/// # Errors
/// [`NpzError::WrongLength`] if an array's shape does not fit, [`NpzError::WrongType`] for
/// [`NpzElems::Other`].
pub fn write_npz(arrays: &[NpzArray]) -> Result<Vec<u8>, NpzError> {
    let mut bytes = Cursor::new(Vec::new());
    let mut npz = npyz::npz::NpzWriter::new(&mut bytes);
    for array in arrays {
        match &array.elems {
            NpzElems::F32(values) => write_array(&mut npz, array, values)?,
            NpzElems::I64(values) => write_array(&mut npz, array, values)?,
            NpzElems::U8(values) => write_array(&mut npz, array, values)?,
            NpzElems::Other(_) => return Err(array.wrong_type("numbers")),
        }
    }
    npz.zip_writer()
        .finish()
        .map_err(|error| NpzError::Archive {
            detail: error.to_string(),
        })?;
    drop(npz);
    Ok(bytes.into_inner())
}

fn write_array<T: npyz::AutoSerialize + Copy>(
    npz: &mut npyz::npz::NpzWriter<&mut Cursor<Vec<u8>>>,
    array: &NpzArray,
    values: &[T],
) -> Result<(), NpzError> {
    if checked_n_elems(&array.shape) != Some(values.len()) {
        return Err(NpzError::WrongLength {
            array: array.name.clone(),
            shape: array.shape.clone(),
            n_elems: values.len(),
        });
    }
    let shape: Vec<u64> = array.shape.iter().map(|&size| size as u64).collect();
    // A fixed time: the same arrays give the same bytes.
    let options = npyz::zip::write::FileOptions::default()
        .last_modified_time(npyz::zip::DateTime::default())
        .large_file(values.len() as u64 >= 1 << 28);
    let write = || -> std::io::Result<()> {
        let mut writer = npz
            .array::<T>(&array.name, options)?
            .default_dtype()
            .shape(&shape)
            .begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()
    };
    let mut write = write;
    write().map_err(|error| NpzError::Data {
        array: array.name.clone(),
        detail: error.to_string(),
    })
}

fn read_npy(name: String, bytes: &[u8]) -> Result<NpzArray, NpzError> {
    let header_error = |detail: String| NpzError::Header {
        array: name.clone(),
        detail,
    };
    check_header(bytes).map_err(|detail| header_error(detail.to_string()))?;
    let file = NpyFile::new(bytes).map_err(|error| header_error(error.to_string()))?;
    let stored: Option<Vec<usize>> = file
        .shape()
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    let Some((shape, n_elems)) =
        stored.and_then(|shape| checked_n_elems(&shape).map(|n_elems| (shape, n_elems)))
    else {
        return Err(header_error(format!("impossible shape {:?}", file.shape())));
    };
    let is_fortran = file.order() == Order::Fortran;
    let dtype = file.dtype();
    let number = match &dtype {
        DType::Plain(plain) => Some((plain.type_char(), plain.size_field())),
        DType::Array(..) | DType::Record(_) => None,
    };
    let data = Data {
        file,
        array: &name,
        n_elems,
        shape: &shape,
        is_fortran,
    };
    let elems = match number {
        Some((TypeChar::Float, 4)) => NpzElems::F32(data.read()?),
        Some((TypeChar::Float, 8)) => NpzElems::F32(data.map(|value: f64| Some(value as f32))?),
        Some((TypeChar::Bool, 1)) => NpzElems::I64(data.map(|value: bool| Some(value.into()))?),
        Some((TypeChar::Int, 1)) => NpzElems::I64(data.map(|value: i8| Some(value.into()))?),
        Some((TypeChar::Int, 2)) => NpzElems::I64(data.map(|value: i16| Some(value.into()))?),
        Some((TypeChar::Int, 4)) => NpzElems::I64(data.map(|value: i32| Some(value.into()))?),
        Some((TypeChar::Int, 8)) => NpzElems::I64(data.read()?),
        Some((TypeChar::Uint, 1)) => NpzElems::U8(data.read()?),
        Some((TypeChar::Uint, 2)) => NpzElems::I64(data.map(|value: u16| Some(value.into()))?),
        Some((TypeChar::Uint, 4)) => NpzElems::I64(data.map(|value: u32| Some(value.into()))?),
        Some((TypeChar::Uint, 8)) => {
            NpzElems::I64(data.map(|value: u64| i64::try_from(value).ok())?)
        }
        _ => NpzElems::Other(dtype.descr()),
    };
    Ok(NpzArray { name, shape, elems })
}

/// The data part of an array.
struct Data<'a> {
    file: NpyFile<&'a [u8]>,
    array: &'a str,
    n_elems: usize,
    shape: &'a [usize],
    is_fortran: bool,
}

impl Data<'_> {
    fn read<T: Deserialize + Copy>(self) -> Result<Vec<T>, NpzError> {
        self.map(|value: T| Some(value))
    }

    fn map<T: Deserialize, U: Copy>(self, convert: fn(T) -> Option<U>) -> Result<Vec<U>, NpzError> {
        let Data {
            file,
            array,
            n_elems,
            shape,
            is_fortran,
        } = self;
        let data_error = |detail: String| NpzError::Data {
            array: array.to_string(),
            detail,
        };
        let reader = file
            .data::<T>()
            .map_err(|error| data_error(error.to_string()))?;
        // Not with the capacity that the header promises: the data may be cut off.
        let mut values = Vec::new();
        for value in reader {
            let value = value.map_err(|error| data_error(error.to_string()))?;
            let Some(value) = convert(value) else {
                return Err(data_error(format!(
                    "element {} is beyond the range of i64",
                    values.len()
                )));
            };
            values.push(value);
        }
        if values.len() != n_elems {
            return Err(data_error(format!(
                "{} of {n_elems} elements",
                values.len()
            )));
        }
        Ok(if is_fortran {
            to_row_major(&values, shape)
        } else {
            values
        })
    }
}

/// Column-major elements in row-major order.
fn to_row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        ordered.push(
            values[index
                .iter()
                .zip(&strides)
                .map(|(i, s)| i * s)
                .sum::<usize>()],
        );
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    ordered
}

fn checked_n_elems(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
}

/// Refuses headers on which npyz would overflow or recurse deeply: it multiplies the sizes of a
/// shape unchecked, and parses nested brackets by recursion.
fn check_header(bytes: &[u8]) -> Result<(), &'static str> {
    let (start, len) = match bytes {
        [b'\x93', b'N', b'U', b'M', b'P', b'Y', 1, 0, a, b, ..] => {
            (10, usize::from(u16::from_le_bytes([*a, *b])))
        }
        [
            b'\x93',
            b'N',
            b'U',
            b'M',
            b'P',
            b'Y',
            2 | 3,
            0,
            a,
            b,
            c,
            d,
            ..,
        ] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err("not a .npy file of version 1, 2 or 3"),
    };
    if len > MAX_HEADER_BYTES {
        return Err("longer than 10000 bytes");
    }
    let Some(header) = bytes.get(start..start + len) else {
        return Err("cut off");
    };
    let mut depth = 0i32;
    let mut product = 1u64;
    let mut digits = 0u64;
    for &byte in header.iter().chain(b" ") {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth > 8 {
            return Err("nested too deeply");
        }
        if byte.is_ascii_digit() {
            digits = digits
                .saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'));
        } else {
            // Zeros do not hide what the other sizes multiply to. The few digits of the element
            // type count as well.
            product = product
                .checked_mul(digits.max(1))
                .filter(|&n| n < 1 << 62)
                .ok_or("impossible shape")?;
            digits = 0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
