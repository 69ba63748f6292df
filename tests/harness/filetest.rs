//! Filetests: a file holds a command, its input, and what the command must print.
//!
//! ```text
//! test pass fuse-bias
//! ; What the file shows, as a sentence.
//!
//! graph @g (%x: f32[1, 2]) -> (%y) {
//!   ..
//! }
//! ; expect:
//! ; graph @g ..
//! ```
//! The input has an empty line in place of the command, so that the lines of diagnostics are those
//! of the file. `UPDATE_EXPECT=1` rewrites expectations.

use std::path::{Path, PathBuf};

const EXPECT: &str = "; expect:";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filetest {
    path: PathBuf,
    text: String,
    /// Words behind `test`, at least one.
    pub command: Vec<String>,
    /// What lies between the command and the expectation, with an empty first line.
    pub input: String,
    /// What the command must print; `None` if the file does not say yet.
    pub expected: Option<String>,
}

impl Filetest {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or that is no filetest, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, String> {
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let mut words = first.split_whitespace().map(String::from);
        if words.next().as_deref() != Some("test") {
            return Err("the first line must be: test <command>".into());
        }
        let command: Vec<String> = words.collect();
        if command.is_empty() {
            return Err("the first line names no command".into());
        }
        let (input, expected) = match rest.split_once(&format!("\n{EXPECT}\n")) {
            Some((input, expectation)) => (input, Some(uncomment(expectation)?)),
            None => (rest, None),
        };
        Ok(Self {
            path: path.to_path_buf(),
            command,
            input: format!("\n{}\n", input.trim_end()),
            expected,
            text,
        })
    }

    /// Compares `found` with the expectation, or rewrites the expectation if `UPDATE_EXPECT` is set.
    ///
    /// # Errors
    /// The lines in which the two differ.
    pub fn check(&self, found: &str) -> Result<(), String> {
        let found = found.trim_end();
        if self.expected.as_deref() == Some(found) {
            return Ok(());
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            return std::fs::write(&self.path, self.with_expectation(found))
                .map_err(|error| error.to_string());
        }
        match &self.expected {
            Some(expected) => Err(difference(expected, found)),
            None => Err(format!(
                "there is no expectation; UPDATE_EXPECT=1 writes this one:\n{found}"
            )),
        }
    }

    fn with_expectation(&self, found: &str) -> String {
        let kept = match self.text.split_once(&format!("\n{EXPECT}\n")) {
            Some((kept, _)) => kept,
            None => &self.text,
        };
        let mut text = format!("{}\n{EXPECT}\n", kept.trim_end());
        for line in found.lines() {
            text.push_str(format!("; {line}").trim_end());
            text.push('\n');
        }
        text
    }
}

fn uncomment(expectation: &str) -> Result<String, String> {
    let mut lines = Vec::new();
    for line in expectation.trim_end().lines() {
        let Some(line) = line.strip_prefix(';') else {
            return Err(format!("the expectation has a line without ';': {line}"));
        };
        lines.push(line.strip_prefix(' ').unwrap_or(line));
    }
    Ok(lines.join("\n"))
}

/// What lies between the common first and last lines.
fn difference(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let n_first = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[n_first..], &b[n_first..]);
    let n_last = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = format!(
        "the result differs from line {} of the expectation on",
        n_first + 1
    );
    for line in &a[..a.len() - n_last] {
        text.push_str(&format!("\n- {line}"));
    }
    for line in &b[..b.len() - n_last] {
        text.push_str(&format!("\n+ {line}"));
    }
    text
}

/// All `.cir` files below `dir`, sorted.
///
/// # Panics
/// When a folder cannot be read.
pub fn find(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = dir
        .read_dir()
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(find(&path));
        } else if path.extension().is_some_and(|extension| extension == "cir") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filetest, String> {
        Filetest::parse(Path::new("a.cir"), text.to_string())
    }

    #[test]
    fn parts_of_a_file() {
        let test = parse("test run level=all\nx\n; expect:\n; a\n;\n;  b\n").unwrap();
        assert_eq!(test.command, ["run", "level=all"]);
        assert_eq!(test.expected.as_deref(), Some("a\n\n b"));
        assert_eq!(test.input, "\nx\n");
        assert_eq!(parse("test parse\nx\n").unwrap().expected, None);
    }

    #[test]
    fn files_that_are_no_tests() {
        assert!(parse("graph @g").is_err());
        assert!(parse("test\n").is_err());
        assert!(parse("test parse\nx\n; expect:\na\n").is_err());
    }

    #[test]
    fn a_rewritten_expectation_is_read_back() {
        for text in ["test parse\nx\n", "test parse\nx\n; expect:\n; old\n"] {
            let text = parse(text).unwrap().with_expectation("a\n\n b");
            assert_eq!(text, "test parse\nx\n; expect:\n; a\n;\n;  b\n");
        }
    }

    #[test]
    fn only_lines_that_differ_are_shown() {
        let shown = difference("a\nb\nc\nd", "a\nx\nd");
        assert_eq!(
            shown,
            "the result differs from line 2 of the expectation on\n- b\n- c\n+ x"
        );
    }
}
