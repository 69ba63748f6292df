//! Typed access to a tensor's elements, whichever field of the message holds them.
//!
//! An accessor takes every data type whose values its result can hold, and says so when one does not fit; nothing is
//! rounded. [`super::stored`] checks the tensor and reads bits, [`super::element`] turns those into numbers;
//! f32 takes a shorter way, since nearly all bytes of a model are f32 weights.

use super::element::{float_of_pattern, integer_of_pattern};
use super::stored::{self, Checked, Stored};
use super::{DataLocation, DataType, ProtoError, TensorFault, TensorProto};

impl TensorProto {
    /// The element type.
    ///
    /// # Errors
    /// When it is missing, undefined or newer than this schema.
    pub fn elem_type(&self) -> Result<DataType, ProtoError> {
        self.named(stored::elem_type(self))
    }

    /// The number of elements that the dims ask for; 1 for a scalar.
    ///
    /// # Errors
    /// When a dimension is negative or the product overflows.
    pub fn n_elems(&self) -> Result<usize, ProtoError> {
        self.named(stored::n_elems(self))
    }

    /// The bytes that the elements take as `raw_data` or in an external file.
    ///
    /// # Errors
    /// When data type or dims are impossible, or the elements are strings.
    pub fn n_raw_bytes(&self) -> Result<usize, ProtoError> {
        self.named(stored::n_raw_bytes(self))
    }

    /// Whether the elements lie in another file that has not been loaded.
    pub fn is_external(&self) -> bool {
        self.data_location() == DataLocation::External
    }

    /// Checks that the data is here and of exactly the length that dims and data type ask for.
    ///
    /// # Errors
    /// The fault that every accessor would return for this tensor.
    pub fn check_data(&self) -> Result<(), ProtoError> {
        self.named(Checked::of(self).map(|_| ()))
    }

    /// The elements of a floating-point tensor no wider than FLOAT, all exact in f32.
    ///
    /// # Errors
    /// Wrong data, or another data type.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, ProtoError> {
        self.read(|tensor| match (tensor.data_type, tensor.stored) {
            (DataType::Float, Stored::Float(values)) => Ok(values.to_vec()),
            (DataType::Float, Stored::Raw(bytes)) => {
                let (values, _) = bytes.as_chunks::<4>();
                Ok(values
                    .iter()
                    .map(|&value| f32::from_le_bytes(value))
                    .collect())
            }
            (DataType::Double, _) => Err(wrong_type(tensor, "floats of 32 bits or fewer")),
            _ => floats(tensor, |value| value as f32),
        })
    }

    /// The elements of any floating-point tensor.
    ///
    /// # Errors
    /// Wrong data, or another data type.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>, ProtoError> {
        self.read(|tensor| floats(tensor, |value| value))
    }

    /// The elements of any integer or BOOL tensor.
    ///
    /// # Errors
    /// Wrong data, another data type, or a UINT64 beyond the range.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>, ProtoError> {
        self.read(|tensor| integers(tensor, "i64"))
    }

    /// The elements of any integer or BOOL tensor.
    ///
    /// # Errors
    /// Wrong data, another data type, or a value beyond the range.
    pub fn to_i32_vec(&self) -> Result<Vec<i32>, ProtoError> {
        self.read(|tensor| integers(tensor, "i32"))
    }

    /// The elements of any integer or BOOL tensor.
    ///
    /// # Errors
    /// Wrong data, another data type, or a value beyond the range.
    pub fn to_i8_vec(&self) -> Result<Vec<i8>, ProtoError> {
        self.read(|tensor| integers(tensor, "i8"))
    }

    /// The elements of any integer or BOOL tensor.
    ///
    /// # Errors
    /// Wrong data, another data type, or a value beyond the range.
    pub fn to_u8_vec(&self) -> Result<Vec<u8>, ProtoError> {
        self.read(|tensor| integers(tensor, "u8"))
    }

    /// The elements of any integer or BOOL tensor.
    ///
    /// # Errors
    /// Wrong data, another data type, or a negative value.
    pub fn to_u64_vec(&self) -> Result<Vec<u64>, ProtoError> {
        self.read(|tensor| integers(tensor, "u64"))
    }

    /// The elements of a BOOL tensor; any stored value but 0 is true.
    ///
    /// # Errors
    /// Wrong data, or another data type.
    pub fn to_bool_vec(&self) -> Result<Vec<bool>, ProtoError> {
        self.read(|tensor| match tensor.data_type {
            DataType::Bool => tensor.convert(|_, bits| Ok(bits != 0)),
            _ => Err(wrong_type(tensor, "BOOL")),
        })
    }

    /// The bits of a FLOAT16 or BFLOAT16 tensor's elements, for readers that keep them as they are.
    ///
    /// # Errors
    /// Wrong data, or another data type.
    pub fn to_f16_bits_vec(&self) -> Result<Vec<u16>, ProtoError> {
        self.read(|tensor| match tensor.data_type {
            DataType::Float16 | DataType::Bfloat16 => tensor.convert(|_, bits| Ok(bits as u16)),
            _ => Err(wrong_type(tensor, "FLOAT16 or BFLOAT16")),
        })
    }

    /// The elements of a STRING tensor, UTF-8 by convention but not by force.
    ///
    /// # Errors
    /// Wrong data, or another data type.
    pub fn as_strings(&self) -> Result<&[Vec<u8>], ProtoError> {
        self.read(|tensor| match tensor.stored {
            Stored::Strings(values) => Ok(values),
            _ => Err(wrong_type(tensor, "STRING")),
        })
    }

    fn read<'a, T>(
        &'a self,
        read: impl FnOnce(&Checked<'a>) -> Result<T, TensorFault>,
    ) -> Result<T, ProtoError> {
        self.named(Checked::of(self).and_then(|tensor| read(&tensor)))
    }

    fn named<T>(&self, result: Result<T, TensorFault>) -> Result<T, ProtoError> {
        result.map_err(|fault| ProtoError::Tensor {
            tensor: self.name().to_string(),
            fault,
        })
    }
}

fn integers<T: TryFrom<i128>>(
    tensor: &Checked<'_>,
    wanted: &'static str,
) -> Result<Vec<T>, TensorFault> {
    let Some(integer) = integer_of_pattern(tensor.data_type) else {
        return Err(wrong_type(tensor, "integers or BOOL"));
    };
    tensor.convert(|index, bits| {
        let value = integer(bits);
        let out_of_range = |_| TensorFault::OutOfRange {
            index,
            value,
            wanted,
        };
        T::try_from(value).map_err(out_of_range)
    })
}

fn floats<T>(tensor: &Checked<'_>, narrow: fn(f64) -> T) -> Result<Vec<T>, TensorFault> {
    let Some(float) = float_of_pattern(tensor.data_type) else {
        return Err(wrong_type(tensor, "floats"));
    };
    tensor.convert(|_, bits| Ok(narrow(float(bits))))
}

fn wrong_type(tensor: &Checked<'_>, wanted: &'static str) -> TensorFault {
    TensorFault::WrongType {
        data_type: tensor.data_type,
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            name: Some("w".into()),
            data_type: Some(data_type as i32),
            dims: dims.to_vec(),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check_refused<T: std::fmt::Debug>(result: Result<T, ProtoError>, message: &str) {
        assert_eq!(result.expect_err("accepted").to_string(), message);
    }

    #[test]
    fn constructors_and_accessors_agree() {
        let floats = [1.5, -0.0, f32::MIN_POSITIVE];
        assert_eq!(
            TensorProto::from_f32("w", &[3], &floats)
                .to_f32_vec()
                .unwrap(),
            floats
        );
        let ints = [i64::MIN, -1, i64::MAX];
        assert_eq!(
            TensorProto::from_i64("w", &[3, 1], &ints)
                .to_i64_vec()
                .unwrap(),
            ints
        );
        let ints = [i32::MIN, -1, i32::MAX];
        assert_eq!(
            TensorProto::from_i32("w", &[1, 3], &ints)
                .to_i32_vec()
                .unwrap(),
            ints
        );
        let bytes = [-128, -1, 127];
        assert_eq!(
            TensorProto::from_i8("w", &[3], &bytes).to_i8_vec().unwrap(),
            bytes
        );
        let bytes = [0, 128, 255];
        assert_eq!(
            TensorProto::from_u8("w", &[3], &bytes).to_u8_vec().unwrap(),
            bytes
        );
    }

    #[test]
    fn scalars_have_one_element_and_a_zero_extent_none() {
        assert_eq!(
            TensorProto::from_f32("w", &[], &[7.0])
                .to_f32_vec()
                .unwrap(),
            [7.0]
        );
        // The other extents would overflow.
        let empty = TensorProto::from_f32("w", &[i64::MAX, 0, i64::MAX], &[]);
        assert_eq!(empty.to_f32_vec().unwrap(), [0.0; 0]);
    }

    /// Would abort the process if memory were allocated before the data is counted.
    #[test]
    fn absurd_dims_do_not_allocate() {
        let absurd = 1 << 58;
        let mut w = tensor(DataType::Float, &[absurd]);
        let needed = absurd * 4;
        check_refused(
            w.to_f32_vec(),
            &format!(
                "tensor `w`: dims [{absurd}] of FLOAT need {absurd} entries in float_data, but there are 0"
            ),
        );
        w.raw_data = Some(vec![0; 8]);
        check_refused(
            w.to_f32_vec(),
            &format!(
                "tensor `w`: dims [{absurd}] of FLOAT need {needed} bytes in raw_data, but there are 8"
            ),
        );
        for dims in [
            vec![absurd, absurd],
            vec![i64::MAX, 8],
            vec![-1],
            vec![0, -1],
        ] {
            w.dims = dims.clone();
            check_refused(
                w.to_f32_vec(),
                &format!("tensor `w`: impossible dims {dims:?}"),
            );
        }
    }

    #[test]
    fn too_much_data_is_refused_as_too_little_is() {
        let mut w = tensor(DataType::Int4, &[5]);
        w.int32_data = vec![0; 4];
        check_refused(
            w.to_i8_vec(),
            "tensor `w`: dims [5] of INT4 need 3 entries in int32_data, but there are 4",
        );
        let mut w = tensor(DataType::Complex64, &[2]);
        w.float_data = vec![0.0; 2];
        check_refused(
            w.check_data(),
            "tensor `w`: dims [2] of COMPLEX64 need 4 entries in float_data, but there are 2",
        );
    }

    #[test]
    fn raw_data_wins_over_lists() {
        let mut w = TensorProto::from_f32("w", &[2], &[1.0, 2.0]);
        w.float_data = vec![8.0, 9.0];
        assert_eq!(w.to_f32_vec().unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn data_that_is_not_here_is_not_read() {
        let mut w = tensor(DataType::Float, &[0]);
        w.data_location = Some(DataLocation::External as i32);
        check_refused(w.to_f32_vec(), "tensor `w`: external data is not loaded");
        let mut w = tensor(DataType::Float, &[0]);
        w.segment = Some(Default::default());
        check_refused(
            w.to_f32_vec(),
            "tensor `w`: tensors stored in segments are not supported",
        );
    }

    #[test]
    fn unknown_data_types_are_refused() {
        let mut w = tensor(DataType::Float, &[]);
        for data_type in [Some(99), Some(-1), Some(0), None] {
            w.data_type = data_type;
            let number = data_type.unwrap_or(0);
            check_refused(
                w.check_data(),
                &format!("tensor `w`: unknown data type {number}"),
            );
        }
    }

    #[test]
    fn values_beyond_the_type_asked_for_are_refused() {
        let w = TensorProto::from_i64("w", &[3], &[0, 255, -1]);
        check_refused(
            w.to_u8_vec(),
            "tensor `w`: value -1 at flat index 2 does not fit u8",
        );
        check_refused(
            w.to_i8_vec(),
            "tensor `w`: value 255 at flat index 1 does not fit i8",
        );
        let double = tensor(DataType::Double, &[0]);
        check_refused(
            double.to_f32_vec(),
            "tensor `w`: DOUBLE elements where floats of 32 bits or fewer are needed",
        );
        check_refused(
            w.to_bool_vec(),
            "tensor `w`: INT64 elements where BOOL are needed",
        );
    }

    /// Writers extend small types either way; anything else is damage.
    #[test]
    fn entries_wider_than_the_data_type_are_refused() {
        let mut w = tensor(DataType::Int8, &[3]);
        w.int32_data = vec![-1, 255, 127];
        assert_eq!(w.to_i8_vec().unwrap(), [-1, -1, 127]);
        w.data_type = Some(DataType::Uint8 as i32);
        assert_eq!(w.to_u8_vec().unwrap(), [255, 255, 127]);
        w.int32_data[1] = 256;
        check_refused(
            w.to_u8_vec(),
            "tensor `w`: value 256 at flat index 1 does not fit the tensor's data type",
        );
        let mut w = tensor(DataType::Uint32, &[1]);
        w.uint64_data = vec![1 << 32];
        check_refused(
            w.to_u64_vec(),
            "tensor `w`: value 4294967296 at flat index 0 does not fit the tensor's data type",
        );
        let mut w = tensor(DataType::Float6e2m3, &[1]);
        w.int32_data = vec![-1];
        check_refused(
            w.to_f32_vec(),
            "tensor `w`: value -1 at flat index 0 does not fit the tensor's data type",
        );
    }

    #[test]
    fn any_bool_but_zero_is_true() {
        let mut w = tensor(DataType::Bool, &[3]);
        w.int32_data = vec![0, 1, -256];
        assert_eq!(w.to_bool_vec().unwrap(), [false, true, true]);
        assert_eq!(w.to_i64_vec().unwrap(), [0, 1, 1]);
    }

    #[test]
    fn half_floats_keep_their_bits() {
        let w = TensorProto::from_raw("w", DataType::Float16, &[2], vec![0x01, 0x3c, 0xff, 0xff]);
        assert_eq!(w.to_f16_bits_vec().unwrap(), [0x3c01, 0xffff]);
    }

    #[test]
    fn strings_are_bytes() {
        let mut w = tensor(DataType::String, &[2]);
        w.string_data = vec![b"a".to_vec(), vec![0xff]];
        assert_eq!(w.as_strings().unwrap(), w.string_data);
        check_refused(
            w.to_i64_vec(),
            "tensor `w`: STRING elements where integers or BOOL are needed",
        );
        w.raw_data = Some(vec![0; 2]);
        check_refused(
            w.as_strings(),
            "tensor `w`: STRING elements where elements of a fixed size are needed",
        );
    }

    /// One tensor of each type and storage form: no accessor may panic on what another is meant for.
    #[test]
    fn every_accessor_answers_for_every_data_type() {
        let known = (0..i32::MAX).map_while(|number| DataType::try_from(number).ok());
        let mut n_types = 0;
        for data_type in known {
            n_types += 1;
            let mut w = tensor(data_type, &[3]);
            let n_entries = match data_type.bits() {
                Some(2) => 1,
                Some(4) => 2,
                _ => 3,
            };
            let n_floats = if data_type == DataType::Complex64 {
                6
            } else {
                3
            };
            let n_doubles = if data_type == DataType::Complex128 {
                6
            } else {
                3
            };
            w.float_data = vec![0.0; n_floats];
            w.double_data = vec![0.0; n_doubles];
            w.int32_data = vec![0; n_entries];
            w.int64_data = vec![0; 3];
            w.uint64_data = vec![0; 3];
            w.string_data = vec![vec![]; 3];
            let mut raw = w.clone();
            raw.raw_data = data_type.bits().map(|bits| vec![0; (3 * bits).div_ceil(8)]);
            for w in [w, raw] {
                let readings = [
                    w.to_f32_vec().is_ok(),
                    w.to_f64_vec().is_ok(),
                    w.to_i64_vec().is_ok(),
                    w.to_i32_vec().is_ok(),
                    w.to_i8_vec().is_ok(),
                    w.to_u8_vec().is_ok(),
                    w.to_u64_vec().is_ok(),
                    w.to_bool_vec().is_ok(),
                    w.to_f16_bits_vec().is_ok(),
                    w.as_strings().is_ok(),
                ];
                let is_unreadable = matches!(
                    data_type,
                    DataType::Undefined | DataType::Complex64 | DataType::Complex128
                );
                assert_eq!(
                    readings.contains(&true),
                    !is_unreadable,
                    "{data_type}: {readings:?}"
                );
                assert_eq!(w.check_data().is_ok(), data_type != DataType::Undefined);
            }
        }
        assert_eq!(n_types, 29);
    }
}
