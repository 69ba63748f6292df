//! Links the code object and the data object into one relocatable object, as `ld -r` would.
//!
//! A code generator writes its own object, and the data is the same for all of them, so there are
//! two. In one object everything internal becomes a local symbol: an archive then defines nothing
//! but the model's entry points and its weights, leaves nothing open but libm, and two models
//! never meet by name in one program.

use crate::BackendError;
use object::read::elf::{ElfFile64, ElfSymbol64};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    BinaryFormat, Endianness, RelocationTarget, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};
use std::collections::{BTreeMap, BTreeSet};

type Input<'a> = ElfFile64<'a, Endianness>;
type ElfSymbol<'a, 'b> = ElfSymbol64<'a, 'b, Endianness>;

/// Merges 64-bit ELF objects of one target. Symbols with hidden visibility become local.
///
/// # Errors
/// [`BackendError::Format`] if an object is not one, or refers to itself in a way that only a real
/// linker understands. Always a bug of ours or of the code generator.
pub fn merge_objects(name: &str, objects: &[&[u8]]) -> Result<Vec<u8>, BackendError> {
    let format = |message: String| BackendError::Format {
        file: format!("{name}.o"),
        message,
    };
    let inputs: Vec<Input<'_>> = objects
        .iter()
        .map(|bytes| Input::parse(*bytes))
        .collect::<Result<_, _>>()
        .map_err(|e| format(e.to_string()))?;
    let first = inputs
        .first()
        .ok_or_else(|| format("nothing to merge".into()))?;
    let mut merged = Object::new(BinaryFormat::Elf, first.architecture(), Endianness::Little);
    merged.flags = first.flags();
    merged.add_file_symbol(name.as_bytes().to_vec());
    let mut merger = Merger {
        merged,
        by_name: BTreeMap::new(),
        sections: Vec::new(),
        globals: BTreeMap::new(),
    };
    for input in &inputs {
        merger
            .add_sections(input)
            .map_err(|e| format(e.to_string()))?;
    }
    // Definitions first, so that what one object leaves open finds what the other defines.
    let mut symbols = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        symbols.push(merger.add_definitions(number, input).map_err(format)?);
    }
    for (input, symbols) in inputs.iter().zip(&mut symbols) {
        merger.resolve(input, symbols).map_err(format)?;
    }
    for (number, (input, symbols)) in inputs.iter().zip(&symbols).enumerate() {
        merger
            .add_relocations(number, input, symbols)
            .map_err(format)?;
    }
    merger.merged.write().map_err(|e| format(e.to_string()))
}

struct Merger<'a> {
    merged: Object<'a>,
    by_name: BTreeMap<Vec<u8>, SectionId>,
    /// Where each section of each input went, by its index.
    sections: Vec<BTreeMap<usize, (SectionId, u64)>>,
    /// Symbols that inputs may name across each other.
    globals: BTreeMap<Vec<u8>, SymbolId>,
}

/// What the symbol of an index became, and what to add to addends that count from it.
type Symbols = BTreeMap<usize, (SymbolId, u64)>;

impl<'a> Merger<'a> {
    fn add_sections(&mut self, input: &Input<'a>) -> Result<(), object::Error> {
        let mut placed = BTreeMap::new();
        for section in input.sections() {
            if section.kind() == SectionKind::Metadata {
                continue;
            }
            let name = section.name_bytes()?.to_vec();
            let id = match self.by_name.get(&name) {
                Some(&id) => id,
                None => {
                    let id = self
                        .merged
                        .add_section(Vec::new(), name.clone(), section.kind());
                    self.by_name.insert(name, id);
                    id
                }
            };
            let align = section.align().max(1);
            let offset = self.merged.append_section_data(id, section.data()?, align);
            placed.insert(section.index().0, (id, offset));
        }
        self.sections.push(placed);
        Ok(())
    }

    /// Adds the symbols that input `number` defines.
    fn add_definitions(&mut self, number: usize, input: &Input<'a>) -> Result<Symbols, String> {
        let mut symbols = Symbols::new();
        for symbol in input.symbols() {
            let Some(section) = symbol.section_index() else {
                continue;
            };
            let Some(&(section, offset)) = self.sections[number].get(&section.0) else {
                continue;
            };
            if symbol.kind() == SymbolKind::Section {
                symbols.insert(
                    symbol.index().0,
                    (self.merged.section_symbol(section), offset),
                );
                continue;
            }
            let name = symbol.name_bytes().map_err(|e| e.to_string())?.to_vec();
            let scope = match symbol.scope() {
                SymbolScope::Dynamic => SymbolScope::Dynamic,
                _ => SymbolScope::Compilation,
            };
            let id = self.merged.add_symbol(Symbol {
                name: name.clone(),
                value: symbol.address() + offset,
                size: symbol.size(),
                // RISC-V relocations come in pairs that name a place in the code: no type in ELF.
                kind: match symbol.kind() {
                    SymbolKind::Unknown => SymbolKind::Label,
                    kind => kind,
                },
                scope,
                weak: symbol.is_weak(),
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
            symbols.insert(symbol.index().0, (id, 0));
            if symbol.is_global() && self.globals.insert(name.clone(), id).is_some() {
                return Err(format!(
                    "{} is defined twice",
                    String::from_utf8_lossy(&name)
                ));
            }
        }
        Ok(symbols)
    }

    /// Finds what `input` leaves open: in another input, or, like libm, in the final program.
    fn resolve(&mut self, input: &Input<'a>, symbols: &mut Symbols) -> Result<(), String> {
        // Code generators declare more than they use.
        let used: BTreeSet<usize> = input
            .sections()
            .flat_map(|section| section.relocations())
            .filter_map(|(_, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => Some(index.0),
                _ => None,
            })
            .collect();
        let is_open = |s: &ElfSymbol<'_, '_>| s.is_undefined() && used.contains(&s.index().0);
        for symbol in input.symbols().filter(is_open) {
            let name = symbol.name_bytes().map_err(|e| e.to_string())?.to_vec();
            let merged = &mut self.merged;
            let id = *self.globals.entry(name.clone()).or_insert_with(|| {
                merged.add_symbol(Symbol {
                    name,
                    value: 0,
                    size: 0,
                    kind: symbol.kind(),
                    scope: SymbolScope::Unknown,
                    weak: symbol.is_weak(),
                    section: SymbolSection::Undefined,
                    flags: SymbolFlags::None,
                })
            });
            symbols.insert(symbol.index().0, (id, 0));
        }
        Ok(())
    }

    fn add_relocations(
        &mut self,
        number: usize,
        input: &Input<'a>,
        symbols: &Symbols,
    ) -> Result<(), String> {
        for section in input.sections() {
            let Some(&(id, start)) = self.sections[number].get(&section.index().0) else {
                continue;
            };
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(target) = relocation.target() else {
                    return Err(format!("relocation without a symbol at {offset:#x}"));
                };
                let &(symbol, base) = symbols
                    .get(&target.0)
                    .ok_or_else(|| format!("relocation against symbol {}", target.0))?;
                let copy = Relocation {
                    offset: start + offset,
                    symbol,
                    addend: relocation.addend() + base as i64,
                    flags: relocation.flags(),
                };
                self.merged
                    .add_relocation(id, copy)
                    .map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Architecture, RelocationEncoding, RelocationFlags, RelocationKind};

    /// An object that defines `defines` with visibility `scope` and holds the address of `names`.
    fn object(defines: &str, scope: SymbolScope, names: &str) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = object.add_section(
            Vec::new(),
            b".data.rel.ro.t".to_vec(),
            SectionKind::ReadOnlyDataWithRel,
        );
        let offset = object.append_section_data(section, &[0; 8], 8);
        let symbol = |name: &str, scope, section| Symbol {
            name: name.as_bytes().to_vec(),
            value: 0,
            size: 8,
            kind: SymbolKind::Data,
            scope,
            weak: false,
            section,
            flags: SymbolFlags::None,
        };
        object.add_symbol(symbol(defines, scope, SymbolSection::Section(section)));
        let named = symbol(names, SymbolScope::Unknown, SymbolSection::Undefined);
        let named = object.add_symbol(named);
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Absolute,
            encoding: RelocationEncoding::Generic,
            size: 64,
        };
        let relocation = Relocation {
            offset,
            symbol: named,
            addend: 4,
            flags,
        };
        object.add_relocation(section, relocation).unwrap();
        object.write().unwrap()
    }

    #[test]
    fn what_one_defines_the_other_finds() {
        let a = object("visible", SymbolScope::Dynamic, "inner");
        let b = object("inner", SymbolScope::Linkage, "expf");
        let bytes = merge_objects("t", &[&a, &b]).unwrap();
        let merged = Input::parse(&*bytes).unwrap();
        let open: Vec<_> = merged
            .symbols()
            .filter(|s| s.is_undefined())
            .filter_map(|s| s.name().ok())
            .collect();
        assert_eq!(
            open.into_iter()
                .filter(|n| !n.is_empty())
                .collect::<Vec<_>>(),
            ["expf"]
        );
        let global: Vec<_> = merged
            .symbols()
            .filter(|s| s.is_global() && s.is_definition())
            .filter_map(|s| s.name().ok())
            .collect();
        assert_eq!(global, ["visible"]);
        let section = merged.section_by_name(".data.rel.ro.t").unwrap();
        assert_eq!(section.size(), 16);
        let relocations: Vec<_> = section
            .relocations()
            .map(|(at, r)| (at, r.addend()))
            .collect();
        assert_eq!(relocations, [(0, 4), (8, 4)]);
    }

    #[test]
    fn a_name_defined_twice_is_refused() {
        let a = object("inner", SymbolScope::Linkage, "x");
        assert!(merge_objects("t", &[&a, &a]).is_err());
    }

    #[test]
    fn garbage_is_refused() {
        assert!(merge_objects("t", &[b"no object"]).is_err());
        assert!(merge_objects("t", &[]).is_err());
    }
}
