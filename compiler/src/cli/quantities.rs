//! Quantities with units on the command line.

use std::str::FromStr;

/// A time: `8ms`, `500us`, `0.01s`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time {
    /// In milliseconds.
    pub ms: f64,
    /// As the user wrote it.
    pub text: String,
}

/// A frequency: `600MHz`, `2.4GHz`, or `600000`, which is kHz as in sysfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frequency {
    pub khz: u32,
}

/// A count: `20M`, `1.5G`, `300k`, `12000`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Count {
    /// The number.
    pub n: f64,
    /// As the user wrote it.
    pub text: String,
}

const TIME_UNITS: &[(&str, f64)] = &[("ms", 1.0), ("us", 1e-3), ("s", 1e3)];
const FREQUENCY_UNITS: &[(&str, f64)] = &[("GHz", 1e6), ("MHz", 1e3), ("kHz", 1.0), ("", 1.0)];
const COUNT_UNITS: &[(&str, f64)] = &[("k", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = parse(text, TIME_UNITS).ok_or("expected a time, e.g. 8ms or 500us")?;
        let text = text.to_string();
        Ok(Self { ms, text })
    }
}

impl FromStr for Frequency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let khz = parse(text, FREQUENCY_UNITS).map(f64::round);
        match khz.filter(|khz| (1.0..=f64::from(u32::MAX)).contains(khz)) {
            Some(khz) => Ok(Self { khz: khz as u32 }),
            None => Err("expected a frequency, e.g. 600MHz, 2.4GHz or 600000 (kHz)".into()),
        }
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let n = parse(text, COUNT_UNITS).ok_or("expected a count, e.g. 20M")?;
        let text = text.to_string();
        Ok(Self { n, text })
    }
}

/// A positive number with one of `units`; the first that fits counts.
fn parse(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let value: f64 = number.trim().parse().ok()?;
    (value.is_finite() && value > 0.0).then_some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        let ms = |text: &str| text.parse::<Time>().map(|time| time.ms);
        assert_eq!(ms("8ms"), Ok(8.0));
        assert_eq!(ms("500us"), Ok(0.5));
        assert_eq!(ms("0.01s"), Ok(10.0));
        let n = |text: &str| text.parse::<Count>().map(|count| count.n);
        assert_eq!(n("20M"), Ok(2e7));
        assert_eq!(n("1.5G"), Ok(1.5e9));
        assert_eq!(n("12000"), Ok(12000.0));
        let khz = |text: &str| text.parse::<Frequency>().map(|frequency| frequency.khz);
        assert_eq!(khz("600MHz"), Ok(600_000));
        assert_eq!(khz("2.4GHz"), Ok(2_400_000));
        assert_eq!(khz("816000"), Ok(816_000));
        assert_eq!(khz("816000 kHz"), Ok(816_000));
        for wrong in ["", "fast", "-1", "0", "9e9GHz", "GHz", "0.1"] {
            assert!(wrong.parse::<Frequency>().is_err(), "{wrong}");
        }
        for wrong in ["8", "ms", "-1ms", "0ms", "nanms", "infs", "1e999s"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
        for wrong in ["", "M", "-3", "20m"] {
            assert!(wrong.parse::<Count>().is_err(), "{wrong}");
        }
    }
}
