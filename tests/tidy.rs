//! Rules of the repository that a reader would otherwise have to remember.

use harness::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files under version control with one of `extensions`.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(workspace::root())
        .output()
        .expect("git runs");
    String::from_utf8(output.stdout)
        .expect("paths are UTF-8")
        .lines()
        .map(PathBuf::from)
        .filter(|p| {
            p.extension()
                .is_some_and(|e| extensions.iter().any(|x| e == *x))
        })
        .collect()
}

fn read(path: &Path) -> String {
    let full = workspace::root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

#[test]
fn every_rust_file_opens_with_its_purpose() {
    let silent: Vec<PathBuf> = files(&["rs"])
        .into_iter()
        .filter(|path| !read(path).trim_start().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "files without a module doc: {silent:?}");
}

#[test]
fn files_stay_short() {
    /// Past this a file holds more than one concept.
    const MOST_LINES: usize = 700;
    let long: Vec<String> = files(&["rs", "py"])
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|&(_, n)| n > MOST_LINES)
        .map(|(path, n)| format!("{}: {n}", path.display()))
        .collect();
    assert!(long.is_empty(), "split by concept: {long:?}");
}

#[test]
fn no_file_is_a_drawer() {
    const DRAWERS: &[&str] = &["utils", "util", "helpers", "common", "misc"];
    let drawers: Vec<PathBuf> = files(&["rs", "py"])
        .into_iter()
        .filter(|p| {
            DRAWERS
                .iter()
                .any(|d| p.file_stem().is_some_and(|s| s == *d))
        })
        .collect();
    assert!(drawers.is_empty(), "name the concept: {drawers:?}");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for document in files(&["md"]) {
        let text = read(&document);
        let folder = document.parent().unwrap_or(Path::new(""));
        for piece in text.split("](").skip(1) {
            let Some(target) = piece.split(')').next() else {
                continue;
            };
            let target = target.split('#').next().unwrap_or("");
            let is_outside = target.contains("://") || target.starts_with("mailto:");
            if target.is_empty() || is_outside {
                continue;
            }
            if !workspace::root().join(folder).join(target).exists() {
                dead.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:?}");
}

/// Paths in backticks that name a source file or folder of this repository.
#[test]
fn paths_in_the_architecture_exist() {
    const TOPS: &[&str] = &[
        "backends/",
        "compiler/",
        "examples/",
        "ir/",
        "nest/",
        "passes/",
        "runtime/",
        "tests/",
    ];
    let text = read(Path::new("ARCHITECTURE.md"));
    let words = text.split(|c: char| c.is_whitespace() || "`(),".contains(c));
    let dead: Vec<&str> = words
        .filter(|w| TOPS.iter().any(|t| w.starts_with(t) && w.len() > t.len()))
        .filter(|w| !workspace::root().join(w).exists())
        .collect();
    assert!(dead.is_empty(), "paths that do not exist: {dead:?}");
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed: &[(&str, &[&str])] = &[
        ("ir", &[]),
        ("runtime", &[]),
        ("passes", &["condensec-ir"]),
        ("nest", &["condensec-ir"]),
        ("backends", &["condensec-ir", "condensec-runtime"]),
    ];
    for (name, may_use) in allowed {
        let manifest = read(&Path::new(name).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines().filter(|l| l.starts_with("condensec")) {
            let used = line.split(['.', ' ', '=']).next().unwrap_or("");
            assert!(may_use.contains(&used), "{name} may not use {used}");
        }
    }
}

#[test]
fn the_middle_of_the_compiler_does_no_io() {
    const DOORS: &[&str] = &[
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "SystemTime",
        "Instant",
    ];
    let mut found = Vec::new();
    for path in files(&["rs"]) {
        let is_inside = ["ir/src", "passes/src", "nest/src", "backends/src"]
            .iter()
            .any(|d| path.starts_with(d));
        if !is_inside {
            continue;
        }
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            if let Some(door) = DOORS.iter().find(|d| line.contains(**d)) {
                found.push(format!("{}: {door}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "no IO here: {found:?}");
}
