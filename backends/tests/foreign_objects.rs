//! Objects of every target, with code by the target's C compiler: they merge with our data, link, run.

use crate::support::c_code::{CCompiler, expected, program};
use crate::support::run_on::{c_compiler, emulate, every_cpu, title};
use condensec_backends::{Library, LibraryOptions, Target, build_library, targets};
use object::read::{File, Object, ObjectSection, ObjectSymbol};
use object::{FileFlags, SectionKind, elf};
use std::collections::BTreeSet;
use target_lexicon::BinaryFormat;

/// The library of the one program, or none where there is no compiler.
fn build(target: &Target) -> Option<Library> {
    let compiler = CCompiler {
        path: c_compiler(target)?,
    };
    let program = program(target.pointer_bytes());
    let options = LibraryOptions::default();
    Some(build_library(&program, target, &compiler, &options).unwrap())
}

/// One target of each name.
fn every_target() -> Vec<Target> {
    let targets = targets::TARGETS.iter();
    targets
        .map(|t| targets::resolve(t.name, None, &[] as &[&str]).unwrap())
        .collect()
}

fn is_visible<'a>(symbol: &impl ObjectSymbol<'a>) -> bool {
    symbol.is_definition() && symbol.is_global()
}

#[test]
fn they_run() {
    // The CPU changes C code for microcontrollers only, where it is an option of the compiler.
    let microcontrollers = every_cpu().into_iter().filter(Target::is_bare_metal);
    let others = every_target().into_iter().filter(|t| !t.is_bare_metal());
    for target in microcontrollers.chain(others) {
        for level in [0, 1] {
            let x = [1.0, 10.0, 2.5];
            let library = || build(&target).unwrap();
            let Some(results) = emulate(&target, library, level, &[&x]) else {
                break;
            };
            let expected = expected(x, level as usize);
            assert_eq!(results, [expected], "{}", title(&target));
        }
    }
}

#[test]
fn elf_libraries_show_the_interface_only() {
    let elf = every_cpu();
    for target in elf
        .iter()
        .filter(|t| t.binary_format() == BinaryFormat::Elf)
    {
        let Some(library) = build(target) else {
            continue;
        };
        let context = title(target);
        let [object] = &library.objects[..] else {
            panic!("{context}: {} objects", library.objects.len())
        };
        let object = File::parse(&*object.bytes).unwrap();
        assert_eq!(object.is_64(), target.pointer_bytes() == 8);
        let visible: BTreeSet<&str> = object
            .symbols()
            .filter(is_visible)
            .map(|s| s.name().unwrap())
            .collect();
        let names = [
            "init",
            "level",
            "model",
            "run",
            "run_adaptive",
            "run_parallel",
            "set_level",
            "weights",
        ];
        let names = names.map(|name| format!("plain_{name}"));
        assert!(visible.iter().eq(&names), "{context}: {visible:?}");
        let open = object.symbols().filter(|s| s.is_undefined());
        let open: Vec<&str> = open.filter_map(|s| s.name().ok()).collect();
        assert!(
            open.iter().all(|n| matches!(*n, "" | "sqrtf")
                // The base of the table of addresses, which the linker makes.
                || *n == "_GLOBAL_OFFSET_TABLE_"),
            "{context}: {open:?}"
        );
    }
}

#[test]
fn arm_objects_tell_their_calling_convention() {
    for target in every_cpu()
        .iter()
        .filter(|t| matches!(t.name(), "armv7a" | "thumbv7em"))
    {
        let Some(library) = build(target) else {
            continue;
        };
        let object = File::parse(&*library.objects[0].bytes).unwrap();
        let FileFlags::Elf { e_flags, .. } = object.flags() else {
            panic!()
        };
        let version = e_flags & elf::EF_ARM_EABIMASK;
        assert_eq!(version, elf::EF_ARM_EABI_VER5, "{}", title(target));
        let attributes = object.section_by_name(".ARM.attributes").unwrap();
        let text = attributes.data().unwrap();
        assert!(text.windows(5).any(|w| w == b"aeabi"), "{}", title(target));
    }
}

/// All that the model's tables hold stays in flash.
#[test]
fn microcontrollers_need_no_ram_for_constants() {
    for target in every_cpu().iter().filter(|t| t.is_bare_metal()) {
        let Some(library) = build(target) else {
            continue;
        };
        let object = File::parse(&*library.objects[0].bytes).unwrap();
        for section in object.sections().filter(|s| s.size() > 0) {
            let name = section.name().unwrap();
            assert_ne!(section.kind(), SectionKind::Data, "{name}");
        }
        let weights = object.section_by_name(".rodata.plain_weights").unwrap();
        assert_eq!(weights.size(), 8);
        let tables = object.section_by_name(".rodata.plain_tables").unwrap();
        assert!(tables.relocations().count() > 0);
    }
}
