//! Turns the bits of one tensor element into a number.
//!
//! ONNX has ten float formats narrower than f32, which differ only in the widths of their parts, the bias and the
//! patterns that are not numbers; one function serves all but the two that are powers of two or halves of an f32.

use super::DataType;

/// How bits become an integer; `None` where the data type has none.
pub(super) fn integer_of_pattern(data_type: DataType) -> Option<fn(u64) -> i128> {
    match data_type {
        DataType::Bool => Some(|bits| (bits != 0).into()),
        DataType::Uint2
        | DataType::Uint4
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64 => Some(i128::from),
        DataType::Int2 => Some(|bits| ((bits << 62) as i64 >> 62).into()),
        DataType::Int4 => Some(|bits| ((bits << 60) as i64 >> 60).into()),
        DataType::Int8 => Some(|bits| (bits as i8).into()),
        DataType::Int16 => Some(|bits| (bits as i16).into()),
        DataType::Int32 => Some(|bits| (bits as i32).into()),
        DataType::Int64 => Some(|bits| (bits as i64).into()),
        DataType::Undefined
        | DataType::Float
        | DataType::String
        | DataType::Float16
        | DataType::Double
        | DataType::Complex64
        | DataType::Complex128
        | DataType::Bfloat16
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float4e2m1
        | DataType::Float8e8m0
        | DataType::Float6e2m3
        | DataType::Float6e3m2 => None,
    }
}

/// How bits become a float; `None` where the data type has none. All but DOUBLE are exact in f32 as well.
pub(super) fn float_of_pattern(data_type: DataType) -> Option<fn(u64) -> f64> {
    match data_type {
        DataType::Float => Some(|bits| f32::from_bits(bits as u32).into()),
        DataType::Double => Some(f64::from_bits),
        DataType::Bfloat16 => Some(|bits| f32::from_bits((bits as u32) << 16).into()),
        DataType::Float16 => Some(|bits| small_float(bits, 5, 10, 15, Special::Ieee)),
        DataType::Float8e5m2 => Some(|bits| small_float(bits, 5, 2, 15, Special::Ieee)),
        DataType::Float8e4m3fn => Some(|bits| small_float(bits, 4, 3, 7, Special::AllOnesNan)),
        DataType::Float8e4m3fnuz => {
            Some(|bits| small_float(bits, 4, 3, 8, Special::NegativeZeroNan))
        }
        DataType::Float8e5m2fnuz => {
            Some(|bits| small_float(bits, 5, 2, 16, Special::NegativeZeroNan))
        }
        DataType::Float6e2m3 => Some(|bits| small_float(bits, 2, 3, 1, Special::None)),
        DataType::Float6e3m2 => Some(|bits| small_float(bits, 3, 2, 3, Special::None)),
        DataType::Float4e2m1 => Some(|bits| small_float(bits, 2, 1, 1, Special::None)),
        // Powers of two without sign or fraction: the scales of the microscaling formats.
        DataType::Float8e8m0 => Some(|bits| match bits {
            0xff => f64::NAN,
            exponent => power_of_two(exponent as i32 - 127),
        }),
        DataType::Undefined
        | DataType::Uint8
        | DataType::Int8
        | DataType::Uint16
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::String
        | DataType::Bool
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Complex64
        | DataType::Complex128
        | DataType::Uint4
        | DataType::Int4
        | DataType::Uint2
        | DataType::Int2 => None,
    }
}

/// Which patterns of a small float are not numbers.
enum Special {
    /// The highest exponent: infinity without fraction bits, NaN with.
    Ieee,
    /// NaN when all bits but the sign are set; no infinity.
    AllOnesNan,
    /// NaN in place of negative zero; no infinity.
    NegativeZeroNan,
    /// Every pattern is a number.
    None,
}

/// The value of a float of sign, exponent and fraction bits, with subnormals.
fn small_float(
    bits: u64,
    exponent_bits: u32,
    fraction_bits: u32,
    bias: i32,
    special: Special,
) -> f64 {
    let fraction = bits & ((1 << fraction_bits) - 1);
    let highest_exponent = (1 << exponent_bits) - 1;
    let exponent = bits >> fraction_bits & highest_exponent;
    let is_negative = bits >> (fraction_bits + exponent_bits) & 1 == 1;
    let is_fraction_full = fraction == (1 << fraction_bits) - 1;

    let magnitude = match special {
        Special::Ieee if exponent == highest_exponent && fraction == 0 => f64::INFINITY,
        Special::Ieee if exponent == highest_exponent => f64::NAN,
        Special::AllOnesNan if exponent == highest_exponent && is_fraction_full => f64::NAN,
        Special::NegativeZeroNan if is_negative && exponent == 0 && fraction == 0 => f64::NAN,
        _ if exponent == 0 => fraction as f64 * power_of_two(1 - bias - fraction_bits as i32),
        _ => {
            let significand = (1 << fraction_bits | fraction) as f64;
            significand * power_of_two(exponent as i32 - bias - fraction_bits as i32)
        }
    };
    if is_negative { -magnitude } else { magnitude }
}

/// `2^exponent`, for exponents of normal f64 numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(data_type: DataType, patterns: &[u64], values: &[f64]) {
        let convert = float_of_pattern(data_type).expect("a float type");
        let converted: Vec<String> = patterns
            .iter()
            .map(|&bits| convert(bits).to_string())
            .collect();
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        assert_eq!(converted, values, "{data_type}");
    }

    #[test]
    fn small_floats_at_their_limits() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let tiny = 2f64.powi(-24);
        check(
            DataType::Float16,
            &[
                0x0001, 0x03ff, 0x0400, 0x3c00, 0x7bff, 0x7c00, 0x7e00, 0x8000, 0xfc00,
            ],
            &[
                tiny,
                1023.0 * tiny,
                1024.0 * tiny,
                1.0,
                65504.0,
                inf,
                nan,
                -0.0,
                -inf,
            ],
        );
        check(
            DataType::Bfloat16,
            &[0x3f80, 0xc000, 0x7f80, 0x7fc0],
            &[1.0, -2.0, inf, nan],
        );
        check(
            DataType::Float8e4m3fn,
            &[0x01, 0x7e, 0x7f, 0xff, 0x80],
            &[0.001953125, 448.0, nan, nan, -0.0],
        );
        check(
            DataType::Float8e4m3fnuz,
            &[0x01, 0x7f, 0x80],
            &[0.0009765625, 240.0, nan],
        );
        check(
            DataType::Float8e5m2,
            &[0x7b, 0x7c, 0x7d, 0xfc],
            &[57344.0, inf, nan, -inf],
        );
        check(DataType::Float8e5m2fnuz, &[0x7f, 0x80], &[57344.0, nan]);
        check(
            DataType::Float8e8m0,
            &[0, 127, 254, 255],
            &[2f64.powi(-127), 1.0, 2f64.powi(127), nan],
        );
        check(
            DataType::Float6e2m3,
            &[0x01, 0x1f, 0x3f],
            &[0.125, 7.5, -7.5],
        );
        check(
            DataType::Float6e3m2,
            &[0x01, 0x1f, 0x3f],
            &[0.0625, 28.0, -28.0],
        );
        check(
            DataType::Float4e2m1,
            &[0x1, 0x7, 0xf, 0x8],
            &[0.5, 6.0, -6.0, -0.0],
        );
    }

    #[test]
    fn small_integers_extend_their_sign() {
        let value = |data_type, bits| integer_of_pattern(data_type).expect("an integer type")(bits);
        assert_eq!(value(DataType::Int2, 0b10), -2);
        assert_eq!(value(DataType::Int4, 0xf), -1);
        assert_eq!(value(DataType::Int8, 0x80), -128);
        assert_eq!(value(DataType::Uint4, 0xf), 15);
        assert_eq!(value(DataType::Uint64, u64::MAX), u64::MAX.into());
        assert_eq!(value(DataType::Bool, 2), 1);
    }
}
