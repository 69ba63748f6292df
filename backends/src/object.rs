//! The data object: weights, indices, tables. The same bytes whatever back end compiled the code.
//!
//! It names kernels of the code object and is named by it with hidden visibility; on ELF, `merge` then
//! makes one object of the two, where all that is local.
//!
//! | | ELF | Mach-O | COFF |
//! |---|---|---|---|
//! | weights | `.rodata.<name>_weights` | `__TEXT,__cnd_weights` | `.rdata$<name>_weights` |
//! | indices | `.rodata.<name>_indices` | `__TEXT,__cnd_indices` | `.rdata$<name>_indices` |
//! | tables | `.rodata.<name>_tables` | `__TEXT,__cnd_tables` | `.rdata$<name>_tables` |
//! | tables with addresses | `.data.rel.ro.<name>` | `__DATA,__const` | `.rdata$<name>_tables` |
//!
//! A linker script can place the ELF sections in flash by name. What holds addresses is apart where a
//! position-independent program relocates it once at start and then write-protects it. Without an
//! operating system nobody does that: addresses are known when the program is linked, so everything is
//! in `.rodata` there and nothing takes up RAM.

use crate::BackendError;
use crate::image::{Image, named_data};
use crate::targets::Target;
use condensec_ir::kernel::{Data, DataId, FunctionId, Section, Symbol};
use object::write::{MachOBuildVersion, Object, Relocation, SectionId, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, RelocationEncoding, RelocationFlags,
    RelocationKind, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf, macho,
};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use target_lexicon::{Architecture as LexiconArchitecture, OperatingSystem};

/// Writes the data object of `image`.
///
/// # Errors
/// [`BackendError::Format`] if the object cannot be written.
pub fn write_data_object(image: &Image<'_>, target: &Target) -> Result<Vec<u8>, BackendError> {
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
    /// Whether nobody writes addresses into the program when it starts.
    is_bare_metal: bool,
    /// By segment and name.
    sections: BTreeMap<(&'static str, String), SectionId>,
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
        Ok(Self {
            image,
            object,
            is_bare_metal: target.is_bare_metal(),
            sections: BTreeMap::new(),
            placed: Vec::new(),
            functions: BTreeMap::new(),
            named_by_code: named_data(&image.functions),
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
        let format = self.object.format();
        let is_relocated = has_addresses && !self.is_bare_metal && format != BinaryFormat::Coff;
        let (segment, full_name) = match format {
            BinaryFormat::MachO if is_relocated => ("__DATA", "__const".into()),
            // A name has at most 16 bytes.
            BinaryFormat::MachO => ("__TEXT", format!("__cnd_{suffix}")),
            // What follows `$` groups what the linker puts into `.rdata`.
            BinaryFormat::Coff => ("", format!(".rdata${name}_{suffix}")),
            _ if is_relocated => ("", format!(".data.rel.ro.{name}")),
            _ => ("", format!(".rodata.{name}_{suffix}")),
        };
        let kind = match is_relocated {
            true => SectionKind::ReadOnlyDataWithRel,
            false => SectionKind::ReadOnlyData,
        };
        let object = &mut self.object;
        *self
            .sections
            .entry((segment, full_name))
            .or_insert_with_key(|(segment, name)| {
                object.add_section(segment.as_bytes().to_vec(), name.clone().into_bytes(), kind)
            })
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
    let format = match target.binary_format() {
        target_lexicon::BinaryFormat::Coff => BinaryFormat::Coff,
        target_lexicon::BinaryFormat::Macho => BinaryFormat::MachO,
        _ => BinaryFormat::Elf,
    };
    // Linkers refuse to mix calling conventions that they can tell apart.
    let (architecture, e_flags) = match triple.architecture {
        LexiconArchitecture::Aarch64(_) => (Architecture::Aarch64, 0),
        // Whether floats are in registers stands in the attributes of the code object.
        LexiconArchitecture::Arm(_) => (Architecture::Arm, elf::EF_ARM_EABI_VER5),
        LexiconArchitecture::X86_64 => (Architecture::X86_64, 0),
        LexiconArchitecture::Riscv64(_) => {
            let compressed = match target.has("c") {
                true => elf::EF_RISCV_RVC,
                false => 0,
            };
            let e_flags = elf::EF_RISCV_FLOAT_ABI_DOUBLE | compressed;
            (Architecture::Riscv64, e_flags)
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
    if format == BinaryFormat::Elf {
        object.flags = FileFlags::Elf {
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            e_flags,
        };
    }
    if let OperatingSystem::MacOSX(Some(oldest)) = triple.operating_system {
        // Without it, linkers warn that they cannot tell macOS from iOS.
        let mut version = MachOBuildVersion::default();
        version.platform = macho::PLATFORM_MACOS;
        version.minos = u32::from(oldest.major) << 16 | u32::from(oldest.minor) << 8;
        object.set_macho_build_version(version);
    }
    Ok(object)
}
