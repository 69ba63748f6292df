//! The object files and the archive: sections, symbols, determinism, bad programs.

use crate::support::compilers::Compiler;
use crate::support::loaded::{Loaded, build, link_shared, run, write_files};
use crate::support::micro_kernel::{Tile, list_program};
use crate::support::programs::{Widths, add_step, empty, floats, kernel};
use crate::support::run_on::find_command;
use condensec_backends::{
    BACKENDS, BackendError, LibraryOptions, Target, build_library, find_backend, targets,
};
use condensec_ir::kernel::{
    Argument, Data, DataId, MemoryType, Program, Relocation, Section, Symbol,
};
use object::read::{Object, ObjectSection, ObjectSymbol};
use object::{FileFlags, SectionKind, elf};
use std::collections::BTreeSet;
use std::process::Command;
use target_lexicon::BinaryFormat;

/// Symbols of a library called `list` behind `list_`, sorted.
const INTERFACE: [&str; 8] = [
    "init",
    "level",
    "model",
    "run",
    "run_adaptive",
    "run_parallel",
    "set_level",
    "weights",
];

/// A program with every kind of data: weights in two objects, indices, tables with and without
/// addresses, and a libm call.
fn everything() -> Program {
    let mut program = list_program(
        Tile {
            rows: 2,
            vectors: 2,
            lanes: 1,
        },
        8,
        Widths::WIDE,
    );
    program.add_data(floats("more", Section::Weights, &[1.0; 5]));
    let bias = program.add_data(floats("bias", Section::Tables, &[0.5, 0.25]));
    let pointers = program.add_data(Data {
        name: "pointers".into(),
        is_exported: false,
        section: Section::Tables,
        align: 8,
        bytes: vec![0; 16],
        relocations: vec![Relocation {
            offset: 8,
            target: Symbol::Data(bias, 4),
        }],
    });
    let function = kernel("log", |f, [bases, arguments, ..]| {
        let y = f.load(MemoryType::Ptr, bases, 16);
        let table = f.load(MemoryType::Ptr, arguments, 0);
        let bias = f.load(MemoryType::Ptr, table, 8);
        let value = f.load(MemoryType::F32, bias, 0);
        // The same by an address in the code.
        let direct = f.address(Symbol::Data(bias_id(), 4));
        let direct = f.load(MemoryType::F32, direct, 0);
        let sum = f.fadd(value, direct);
        let value = f.call_libm("logf", &[sum]);
        f.store(MemoryType::F32, value, y, 0);
    });
    add_step(
        &mut program,
        function,
        &[Argument::Address(Symbol::Data(pointers, 0))],
    );
    program
}

/// The third data object of [`everything`] after those of the list program.
fn bias_id() -> DataId {
    DataId(3)
}

fn parse(bytes: &[u8]) -> object::File<'_> {
    object::File::parse(bytes).unwrap()
}

fn names<'a>(symbols: impl Iterator<Item = object::Symbol<'a, 'a>>) -> BTreeSet<String> {
    symbols.map(|s| s.name().unwrap().to_string()).collect()
}

#[test]
fn objects_have_the_sections_and_symbols_that_the_design_names() {
    for compiler in Compiler::every() {
        if compiler.target.binary_format() != BinaryFormat::Elf {
            continue;
        }
        let library = compiler.build(&everything());
        let object = parse(&library.objects[0].bytes);
        let context = compiler.to_string();
        // Firmware is linked where it runs: its addresses stay among the constants.
        let addresses = match compiler.target.is_bare_metal() {
            true => ".rodata.list_tables",
            false => ".data.rel.ro.list",
        };
        for section in [
            ".rodata.list_weights",
            ".rodata.list_indices",
            ".rodata.list_tables",
            addresses,
        ] {
            let found = object
                .section_by_name(section)
                .unwrap_or_else(|| panic!("{context}: {section}"));
            assert_eq!(
                found.relocations().count() > 0,
                section == addresses,
                "{context}: {section}"
            );
        }
        // Tells a loader that the stack need not be executable.
        let note = object.section_by_name(".note.GNU-stack");
        assert_eq!(
            note.is_some(),
            !compiler.target.is_bare_metal(),
            "{context}"
        );
        // Nothing writable but what the loader relocates.
        for section in object.sections() {
            let writable = matches!(
                section.kind(),
                SectionKind::Data | SectionKind::UninitializedData | SectionKind::Tls
            );
            let name = section.name().unwrap();
            let is_relocated = name.starts_with(".data.rel.ro");
            assert!(
                !writable || is_relocated || section.size() == 0,
                "{context}: {name}"
            );
        }
        let undefined = names(
            object
                .symbols()
                .filter(|s| s.is_undefined() && s.name() != Ok("")),
        );
        assert_eq!(Vec::from_iter(undefined), ["logf"], "{context}");
        // All else is local, so that two models never meet by name.
        let visible = names(
            object
                .symbols()
                .filter(|s| s.is_definition() && s.is_global()),
        );
        assert!(
            visible
                .iter()
                .map(String::as_str)
                .eq(INTERFACE.map(|n| format!("list_{n}"))),
            "{context}: {visible:?}"
        );
        let weights = object.symbol_by_name("list_weights").unwrap();
        let section = object.section_by_name(".rodata.list_weights").unwrap();
        assert_eq!(weights.address(), section.address());
        assert_eq!(
            weights.size(),
            64 + 5 * 4,
            "two objects, the second aligned to 64"
        );
        assert_eq!(section.align(), 64);
    }
}

#[test]
fn riscv_objects_have_the_float_abi_of_their_libc() {
    let is_riscv64 = |c: &Compiler| c.target.name() == "riscv64";
    for compiler in Compiler::every().into_iter().filter(is_riscv64) {
        let library = compiler.build(&everything());
        let object = &library.objects[0];
        let FileFlags::Elf { e_flags, .. } = parse(&object.bytes).flags() else {
            panic!()
        };
        assert_eq!(
            e_flags,
            elf::EF_RISCV_FLOAT_ABI_DOUBLE | elf::EF_RISCV_RVC,
            "{compiler}: {}",
            object.name
        );
    }
}

#[test]
fn riscv_without_v_has_no_vector_instruction() {
    for compiler in Compiler::of("riscv64", Some("rv64gc")) {
        for kernel in compiler.build(&everything()).kernels {
            let mut lines = kernel.assembly.lines().map(str::trim_start);
            let vector = lines.find(|line| line.starts_with('v'));
            assert_eq!(vector, None, "{compiler}: {}", kernel.name);
        }
    }
}

#[test]
fn a_shared_library_shows_the_interface_only() {
    for compiler in Compiler::native() {
        let library = compiler.build(&everything());
        let folder = tempfile::tempdir().unwrap();
        write_files(&library, folder.path());
        let path = link_shared(&library, folder.path());
        let bytes = std::fs::read(path).unwrap();
        let shared = parse(&bytes);
        let visible = names(shared.dynamic_symbols().filter(|s| s.is_definition()));
        assert!(
            visible
                .iter()
                .map(String::as_str)
                .eq(INTERFACE.map(|n| format!("list_{n}"))),
            "{compiler}: {visible:?}"
        );
    }
}

#[test]
fn a_library_for_macos_links_and_shows_the_interface_only() {
    let Some(linker) = find_command("ld64.lld-22") else {
        println!("skipped: aarch64-macos: no ld64.lld-22");
        return;
    };
    for compiler in Compiler::of("aarch64-macos", None) {
        let library = compiler.build(&everything());
        let folder = tempfile::tempdir().unwrap();
        write_files(&library, folder.path());
        let output = folder.path().join("list.dylib");
        run(Command::new(&linker)
            .args([
                "-arch",
                "arm64",
                "-platform_version",
                "macos",
                "11.0",
                "11.0",
            ])
            .args(["-dylib", "-all_load", "-undefined", "dynamic_lookup", "-o"])
            .args([&output, &folder.path().join("liblist.a")]));
        let bytes = std::fs::read(output).unwrap();
        let shared = parse(&bytes);
        let visible: BTreeSet<String> = shared
            .exports()
            .unwrap()
            .iter()
            .map(|e| String::from_utf8(e.name().to_vec()).unwrap())
            .collect();
        assert!(
            visible
                .iter()
                .map(String::as_str)
                .eq(INTERFACE.map(|n| format!("_list_{n}"))),
            "{compiler}: {visible:?}"
        );
    }
}

#[test]
fn libraries_of_two_members_are_indexed_and_deterministic() {
    for (name, library_name, prefix, members) in [
        (
            "aarch64-macos",
            "liblist.a",
            "_",
            ["list_code.o", "list_data.o"],
        ),
        (
            "x86_64-windows",
            "list.lib",
            "",
            ["list_code.obj", "list_data.obj"],
        ),
    ] {
        for compiler in Compiler::of(name, None) {
            let library = compiler.build(&everything());
            assert_eq!(library.archive().name, library_name);
            assert_eq!(library.manifest.library, library_name);
            let names: Vec<&str> = library.objects.iter().map(|o| o.name.as_str()).collect();
            assert_eq!(names, members);
            let archive = &*library.archive().bytes;
            let archive = object::read::archive::ArchiveFile::parse(archive).unwrap();
            let index: BTreeSet<String> = archive
                .symbols()
                .unwrap()
                .unwrap()
                .map(|s| String::from_utf8(s.unwrap().name().to_vec()).unwrap())
                .collect();
            for symbol in [
                "list_run",
                "list_weights",
                "list__descriptor",
                "list__list_2x2",
            ] {
                assert!(
                    index.contains(&format!("{prefix}{symbol}")),
                    "{compiler}: {symbol}: {index:?}"
                );
            }
        }
    }
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    for compiler in Compiler::every() {
        let [first, second] = [(); 2].map(|()| compiler.build(&everything()));
        assert_eq!(first.files.len(), 7);
        for (a, b) in first.files.iter().zip(&second.files) {
            assert_eq!(a.name, b.name);
            assert!(a.bytes == b.bytes, "{compiler}: {} differs", a.name);
        }
    }
}

#[test]
fn the_archive_is_self_contained_and_indexed() {
    let library = build(&everything());
    assert_eq!(library.archive().name, "liblist.a");
    let archive = object::read::archive::ArchiveFile::parse(&*library.files[0].bytes).unwrap();
    let members: Vec<String> = archive
        .members()
        .map(|m| {
            let member = m.unwrap();
            assert_eq!(
                (member.date(), member.uid(), member.gid()),
                (Some(0), Some(0), Some(0))
            );
            String::from_utf8(member.name().to_vec()).unwrap()
        })
        .collect();
    assert_eq!(members, ["list.o"]);
    let index: BTreeSet<String> = archive
        .symbols()
        .unwrap()
        .unwrap()
        .map(|s| String::from_utf8(s.unwrap().name().to_vec()).unwrap())
        .collect();
    assert!(index.contains("list_run") && index.contains("list_weights"));
}

#[test]
fn weights_are_stored_once() {
    for compiler in Compiler::native() {
        let library = compiler.build(&everything());
        assert_eq!(library.sizes.weights, 16 * 4 + 5 * 4);
        assert_eq!(library.sizes.indices, 8 * 2);
        let total: usize = library.kernels.iter().map(|k| k.code_bytes as usize).sum();
        assert_eq!(library.sizes.code as usize, total);
        let names: Vec<&str> = library.kernels.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(names[..2], ["list__list_2x2", "list__log"]);
        assert!(
            library
                .kernels
                .iter()
                .all(|k| !k.assembly.is_empty() && !k.kernel_ir.is_empty())
        );
    }
}

fn error(program: &Program, target: &Target) -> BackendError {
    let options = LibraryOptions::default();
    let backend = find_backend(None, target).unwrap();
    build_library(program, target, backend, &options).unwrap_err()
}

#[test]
fn contradictions_are_errors() {
    let target = targets::resolve("x86_64", None, &[] as &[&str]).unwrap();
    let check = |change: fn(&mut Program), expected: &str| {
        let mut program = everything();
        change(&mut program);
        assert_eq!(error(&program, &target).to_string(), expected);
    };
    check(
        |p| p.name = "1st".into(),
        "\"1st\" cannot be the name of a library: it must be a C identifier, no keyword, and no name that the header uses",
    );
    check(
        |p| p.levels.clear(),
        "program \"list\": 0 level summaries for 1 step tables",
    );
    check(
        |p| p.steps[0][0].arguments[0] = Argument::Address(Symbol::Data(DataId(99), 0)),
        "program \"list\": list refers to data 99, which does not exist",
    );
    check(
        |p| p.data[4].relocations[0].offset = 16,
        "program \"list\": data pointers: relocation outside",
    );
    check(
        |p| p.data[1].name = "w".into(),
        "program \"list\": two symbols are named list__w",
    );
    check(
        |p| p.data[1].align = 3,
        "program \"list\": data i: alignment is no power of two",
    );
}

#[test]
fn unknown_back_ends_are_errors() {
    let error = |name, target: &str| {
        let target = targets::resolve(target, None, &[] as &[&str]).unwrap();
        find_backend(name, &target).err().unwrap().to_string()
    };
    let known: Vec<&str> = BACKENDS.iter().map(|b| b.name()).collect();
    let known = known.join(", ");
    assert_eq!(
        error(Some("gcc"), "aarch64"),
        format!("there is no back end \"gcc\" in this build; there are {known}")
    );
    #[cfg(feature = "cranelift")]
    assert_eq!(
        error(Some("cranelift"), "armv7a"),
        "back end cranelift cannot compile for armv7a"
    );
    #[cfg(not(feature = "llvm"))]
    assert_eq!(
        error(None, "thumbv7em"),
        "target \"thumbv7em\" (Cortex-M4F and M7, bare metal) needs the LLVM build of condensec; \
         this build has aarch64, aarch64-android, aarch64-macos, riscv64, x86_64, x86_64-windows, host"
    );
}

#[test]
fn a_library_of_nothing_links() {
    let program = empty("nothing", 2);
    for loaded in Loaded::by_every_backend(&program) {
        assert_eq!(loaded.library.sizes.weights, 0);
        assert!(loaded.model.weights.is_null());
        assert!(loaded.run(&[]).is_empty());
    }
}
