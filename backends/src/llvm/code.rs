//! What the rest of the compiler wants to know of LLVM's output, read back from it.

use super::error;
use crate::{BackendError, CodeUnit};
use object::SectionKind;
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::collections::BTreeMap;

/// Facts about an object file.
pub(super) struct CodeFacts {
    /// Bytes of machine code and of constants among it.
    pub code_bytes: u64,
    /// Size of each function, in the order of [`CodeUnit::functions`].
    pub function_bytes: Vec<u64>,
    /// Functions that it leaves open, sorted.
    pub libm_calls: Vec<String>,
}

/// Reads `bytes`, the object of `unit`.
pub(super) fn read(bytes: &[u8], unit: CodeUnit<'_>) -> Result<CodeFacts, BackendError> {
    let file = object::File::parse(bytes).map_err(|e| error(e.to_string()))?;
    let is_code = |kind| {
        matches!(
            kind,
            SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString
        )
    };
    let code_bytes = file
        .sections()
        .filter(|s| is_code(s.kind()))
        .map(|s| s.size())
        .sum();
    // Mach-O puts an underscore before every name.
    let plain = |name: &str| match file.format() {
        object::BinaryFormat::MachO => name.strip_prefix('_').unwrap_or(name).to_string(),
        _ => name.to_string(),
    };
    let mut starts: Vec<(usize, u64, String)> = Vec::new();
    let mut open = Vec::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        match symbol.section_index() {
            Some(section) => starts.push((section.0, symbol.address(), plain(name))),
            None if symbol.is_undefined() && !name.is_empty() => open.push(plain(name)),
            None => {}
        }
    }
    starts.sort();
    let mut sizes = BTreeMap::new();
    for (at, (section, address, name)) in starts.iter().enumerate() {
        let end_of_section = || {
            let section = file.section_by_index(object::SectionIndex(*section));
            section.map_or(*address, |s| s.address() + s.size())
        };
        let next = starts[at + 1..]
            .iter()
            .find(|(other, start, _)| other == section && start > address)
            .map_or_else(end_of_section, |(_, start, _)| *start);
        sizes.insert(name.as_str(), next - address);
    }
    let function_bytes = unit
        .functions
        .iter()
        .map(|f| sizes.get(f.name.as_str()).copied().unwrap_or(0))
        .collect();
    open.retain(|name| !unit.data_symbols.contains(name));
    open.sort();
    open.dedup();
    Ok(CodeFacts {
        code_bytes,
        function_bytes,
        libm_calls: open,
    })
}

/// Cuts the assembly of a module into its functions, in the order of [`CodeUnit::functions`].
pub(super) fn split_assembly(text: &str, unit: CodeUnit<'_>) -> Vec<String> {
    let mut parts: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let label = line
            .split_once(':')
            .map(|(label, _)| label.trim_matches('"'));
        let function = label.and_then(|label| {
            unit.functions
                .iter()
                .find(|f| f.name == label || label.strip_prefix('_') == Some(&f.name))
        });
        if let Some(function) = function {
            current = Some(function.name.as_str());
            continue;
        }
        // The end of a function in ELF; other formats go on to the next label.
        if line.trim_start().starts_with(".Lfunc_end") {
            current = None;
        }
        if let Some(name) = current {
            let part = parts.entry(name).or_default();
            part.push_str(line);
            part.push('\n');
        }
    }
    unit.functions
        .iter()
        .map(|f| parts.remove(f.name.as_str()).unwrap_or_default())
        .collect()
}
