//! How diagnostics reach the user: rustc-like text, coloured on a terminal, or one JSON object per line.
//!
//! A diagnostic itself is plain data ([`Diagnostic`]) that any stage may make; only this file knows what it looks
//! like. Both forms go to standard error, so that standard output holds nothing but results.

use std::fmt::Write as _;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use condensec_ir::{Diagnostic, Severity};
use serde_json::json;

/// Why a command stopped: everything that is wrong with the user's input, at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub Vec<Diagnostic>);

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Failure {
        Failure(vec![diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(diagnostics: Vec<Diagnostic>) -> Failure {
        Failure(diagnostics)
    }
}

/// The form that diagnostics take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people; colours where standard error is a terminal that wants them.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// Writes a diagnostic to standard error.
pub fn emit(diagnostic: &Diagnostic, form: Form) {
    let text = match form {
        Form::Text => render_text(diagnostic),
        Form::Json => render_json(diagnostic),
    };
    // When standard error is closed there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The coloured text; without its escape sequences it is the diagnostic's `Display`.
pub fn render_text(diagnostic: &Diagnostic) -> String {
    let bold = Style::new().bold();
    let colour = match diagnostic.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::Cyan,
    };
    let head = bold.fg_color(Some(colour.into()));
    let margin = bold.fg_color(Some(AnsiColor::Blue.into()));
    let Diagnostic {
        severity,
        code,
        message,
        ..
    } = diagnostic;

    let mut text = format!("{head}{severity}[{code}]{head:#}{bold}: {message}{bold:#}");
    let at = diagnostic.at.to_string();
    if !at.is_empty() {
        put(&mut text, format_args!("\n  {margin}-->{margin:#} {at}"));
    }
    for note in &diagnostic.notes {
        put(
            &mut text,
            format_args!("\n  {margin}={margin:#} {bold}note{bold:#}: {note}"),
        );
    }
    if let Some(help) = &diagnostic.help {
        put(
            &mut text,
            format_args!("\n  {margin}={margin:#} {bold}help{bold:#}: {help}"),
        );
    }
    text
}

/// One line of JSON. The first seven keys are documented; what is unknown is `null`.
pub fn render_json(diagnostic: &Diagnostic) -> String {
    let at = &diagnostic.at;
    json!({
        "severity": diagnostic.severity.to_string(),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "node": at.node,
        "tensor": at.tensor,
        "notes": diagnostic.notes,
        "help": diagnostic.help,
        "op": at.op_type,
        "index": at.index,
        "file": at.file,
        "line": at.position.map(|(line, _)| line),
        "column": at.position.map(|(_, column)| column),
    })
    .to_string()
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        Diagnostic::error("mask-not-nested", "L1 drops 17 weights that L0 keeps")
            .at_file("net.onnx")
            .at_node("layer2.0.conv1", "Conv")
            .at_tensor("conv1.weight")
            .at_index(&[12, 3, 1, 1])
            .with_note("levels share one weight buffer")
            .with_help("export cumulative masks")
    }

    #[test]
    fn without_colours_the_text_is_the_plain_one() {
        for diagnostic in [
            sample(),
            Diagnostic::note("n", "x"),
            Diagnostic::warning("w", "y"),
        ] {
            let coloured = render_text(&diagnostic);
            assert!(coloured.contains('\x1b'));
            let plain = anstream::adapter::strip_str(&coloured).to_string();
            assert_eq!(plain, diagnostic.to_string());
        }
    }

    #[test]
    fn json_has_every_documented_key_on_one_line() {
        let line = render_json(&sample());
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["severity"], "error");
        assert_eq!(value["code"], "mask-not-nested");
        assert_eq!(value["node"], "layer2.0.conv1");
        assert_eq!(value["tensor"], "conv1.weight");
        assert_eq!(value["index"], json!([12, 3, 1, 1]));
        assert_eq!(value["notes"], json!(["levels share one weight buffer"]));
        assert_eq!(value["help"], "export cumulative masks");
        assert!(value["line"].is_null());
    }
}
