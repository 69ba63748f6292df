//! The data object: weights, indices, tables. The same bytes whatever back end compiled the code.
//!
//! It names kernels of the code object and is named by it with hidden visibility; `merge` then makes
//! one object of the two, where all that is local.
//!
//! On ELF: `.rodata.<name>_weights`, `.rodata.<name>_indices`, `.rodata.<name>_tables`, which a linker
//! script can place in flash by name; what holds addresses goes to `.data.rel.ro.<name>`, since a
//! position-independent program relocates it once at start and then write-protects it.

use crate::BackendError;
use crate::image::{Image, addresses};
use crate::targets::Target;
use condensec_ir::kernel::{Data, DataId, FunctionId, Section, Symbol};
use object::write::{Object, Relocation, SectionId, StandardSection, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, RelocationEncoding, RelocationFlags,
    RelocationKind, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use target_lexicon::Architecture as LexiconArchitecture;

/// Writes the data object of `image`.
///
/// # Errors
/// [`BackendError::TooLarge`] if the data exceeds the address space, [`BackendError::Format`] if the
/// object cannot be written.
pub fn write_data_object(image: &Image<'_>, target: &Target) -> Result<Vec<u8>, BackendError> {
    let total: u64 = image.data().map(|d| d.bytes.len() as u64).sum();
    if target.pointer_bytes() == 4 && total > u64::from(u32::MAX) {
        let what = "the weights and tables";
        return Err(BackendError::TooLarge {
            what,
            bytes: total,
            target: target.name(),
        });
    }
    let file = format!("{}_data.o", image.name);
    let format = |message: String| BackendError::Format {
        file: file.clone(),
        message,
    };
    let mut writer = Writer::new(image, target)?;
    writer.add_weights_symbol();
    for (i, data) in image.data().enumerate() {
        writer.add_data(DataId(i as u32), data);
    }
    for (i, data) in image.data().enumerate() {
        writer
            .add_relocations(DataId(i as u32), data, target.pointer_bytes())
            .map_err(format)?;
    }
    writer
        .object
        .write()
        .map_err(|error| format(error.to_string()))
}

struct Writer<'a> {
    image: &'a Image<'a>,
    object: Object<'static>,
    /// Section by name, in order of first use.
    sections: BTreeMap<String, SectionId>,
    /// Symbol, section and offset of every data object so far.
    placed: Vec<(SymbolId, SectionId, u64)>,
    functions: BTreeMap<u32, SymbolId>,
    /// Data that code takes the address of.
    named_by_code: BTreeSet<u32>,
}

impl<'a> Writer<'a> {
    fn new(image: &'a Image<'a>, target: &Target) -> Result<Self, BackendError> {
        let mut object = empty_object(target)?;
        object.add_file_symbol(format!("{}_data", image.name).into_bytes());
        let named_by_code = image
            .functions
            .iter()
            .flat_map(|f| addresses(&f.body))
            .filter_map(|symbol| match symbol {
                Symbol::Data(DataId(id), _) => Some(id),
                Symbol::Function(_) => None,
            })
            .collect();
        Ok(Self {
            image,
            object,
            sections: BTreeMap::new(),
            placed: Vec::new(),
            functions: BTreeMap::new(),
            named_by_code,
        })
    }

    /// `<name>_weights`: the one buffer, which starts with the first weight and ends with the last.
    fn add_weights_symbol(&mut self) {
        let name = format!("{}_weights", self.image.name);
        let weights = || {
            self.image
                .program_data
                .iter()
                .filter(|d| d.section == Section::Weights)
        };
        if weights().next().is_none() || weights().any(|d| d.is_exported && d.name == name) {
            return;
        }
        let size = weights().fold(0u64, |end, d| {
            end.next_multiple_of(d.align) + d.bytes.len() as u64
        });
        let section = self.section(Section::Weights, false);
        self.object.add_symbol(object::write::Symbol {
            name: name.into_bytes(),
            value: 0,
            size,
            kind: SymbolKind::Data,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }

    fn section(&mut self, section: Section, has_addresses: bool) -> SectionId {
        let name = self.image.name;
        let suffix = match section {
            Section::Weights => "weights",
            Section::Indices => "indices",
            Section::Tables => "tables",
        };
        let (full_name, kind, standard) = if has_addresses {
            let standard = StandardSection::ReadOnlyDataWithRel;
            (
                format!(".data.rel.ro.{name}"),
                SectionKind::ReadOnlyDataWithRel,
                standard,
            )
        } else {
            let standard = StandardSection::ReadOnlyData;
            (
                format!(".rodata.{name}_{suffix}"),
                SectionKind::ReadOnlyData,
                standard,
            )
        };
        if let Some(&id) = self.sections.get(&full_name) {
            return id;
        }
        let id = match self.object.format() {
            BinaryFormat::Elf => {
                self.object
                    .add_section(Vec::new(), full_name.clone().into_bytes(), kind)
            }
            // Mach-O limits names to 16 bytes and COFF groups by `$`: the usual sections will do.
            _ => self.object.section_id(standard),
        };
        self.sections.insert(full_name, id);
        id
    }

    fn add_data(&mut self, id: DataId, data: &Data) {
        let section = self.section(data.section, !data.relocations.is_empty());
        let offset = self
            .object
            .append_section_data(section, &data.bytes, data.align);
        let scope = match data.is_exported {
            true => SymbolScope::Dynamic,
            false if self.named_by_code.contains(&id.0) => SymbolScope::Linkage,
            false => SymbolScope::Compilation,
        };
        let symbol = self.object.add_symbol(object::write::Symbol {
            name: self.image.data_symbols[id.0 as usize].clone().into_bytes(),
            value: offset,
            size: data.bytes.len() as u64,
            kind: SymbolKind::Data,
            scope,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        self.placed.push((symbol, section, offset));
    }

    fn function(&mut self, FunctionId(id): FunctionId) -> SymbolId {
        if let Some(&symbol) = self.functions.get(&id) {
            return symbol;
        }
        let function = &self.image.functions[id as usize];
        let symbol = self.object.add_symbol(object::write::Symbol {
            name: function.name.clone().into_bytes(),
            value: 0,
            size: 0,
            kind: SymbolKind::Text,
            scope: match function.is_exported {
                true => SymbolScope::Unknown,
                false => SymbolScope::Linkage,
            },
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.functions.insert(id, symbol);
        symbol
    }

    fn add_relocations(
        &mut self,
        DataId(id): DataId,
        data: &Data,
        pointer_bytes: usize,
    ) -> Result<(), String> {
        let (_, section, start) = self.placed[id as usize];
        for relocation in &data.relocations {
            let (symbol, addend) = match relocation.target {
                Symbol::Function(function) => (self.function(function), 0),
                Symbol::Data(DataId(target), offset) => {
                    (self.placed[target as usize].0, offset as i64)
                }
            };
            let flags = RelocationFlags::Generic {
                kind: RelocationKind::Absolute,
                encoding: RelocationEncoding::Generic,
                size: 8 * pointer_bytes as u8,
            };
            let offset = start + relocation.offset;
            self.object
                .add_relocation(
                    section,
                    Relocation {
                        offset,
                        symbol,
                        addend,
                        flags,
                    },
                )
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// An object file for `target` with nothing in it.
fn empty_object(target: &Target) -> Result<Object<'static>, BackendError> {
    let triple = target.lexicon();
    let format = match triple.binary_format {
        target_lexicon::BinaryFormat::Coff => BinaryFormat::Coff,
        target_lexicon::BinaryFormat::Macho => BinaryFormat::MachO,
        _ => BinaryFormat::Elf,
    };
    let mut flags = FileFlags::None;
    let architecture = match triple.architecture {
        LexiconArchitecture::Aarch64(_) => Architecture::Aarch64,
        LexiconArchitecture::Arm(_) => Architecture::Arm,
        LexiconArchitecture::X86_64 => Architecture::X86_64,
        LexiconArchitecture::Riscv32(_) | LexiconArchitecture::Riscv64(_) => {
            // The linker refuses to mix float ABIs.
            let compressed = if target.has("c") {
                elf::EF_RISCV_RVC
            } else {
                0
            };
            let e_flags = elf::EF_RISCV_FLOAT_ABI_DOUBLE | compressed;
            flags = FileFlags::Elf {
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                e_flags,
            };
            match target.pointer_bytes() {
                4 => Architecture::Riscv32,
                _ => Architecture::Riscv64,
            }
        }
        other => {
            let message = format!("no object format for architecture {other}");
            return Err(BackendError::Format {
                file: "data object".into(),
                message,
            });
        }
    };
    let mut object = Object::new(format, architecture, Endianness::Little);
    object.flags = flags;
    if format == BinaryFormat::Elf {
        // Without it, linkers assume that the object wants an executable stack.
        object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Linker);
    }
    Ok(object)
}
