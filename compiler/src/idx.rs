//! IDX files, the format of MNIST and its descendants: bytes of known shape, often gzipped.
//!
//! Layout (<http://yann.lecun.com/exdb/mnist>): two zero bytes, the element type, the number of dimensions, each
//! dimension as a big-endian u32, then the elements, row-major. Data sets of images and labels are of unsigned bytes,
//! the only type read here.

use std::io::Read as _;

use flate2::read::GzDecoder;
use thiserror::Error;

/// Bytes that a file may unpack to.
const MAX_BYTES: u64 = 4 << 30;

/// Type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// An array of bytes, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdxArray {
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements.
    pub elems: Vec<u8>,
}

/// Why a file is no array of bytes. Always the fault of the file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdxError {
    /// The gzip stream is damaged or too long.
    #[error("damaged gzip data: {0}")]
    Gzip(String),
    /// It does not begin like an IDX file.
    #[error("not an IDX file")]
    Magic,
    /// Other elements than unsigned bytes.
    #[error("elements of type {0:#04x}, expected unsigned bytes ({UNSIGNED_BYTE:#04x})")]
    Type(u8),
    /// Shape and length disagree.
    #[error("{found} elements, shape {shape:?} has {expected}")]
    Length {
        /// Shape in the header.
        shape: Vec<usize>,
        /// Elements of that shape.
        expected: u128,
        /// Bytes behind the header.
        found: usize,
    },
}

/// Whether `bytes` look like an IDX file, gzipped or not.
pub fn is_idx(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0, 0])
}

/// The array in a file.
///
/// # Errors
/// See [`IdxError`].
pub fn read_idx(bytes: &[u8]) -> Result<IdxArray, IdxError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return parse(bytes);
    }
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(MAX_BYTES + 1);
    let result = decoder.read_to_end(&mut unpacked);
    result.map_err(|error| IdxError::Gzip(error.to_string()))?;
    if unpacked.len() as u64 > MAX_BYTES {
        return Err(IdxError::Gzip(format!("longer than {MAX_BYTES} bytes")));
    }
    parse(&unpacked)
}

fn parse(bytes: &[u8]) -> Result<IdxArray, IdxError> {
    let (&[0, 0, element, rank], rest) = bytes.split_first_chunk().ok_or(IdxError::Magic)? else {
        return Err(IdxError::Magic);
    };
    if element != UNSIGNED_BYTE {
        return Err(IdxError::Type(element));
    }
    let (sizes, elems) = rest
        .split_at_checked(4 * usize::from(rank))
        .ok_or(IdxError::Magic)?;
    let shape: Vec<usize> = sizes
        .as_chunks()
        .0
        .iter()
        .map(|&size| u32::from_be_bytes(size) as usize)
        .collect();
    let expected = shape
        .iter()
        .try_fold(1u128, |n, &d| n.checked_mul(d as u128))
        .unwrap_or(u128::MAX);
    match expected == elems.len() as u128 {
        true => Ok(IdxArray {
            shape,
            elems: elems.to_vec(),
        }),
        false => Err(IdxError::Length {
            shape,
            expected,
            found: elems.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    const FILE: &[u8] = &[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];

    #[test]
    fn plain_and_gzipped() {
        let array = IdxArray {
            shape: vec![2, 3],
            elems: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(read_idx(FILE).as_ref(), Ok(&array));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(FILE).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(is_idx(&packed) && is_idx(FILE));
        assert_eq!(read_idx(&packed), Ok(array));
        assert!(matches!(
            read_idx(&packed[..packed.len() / 2]),
            Err(IdxError::Gzip(_))
        ));
    }

    #[test]
    fn damage() {
        assert_eq!(read_idx(b""), Err(IdxError::Magic));
        assert_eq!(read_idx(&FILE[..9]), Err(IdxError::Magic));
        assert_eq!(read_idx(b"PK\x03\x04 and so on"), Err(IdxError::Magic));
        assert_eq!(read_idx(&[0, 0, 13, 0]), Err(IdxError::Type(13)));
        let huge = [[0, 0, 8, 255].as_slice(), &[0xff; 4 * 255]].concat();
        for bytes in [&FILE[..FILE.len() - 1], &huge] {
            assert!(matches!(read_idx(bytes), Err(IdxError::Length { .. })));
        }
    }
}
