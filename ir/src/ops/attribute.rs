//! Attributes: the bridge between an op's fields and the text form.

use crate::tensor::TensorId;

/// The value of an attribute in the text form.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// `groups=2`
    Int(i64),
    /// `strides=[1, 2]`
    Ints(Vec<i64>),
    /// `value=0.5`
    Float(f32),
    /// `scales=[2.0, 0.5]`; a list with at least one number that is not an integer literal.
    Floats(Vec<f32>),
    /// `mode=nearest`
    Word(String),
    /// `weight=@conv1.weight`
    Tensor(TensorId),
    /// `activation=clip(0, 6)`; without arguments it prints as a word.
    Call(String, Vec<f32>),
    /// A marker that is there or not: `residual`
    Flag,
}

impl Attribute {
    /// One size.
    pub fn size(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A list of sizes.
    pub fn sizes(values: &[usize]) -> Self {
        Self::Ints(
            values
                .iter()
                .map(|&v| i64::try_from(v).unwrap_or(i64::MAX))
                .collect(),
        )
    }
}

/// Attributes in printing order; those at their default are left out.
pub type Attributes = Vec<(&'static str, Attribute)>;

/// Attributes as the parser read them; an op takes what it knows, and what is left is an error.
#[derive(Debug, Default)]
pub struct AttributeReader {
    entries: Vec<(String, Attribute)>,
}

impl AttributeReader {
    /// A reader over parsed attributes.
    pub fn new(entries: Vec<(String, Attribute)>) -> Self {
        Self { entries }
    }

    fn take(&mut self, name: &str) -> Option<Attribute> {
        let at = self.entries.iter().position(|(n, _)| n == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes an integer.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Int(v)) => Ok(Some(v)),
            Some(other) => Err(format!(
                "attribute {name}: expected an integer, found {other:?}"
            )),
        }
    }

    /// Takes a size (a non-negative integer).
    pub fn size(&mut self, name: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.int(name)? else {
            return Ok(None);
        };
        usize::try_from(value)
            .map(Some)
            .map_err(|_| format!("attribute {name}: {value} is negative"))
    }

    /// Takes a list of sizes (non-negative integers).
    pub fn sizes(&mut self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let Some(values) = self.ints(name)? else {
            return Ok(None);
        };
        let sizes = values
            .iter()
            .map(|&v| usize::try_from(v))
            .collect::<Result<_, _>>();
        sizes
            .map(Some)
            .map_err(|_| format!("attribute {name}: negative value in {values:?}"))
    }

    /// Takes a list of exactly `N` sizes, or `default` if there is none.
    pub fn fixed<const N: usize>(
        &mut self,
        name: &str,
        default: [usize; N],
    ) -> Result<[usize; N], String> {
        match self.sizes(name)? {
            None => Ok(default),
            Some(v) => v.try_into().map_err(|v: Vec<usize>| {
                format!("attribute {name}: expected {N} values, found {}", v.len())
            }),
        }
    }

    /// Takes a list of integers.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v)),
            Some(other) => Err(format!(
                "attribute {name}: expected a list, found {other:?}"
            )),
        }
    }

    /// Takes a number.
    pub fn float(&mut self, name: &str) -> Result<Option<f32>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Float(v)) => Ok(Some(v)),
            Some(Attribute::Int(v)) => Ok(Some(v as f32)),
            Some(other) => Err(format!(
                "attribute {name}: expected a number, found {other:?}"
            )),
        }
    }

    /// Takes a list of numbers.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v)),
            Some(Attribute::Ints(v)) => Ok(Some(v.iter().map(|&v| v as f32).collect())),
            Some(other) => Err(format!(
                "attribute {name}: expected numbers, found {other:?}"
            )),
        }
    }

    /// Takes one word of a fixed set.
    pub fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(word) = self.word(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(w, _)| *w == word) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let known: Vec<&str> = choices.iter().map(|(w, _)| *w).collect();
                Err(format!(
                    "attribute {name}: {word} is none of {}",
                    known.join(", ")
                ))
            }
        }
    }

    /// Takes a word.
    pub fn word(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Word(v)) => Ok(Some(v)),
            Some(other) => Err(format!(
                "attribute {name}: expected a word, found {other:?}"
            )),
        }
    }

    /// Takes a constant.
    pub fn tensor(&mut self, name: &str) -> Result<Option<TensorId>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Tensor(v)) => Ok(Some(v)),
            Some(other) => Err(format!(
                "attribute {name}: expected a tensor, found {other:?}"
            )),
        }
    }

    /// Takes a call such as `clip(0, 6)`; a plain word is a call without arguments.
    pub fn call(&mut self, name: &str) -> Result<Option<(String, Vec<f32>)>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Call(f, args)) => Ok(Some((f, args))),
            Some(Attribute::Word(f)) => Ok(Some((f, Vec::new()))),
            Some(other) => Err(format!(
                "attribute {name}: expected a function, found {other:?}"
            )),
        }
    }

    /// Takes a marker.
    pub fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(false),
            Some(Attribute::Flag) => Ok(true),
            Some(other) => Err(format!("attribute {name}: takes no value, found {other:?}")),
        }
    }

    /// Succeeds if every attribute was taken.
    pub fn finish(self) -> Result<(), String> {
        match self.entries.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown attribute {name}")),
        }
    }
}
