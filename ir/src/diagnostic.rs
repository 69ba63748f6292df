//! What the compiler says to its user.
//!
//! A diagnostic is plain data: where it is rendered (terminal, JSON) is the command line's
//! business. `code` names the thing seen (`mask-not-nested`), never the advice; the location
//! always names something the user knows: an ONNX node, a tensor, or a line of text IR.

use std::fmt;

/// How bad it is. Only [`Severity::Error`] stops the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something worth knowing, e.g. a symbolic dimension that was fixed.
    Note,
    /// Probably not what the user wants.
    Warning,
    /// The input cannot be compiled.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What a diagnostic points at; every part is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// File the input came from.
    pub file: Option<String>,
    /// Line and column in a text file, both from 1.
    pub position: Option<(u32, u32)>,
    /// Name of the graph node; ONNX nodes without a name go by their first output.
    pub node: Option<String>,
    /// Op type of that node as the user's file spells it.
    pub op_type: Option<String>,
    /// Name of the tensor (initializer, graph input or output).
    pub tensor: Option<String>,
    /// First offending element of that tensor.
    pub index: Option<Vec<usize>>,
}

/// One message about the user's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// Kebab-case name of the thing seen.
    pub code: &'static str,
    /// Lower case, no final period, real values with both sides.
    pub message: String,
    /// Where.
    pub at: Location,
    /// Background.
    pub notes: Vec<String>,
    /// How to go on.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with `code` and `message`.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning with `code` and `message`.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A note with `code` and `message`.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            at: Location::default(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Points at a graph node.
    pub fn at_node(mut self, name: impl Into<String>, op_type: impl Into<String>) -> Self {
        self.at.node = Some(name.into());
        self.at.op_type = Some(op_type.into());
        self
    }

    /// Points at a tensor.
    pub fn at_tensor(mut self, name: impl Into<String>) -> Self {
        self.at.tensor = Some(name.into());
        self
    }

    /// Points at one element of the tensor.
    pub fn at_index(mut self, index: &[usize]) -> Self {
        self.at.index = Some(index.to_vec());
        self
    }

    /// Points at a file.
    pub fn at_file(mut self, file: impl Into<String>) -> Self {
        self.at.file = Some(file.into());
        self
    }

    /// Points at a line and column (from 1) of a text file.
    pub fn at_position(mut self, line: u32, column: u32) -> Self {
        self.at.position = Some((line, column));
        self
    }

    /// Adds background.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says how to go on.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(file) = &self.file {
            parts.push(match self.position {
                Some((line, column)) => format!("{file}:{line}:{column}"),
                None => file.clone(),
            });
        } else if let Some((line, column)) = self.position {
            parts.push(format!("line {line}, column {column}"));
        }
        if let Some(node) = &self.node {
            parts.push(match &self.op_type {
                Some(op_type) => format!("node \"{node}\" ({op_type})"),
                None => format!("node \"{node}\""),
            });
        }
        if let Some(tensor) = &self.tensor {
            parts.push(match &self.index {
                Some(index) => format!("tensor \"{tensor}\", first at {index:?}"),
                None => format!("tensor \"{tensor}\""),
            });
        }
        f.write_str(&parts.join(", "))
    }
}

/// The plain rustc-style form, without colours.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let at = self.at.to_string();
        if !at.is_empty() {
            write!(f, "\n  --> {at}")?;
        }
        for note in &self.notes {
            write!(f, "\n  = note: {note}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}
