//! Links the code object and the data object into one relocatable object, as `ld -r` would. ELF only.
//!
//! A code generator writes its own object, and the data is the same for all of them, so there are
//! two. In one object everything internal becomes a local symbol: an archive then defines nothing
//! but the model's entry points and its weights, leaves nothing open but libm, and two models
//! never meet by name in one program.
//!
//! Every section stays one of its own, also where both objects have one of that name. So no offset
//! changes, and neither does an addend that 32-bit Arm keeps in the very bytes to be relocated.
//!
//! Mach-O and COFF libraries have the two objects as two members instead. A Mach-O linker cuts
//! sections at symbols and relocates by pairs of records; COFF objects have no hidden symbols that
//! would become local. What merging is for they have by other means: the name of the model in front
//! of every internal name, and private external symbols in Mach-O.

use crate::BackendError;
use crate::targets::Target;
use object::read::{File, Object as _, ObjectSection as _, ObjectSymbol as _};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    BinaryFormat, Endianness, RelocationTarget, SectionFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};
use std::collections::{BTreeMap, BTreeSet};

/// Merges ELF objects of one target. Symbols with hidden visibility become local.
///
/// # Errors
/// [`BackendError::Format`] if an object is not one, or refers to itself in a way that only a real
/// linker understands. Always a bug of ours or of the code generator.
pub fn merge_objects(
    name: &str,
    target: &Target,
    objects: &[&[u8]],
) -> Result<Vec<u8>, BackendError> {
    let format = |message: String| BackendError::Format {
        file: format!("{name}.o"),
        message,
    };
    let inputs: Vec<File<'_>> = objects
        .iter()
        .map(|bytes| File::parse(*bytes))
        .collect::<Result<_, _>>()
        .map_err(|e| format(e.to_string()))?;
    let first = inputs
        .first()
        .ok_or_else(|| format("nothing to merge".into()))?;
    if let Some(other) = inputs.iter().find(|i| {
        i.format() != BinaryFormat::Elf
            || i.architecture() != first.architecture()
            || i.is_64() != first.is_64()
    }) {
        let (format_, architecture) = (other.format(), other.architecture());
        return Err(format(format!(
            "{format_:?} object for {architecture:?} among ELF objects for {:?}",
            first.architecture()
        )));
    }
    let mut merged = Object::new(BinaryFormat::Elf, first.architecture(), Endianness::Little);
    // The code generator's, which knows its calling convention.
    merged.flags = first.flags();
    merged.add_file_symbol(name.as_bytes().to_vec());
    // As soon as one object has the note, linkers warn of those that do not, such as the start-up code
    // of a microcontroller, whose compiler never writes it.
    if !target.is_bare_metal() {
        merged.add_section(Vec::new(), STACK_NOTE.to_vec(), SectionKind::Linker);
    }
    let mut merger = Merger {
        merged,
        sections: Vec::new(),
        globals: BTreeMap::new(),
    };
    for input in &inputs {
        merger.add_sections(input).map_err(format)?;
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
    /// What each section of each input became, by its index.
    sections: Vec<BTreeMap<usize, SectionId>>,
    /// Symbols that inputs may name across each other.
    globals: BTreeMap<Vec<u8>, SymbolId>,
}

/// What the symbol of an index became.
type Symbols = BTreeMap<usize, SymbolId>;

/// An empty section that says that the stack need not be executable.
const STACK_NOTE: &[u8] = b".note.GNU-stack";

impl<'a> Merger<'a> {
    fn add_sections(&mut self, input: &File<'a>) -> Result<(), String> {
        let error = |e: object::Error| e.to_string();
        let mut placed = BTreeMap::new();
        for section in input.sections() {
            let name = section.name_bytes().map_err(error)?;
            if name == STACK_NOTE || !can_be_copied(section.kind(), section.flags()) {
                continue;
            }
            if section.kind() == SectionKind::UninitializedData {
                // Assemblers always make one.
                if section.size() == 0 {
                    continue;
                }
                let name = String::from_utf8_lossy(name);
                return Err(format!("{name} is writable"));
            }
            let merged = &mut self.merged;
            let id = merged.add_section(Vec::new(), name.to_vec(), section.kind());
            *merged.section_flags_mut(id) = copied_flags(section.flags());
            let data = section.data().map_err(error)?;
            merged.set_section_data(id, data, section.align().max(1));
            placed.insert(section.index().0, id);
        }
        self.sections.push(placed);
        Ok(())
    }

    /// Adds the symbols that input `number` defines.
    fn add_definitions(&mut self, number: usize, input: &File<'a>) -> Result<Symbols, String> {
        let mut symbols = Symbols::new();
        for symbol in input.symbols() {
            let Some(section) = symbol.section_index() else {
                continue;
            };
            let Some(&section) = self.sections[number].get(&section.0) else {
                continue;
            };
            if symbol.kind() == SymbolKind::Section {
                symbols.insert(symbol.index().0, self.merged.section_symbol(section));
                continue;
            }
            let name = symbol.name_bytes().map_err(|e| e.to_string())?.to_vec();
            let scope = match symbol.scope() {
                SymbolScope::Dynamic => SymbolScope::Dynamic,
                _ => SymbolScope::Compilation,
            };
            let id = self.merged.add_symbol(Symbol {
                name: name.clone(),
                // Odd for a Thumb function; linkers know by that how to call it.
                value: symbol.address(),
                size: symbol.size(),
                // Places in the code that a relocation names (RISC-V), or where code becomes data
                // (Arm): no type in ELF.
                kind: match symbol.kind() {
                    SymbolKind::Unknown => SymbolKind::Label,
                    kind => kind,
                },
                scope,
                weak: symbol.is_weak(),
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
            symbols.insert(symbol.index().0, id);
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
    fn resolve(&mut self, input: &File<'a>, symbols: &mut Symbols) -> Result<(), String> {
        // Code generators declare more than they use.
        let used: BTreeSet<usize> = input
            .sections()
            .filter(|section| can_be_copied(section.kind(), section.flags()))
            .flat_map(|section| section.relocations())
            .filter_map(|(_, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => Some(index.0),
                _ => None,
            })
            .collect();
        for symbol in input.symbols() {
            if !symbol.is_undefined() || !used.contains(&symbol.index().0) {
                continue;
            }
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
            symbols.insert(symbol.index().0, id);
        }
        Ok(())
    }

    fn add_relocations(
        &mut self,
        number: usize,
        input: &File<'a>,
        symbols: &Symbols,
    ) -> Result<(), String> {
        for section in input.sections() {
            let Some(&id) = self.sections[number].get(&section.index().0) else {
                continue;
            };
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(target) = relocation.target() else {
                    return Err(format!("relocation without a symbol at {offset:#x}"));
                };
                let &symbol = symbols
                    .get(&target.0)
                    .ok_or_else(|| format!("relocation against symbol {}", target.0))?;
                let copy = Relocation {
                    offset,
                    symbol,
                    // Zero where the addend is in the section's bytes, which stay as they are.
                    addend: relocation.addend(),
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

/// Whether a section means the same in another object. Those that belong to another section or list
/// symbols by number do not. Of these, code generators write Arm's unwind tables, whose place
/// linkers fill with "cannot be unwound", which is what they say of a kernel anyway.
fn can_be_copied(kind: SectionKind, flags: SectionFlags) -> bool {
    let belongs_to_another = matches!(flags, SectionFlags::Elf { sh_flags }
        if sh_flags & u64::from(elf::SHF_LINK_ORDER) != 0);
    let lists_symbols = kind == SectionKind::Elf(SHT_LLVM_ADDRSIG);
    kind != SectionKind::Metadata && !belongs_to_another && !lists_symbols
}

/// LLVM's list of symbols whose address matters.
const SHT_LLVM_ADDRSIG: u32 = 0x6fff_4c03;

/// Without those that need more than a flag: constants to be merged have a size, groups a section
/// that lists their members.
fn copied_flags(flags: SectionFlags) -> SectionFlags {
    let dropped = elf::SHF_MERGE | elf::SHF_STRINGS | elf::SHF_GROUP;
    match flags {
        SectionFlags::Elf { sh_flags } => SectionFlags::Elf {
            sh_flags: sh_flags & !u64::from(dropped),
        },
        flags => flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Architecture, FileFlags, RelocationEncoding, RelocationFlags, RelocationKind};

    fn linux() -> Target {
        crate::targets::resolve("aarch64", None, &[] as &[&str]).unwrap()
    }

    /// What 32-bit Arm objects say of their calling convention.
    const ATTRIBUTES: &[u8] = b"A\x0f\0\0\0aeabi\0\x01\x05\0\0\0";

    /// An object that defines `defines` with visibility `scope` and holds the address of `names`.
    fn object(
        architecture: Architecture,
        defines: &str,
        scope: SymbolScope,
        names: &str,
    ) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
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
        let size = 8 * architecture.address_size().unwrap() as u8;
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Absolute,
            encoding: RelocationEncoding::Generic,
            size,
        };
        let relocation = Relocation {
            offset,
            symbol: named,
            addend: 4,
            flags,
        };
        object.add_relocation(section, relocation).unwrap();
        if architecture == Architecture::Arm {
            object.flags = FileFlags::Elf {
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                e_flags: elf::EF_ARM_EABI_VER5,
            };
            let attributes = SectionKind::Elf(elf::SHT_ARM_ATTRIBUTES);
            let attributes =
                object.add_section(Vec::new(), b".ARM.attributes".to_vec(), attributes);
            object.set_section_data(attributes, ATTRIBUTES, 1);
            let unwind = SectionKind::Elf(elf::SHT_ARM_EXIDX);
            let unwind = object.add_section(Vec::new(), b".ARM.exidx".to_vec(), unwind);
            object.set_section_data(unwind, vec![0; 8], 4);
            *object.section_flags_mut(unwind) = SectionFlags::Elf {
                sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_LINK_ORDER),
            };
        }
        object.write().unwrap()
    }

    fn names<'a>(symbols: impl Iterator<Item = object::Symbol<'a, 'a>>) -> Vec<&'a str> {
        let names = symbols.filter_map(|s| s.name().ok());
        names.filter(|name| !name.is_empty()).collect()
    }

    #[test]
    fn what_one_defines_the_other_finds() {
        for architecture in [Architecture::X86_64, Architecture::Arm] {
            let a = object(architecture, "visible", SymbolScope::Dynamic, "inner");
            let b = object(architecture, "inner", SymbolScope::Linkage, "expf");
            let bytes = merge_objects("t", &linux(), &[&a, &b]).unwrap();
            let merged = File::parse(&*bytes).unwrap();
            let symbols = || merged.symbols();
            assert_eq!(names(symbols().filter(|s| s.is_undefined())), ["expf"]);
            let global = symbols().filter(|s| s.is_global() && s.is_definition());
            assert_eq!(names(global), ["visible"]);
            // One section of each object, with an addend each, in the entry or in the bytes.
            let sections = merged.sections();
            let sections = sections.filter(|s| s.name() == Ok(".data.rel.ro.t"));
            let mut targets = Vec::new();
            for section in sections {
                let (at, relocation) = section.relocations().next().unwrap();
                let in_place = section.data().unwrap()[..4].try_into().unwrap();
                assert_eq!(at, 0);
                assert_eq!(
                    relocation.addend() + i64::from(i32::from_le_bytes(in_place)),
                    4
                );
                assert_eq!(
                    relocation.has_implicit_addend(),
                    architecture == Architecture::Arm
                );
                let RelocationTarget::Symbol(target) = relocation.target() else {
                    panic!("{relocation:?}");
                };
                targets.push(merged.symbol_by_index(target).unwrap().name().unwrap());
            }
            assert_eq!(targets, ["inner", "expf"]);
        }
    }

    #[test]
    fn the_calling_convention_of_arm_stays_and_its_unwind_tables_go() {
        let a = object(Architecture::Arm, "a", SymbolScope::Dynamic, "b");
        let bytes = merge_objects("t", &linux(), &[&a]).unwrap();
        let merged = File::parse(&*bytes).unwrap();
        let FileFlags::Elf { e_flags, .. } = merged.flags() else {
            panic!()
        };
        assert_eq!(e_flags, elf::EF_ARM_EABI_VER5);
        let attributes = merged.section_by_name(".ARM.attributes").unwrap();
        assert_eq!(attributes.data().unwrap(), ATTRIBUTES);
        assert_eq!(attributes.kind(), SectionKind::Elf(elf::SHT_ARM_ATTRIBUTES));
        assert!(merged.section_by_name(".ARM.exidx").is_none());
    }

    #[test]
    fn a_name_defined_twice_is_refused() {
        let a = object(Architecture::X86_64, "inner", SymbolScope::Linkage, "x");
        assert!(merge_objects("t", &linux(), &[&a, &a]).is_err());
    }

    #[test]
    fn garbage_and_other_machines_are_refused() {
        assert!(merge_objects("t", &linux(), &[b"no object"]).is_err());
        assert!(merge_objects("t", &linux(), &[]).is_err());
        let [a, b] = [Architecture::X86_64, Architecture::Aarch64]
            .map(|machine| object(machine, "inner", SymbolScope::Linkage, "x"));
        let error = merge_objects("t", &linux(), &[&a, &b])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "writing t.o: Elf object for Aarch64 among ELF objects for X86_64"
        );
    }
}
