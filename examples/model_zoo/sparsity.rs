//! What the user says about masks: densities of the levels, shape of the blocks, rule of choice.
//!
//! Checked where they are parsed, so that the generator has no errors of its own.

use std::str::FromStr;

/// The masks of a supernet.
#[derive(Debug, Clone)]
pub struct Sparsity {
    /// Densities of the levels.
    pub densities: Densities,
    /// Shape of what is kept or dropped together.
    pub block: Block,
    /// Which blocks a level keeps.
    pub rule: MaskRule,
    /// Whether the last fully connected layer stays dense.
    pub dense_classifier: bool,
}

/// How the blocks of a layer are ranked; a level keeps a prefix of the ranking, so masks nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskRule {
    /// By falling sum of squares of the block's weights.
    Magnitude,
    /// By lot.
    Random,
}

/// Kept shares of weights, 1 to 64 different ones in (0, 1], rising: L0 first.
#[derive(Debug, Clone, PartialEq)]
pub struct Densities(Vec<f64>);

impl Densities {
    /// The densities, L0 first.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Names of the levels, L0 first: `d10` for 0.1, `full` for 1.
    pub fn names(&self) -> Vec<String> {
        let name = |&density: &f64| match density {
            1.0 => "full".to_string(),
            // Percent to the thousandth, without the noise of 0.07 * 100.
            _ => format!("d{}", (density * 100_000.0).round() / 1000.0),
        };
        self.0.iter().map(name).collect()
    }
}

impl FromStr for Densities {
    type Err = String;

    fn from_str(text: &str) -> Result<Densities, String> {
        let mut densities = Vec::new();
        for item in text.split(',') {
            let density: f64 = item
                .trim()
                .parse()
                .map_err(|_| format!("`{item}` is not a number"))?;
            if !(density > 0.0 && density <= 1.0) {
                return Err(format!("density {item} is not in (0, 1]"));
            }
            densities.push(density);
        }
        densities.sort_by(f64::total_cmp);
        if let Some(pair) = densities.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("density {} is given twice", pair[0]));
        }
        if densities.len() > 64 {
            return Err(format!(
                "{} densities; a model has at most 64 levels",
                densities.len()
            ));
        }
        Ok(Densities(densities))
    }
}

/// Shape of a block: output channels x input channels, at one position of a convolution's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Output channels.
    pub rows: usize,
    /// Input channels.
    pub cols: usize,
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Block, String> {
        let error = || format!("`{text}` is not a block such as 4x1");
        let (rows, cols) = text.split_once('x').ok_or_else(error)?;
        let size = |digits: &str| digits.parse().ok().filter(|&size: &usize| size > 0);
        Ok(Block {
            rows: size(rows).ok_or_else(error)?,
            cols: size(cols).ok_or_else(error)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_are_sorted_and_named() {
        let densities: Densities = "1.0, 0.07,0.3".parse().unwrap();
        assert_eq!(densities.as_slice(), [0.07, 0.3, 1.0]);
        assert_eq!(densities.names(), ["d7", "d30", "full"]);
    }

    #[test]
    fn impossible_densities_are_refused() {
        let error = |text: &str| text.parse::<Densities>().unwrap_err();
        assert_eq!(error("0.1,x"), "`x` is not a number");
        assert_eq!(error("0"), "density 0 is not in (0, 1]");
        assert_eq!(error("NaN"), "density NaN is not in (0, 1]");
        assert_eq!(error("0.5,1,0.5"), "density 0.5 is given twice");
    }

    #[test]
    fn blocks_are_two_positive_numbers() {
        assert_eq!("8x1".parse(), Ok(Block { rows: 8, cols: 1 }));
        for text in ["4", "4x", "0x1", "4x1x1", "-4x1"] {
            assert!(text.parse::<Block>().is_err(), "{text}");
        }
    }
}
