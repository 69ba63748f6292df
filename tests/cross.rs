//! Every CPU of every target, from every back end of this build: the digits supernet compiles, its objects
//! hold what they may, and its code computes in an emulator what the graph interpreter does, at all levels.
//! Random networks follow on one CPU for each set of instructions.

// How to link and run a program anywhere is the same here as for single kernels.
#[path = "../backends/tests/support/mod.rs"]
mod support;

use condensec_backends::{
    BACKENDS, Backend, Library, LibraryOptions, Target, build_library, targets,
};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::{Graph, LevelId};
use condensec_passes::PIPELINE;
use condensec_passes::lower::lower;
use harness::random_graph::{Network, network};
use harness::{graphs, npz, skip, workspace};
use object::read::{File, Object as _, ObjectSection as _, ObjectSymbol as _};
use object::{Architecture, FileFlags, SectionKind, SymbolScope, elf};
use proptest::prelude::Strategy as _;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;
use std::process::Command;
use support::loaded::{run, write_files};
use support::run_on::{LinkedProgram, every_cpu, find_command, title};
use target_lexicon::{Architecture as LexiconArchitecture, BinaryFormat};

/// Of the largest output: sums of some hundred products in another order.
const TOLERANCE: f32 = 1e-4;

/// Images of the test split that every level classifies.
const N_IMAGES: usize = 2;

/// Random networks for each CPU and back end.
const N_NETWORKS: u8 = 6;

/// Tag_ABI_VFP_args: floats in registers (Addenda to the ABI for the Arm Architecture, 2.3.7).
const FLOATS_IN_REGISTERS: [u8; 2] = [28, 1];

/// Each pair of a target and a back end that serves it.
fn every_pair() -> impl Iterator<Item = (Target, &'static dyn Backend)> {
    every_cpu().into_iter().flat_map(|target| {
        let serving = BACKENDS.iter().copied();
        let serving = serving.filter(|backend| backend.supports(&target));
        serving
            .map(|backend| (target.clone(), backend))
            .collect::<Vec<_>>()
    })
}

fn build(graph: &Graph, name: &str, target: &Target, backend: &dyn Backend) -> Library {
    let info = backend.target_info(target);
    let mut graph = graph.clone();
    for pass in PIPELINE {
        (pass.run)(&mut graph, &info);
    }
    let program = lower(&graph, name, &info).expect("every op has kernels");
    build_library(&program, target, backend, &LibraryOptions::default())
        .unwrap_or_else(|e| panic!("{} by {}: {e}", title(target), backend.name()))
}

/// Machines that run the code of `target`: one with no more than is guaranteed, and one with longer
/// vectors, where that is the machine's choice.
fn machines(target: &Target) -> Vec<Target> {
    let mut machines = vec![target.clone()];
    if target.has("v") && !target.has("zvl256b") {
        let longer = targets::resolve(target.name(), Some(target.cpu()), &["+zvl256b"]);
        machines.push(longer.unwrap());
    }
    machines
}

/// Compares all runs of `library`, in the order of `expected`, on all machines of `target`.
fn check_runs(
    what: &str,
    target: &Target,
    library: &Library,
    runs: &[(u32, &[&[f32]])],
    expected: &[Vec<Array>],
) {
    let Some(program) = LinkedProgram::new(target, || library.clone()) else {
        return;
    };
    for machine in machines(target) {
        let Some(found) = program.run_on(&machine, runs) else {
            continue;
        };
        for (((level, _), expected), found) in runs.iter().zip(expected).zip(found) {
            for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
                let largest = expected.data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (at, (e, f)) in expected.data.iter().zip(found).enumerate() {
                    assert!(
                        (e - f).abs() <= TOLERANCE * largest,
                        "{what}: L{level}: output {number} differs at {at}: expected {e}, found {f}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_digits_supernet_on_every_cpu() {
    let folder = workspace::root().join("examples/digits");
    let shape = [1, 1, 32, 32];
    let graph = graphs::read(&folder.join("digits_supernet.onnx"), "image", &shape);
    let pixels = npz::read_f32(&folder.join("digits_test.npz"), "x");
    let images: Vec<&[f32]> = pixels.chunks(32 * 32).take(N_IMAGES).collect();
    let inputs: Vec<[&[f32]; 1]> = images.iter().map(|image| [*image]).collect();
    // Down, so that every run but the first comes after a switch to less.
    let mut runs: Vec<(u32, &[&[f32]])> = Vec::new();
    for level in (0..graph.n_levels).rev() {
        runs.extend(inputs.iter().map(|input| (level, &input[..])));
    }
    let evaluate = |(level, inputs): &(u32, &[&[f32]])| {
        let input = Array::new(&shape, inputs[0].to_vec());
        eval_graph(&graph, LevelId(*level), &[input]).expect("the input fits")
    };
    let expected: Vec<Vec<Array>> = runs.iter().map(evaluate).collect();
    for (target, backend) in every_pair() {
        let what = format!("{} by {}", title(&target), backend.name());
        let library = build(&graph, "digits", &target, backend);
        check_objects(&what, &target, &library);
        match target.binary_format() {
            BinaryFormat::Macho => check_links(&what, &library),
            _ => check_runs(&what, &target, &library, &runs, &expected),
        }
    }
}

/// Nothing here runs programs for macOS, but LLVM's linker makes a library and leaves nothing open.
fn check_links(what: &str, library: &Library) {
    const LINKER: &str = "ld64.lld-22";
    let Some(linker) = find_command(LINKER) else {
        return skip::report(&format!("linking {what} (no {LINKER})"));
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(library, folder.path());
    run(Command::new(linker)
        .args([
            "-arch",
            "arm64",
            "-platform_version",
            "macos",
            "11.0",
            "11.0",
        ])
        .args(["-dylib", "-all_load", "-o"])
        .arg(folder.path().join("linked.dylib"))
        .arg(folder.path().join(&library.archive().name)));
    skip::report(&format!("running {what}: no emulator has its system"));
}

#[test]
fn random_networks_on_every_set_of_instructions() {
    for (name, cpu) in [
        ("aarch64", "generic"),
        ("armv7a", "generic"),
        // Without fused multiply-add.
        ("armv7a", "cortex-a9"),
        ("riscv64", "rv64gc"),
        ("riscv64", "rv64gcv"),
        ("riscv64", "spacemit-x60"),
        ("thumbv7em", "cortex-m4"),
        ("thumbv7em", "cortex-m7"),
        ("x86_64-windows", "x86-64-v2"),
    ] {
        let target = targets::resolve(name, Some(cpu), &[] as &[&str]).unwrap();
        for backend in BACKENDS.iter().filter(|b| b.supports(&target)) {
            for seed in 0..N_NETWORKS {
                check_network(seed, &target, *backend);
            }
        }
    }
}

fn check_network(seed: u8, target: &Target, backend: &dyn Backend) {
    let (network, graph) = random_network(seed);
    let values = network.input_values();
    let inputs = [&values[..]];
    let levels = (0..graph.n_levels).rev();
    let runs: Vec<(u32, &[&[f32]])> = levels.map(|level| (level, &inputs[..])).collect();
    let evaluate = |(level, _): &(u32, &[&[f32]])| {
        let input = Array::new(&network.input, values.clone());
        eval_graph(&graph, LevelId(*level), &[input]).expect("the input fits")
    };
    let expected: Vec<Vec<Array>> = runs.iter().map(evaluate).collect();
    let what = format!("seed {seed}, {} by {}", title(target), backend.name());
    let library = build(&graph, "random", target, backend);
    check_objects(&what, target, &library);
    check_runs(&what, target, &library, &runs, &expected);
}

/// The same network for the same seed; descriptions in which no layer fits are passed over.
fn random_network(seed: u8) -> (Network, Graph) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    loop {
        let tree = network()
            .new_tree(&mut runner)
            .expect("nothing is filtered");
        let network = tree.current();
        if let Some(graph) = network.build() {
            return (network, graph);
        }
    }
}

/// Format, interface, what is left open, and that nothing can be written to.
fn check_objects(what: &str, target: &Target, library: &Library) {
    let objects: Vec<File<'_>> = library
        .objects
        .iter()
        .map(|file| File::parse(&*file.bytes).unwrap())
        .collect();
    let prefix = match target.binary_format() {
        BinaryFormat::Macho => "_",
        _ => "",
    };
    let name = |symbol: &object::read::Symbol<'_, '_>| {
        let name = symbol.name().expect("names are UTF-8");
        let bare = name.strip_prefix(prefix);
        bare.unwrap_or_else(|| panic!("{what}: {name}")).to_string()
    };
    let (mut defined, mut shown, mut open) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    for object in &objects {
        check_format(what, target, object);
        for section in object.sections().filter(|s| s.size() > 0) {
            let found = section.name().expect("names are UTF-8");
            // What the loader relocates and locks.
            let is_locked = found.starts_with(".data.rel.ro") && !target.is_bare_metal();
            let is_variable = matches!(
                section.kind(),
                SectionKind::Data | SectionKind::UninitializedData | SectionKind::Common
            );
            assert!(is_locked || !is_variable, "{what}: {found}");
        }
        let is_local = |s: &object::read::Symbol<'_, '_>| s.scope() == SymbolScope::Compilation;
        for symbol in object.symbols().filter(|s| !is_local(s)) {
            if symbol.is_undefined() {
                open.insert(name(&symbol));
                continue;
            }
            defined.insert(name(&symbol));
            if symbol.scope() == SymbolScope::Dynamic {
                shown.insert(name(&symbol));
            }
        }
    }
    let model = &library.name;
    let interface = [
        "init",
        "level",
        "model",
        "run",
        "run_adaptive",
        "run_parallel",
        "set_level",
    ];
    let mut interface: BTreeSet<String> =
        interface.iter().map(|n| format!("{model}_{n}")).collect();
    if library.sizes.weights > 0 {
        interface.insert(format!("{model}_weights"));
    }
    match target.binary_format() {
        // No symbols between the members of a library are hidden there; the model's name keeps them
        // apart. Constants that are named by their value may meet: linkers keep any one of them.
        BinaryFormat::Coff => {
            assert!(interface.is_subset(&defined), "{what}: {defined:?}");
            let prefixes = [
                &format!("{model}_"),
                "__real@",
                "__xmm@",
                "__ymm@",
                "__zmm@",
            ];
            let is_apart = |name: &String| prefixes.iter().any(|p| name.starts_with(p));
            assert!(defined.iter().all(is_apart), "{what}: {defined:?}");
        }
        _ => assert_eq!(shown, interface, "{what}"),
    }
    let may_be_open = |name: &str| {
        matches!(name, "memcpy" | "memset" | "_GLOBAL_OFFSET_TABLE_")
            || library.libm_calls.iter().any(|f| f == name)
    };
    let unexpected: Vec<_> = open
        .difference(&defined)
        .filter(|n| !may_be_open(n))
        .collect();
    assert!(unexpected.is_empty(), "{what} leaves open {unexpected:?}");
}

fn check_format(what: &str, target: &Target, object: &File<'_>) {
    let format = match target.binary_format() {
        BinaryFormat::Coff => object::BinaryFormat::Coff,
        BinaryFormat::Macho => object::BinaryFormat::MachO,
        _ => object::BinaryFormat::Elf,
    };
    let architecture = match target.lexicon().architecture {
        LexiconArchitecture::Aarch64(_) => Architecture::Aarch64,
        LexiconArchitecture::Arm(_) => Architecture::Arm,
        LexiconArchitecture::Riscv64(_) => Architecture::Riscv64,
        LexiconArchitecture::X86_64 => Architecture::X86_64,
        other => panic!("{what}: {other}"),
    };
    assert_eq!(object.format(), format, "{what}");
    assert_eq!(object.architecture(), architecture, "{what}");
    // In COFF the architecture says it all.
    if format != object::BinaryFormat::Coff {
        assert_eq!(object.is_64(), target.pointer_bytes() == 8, "{what}");
    }
    assert!(object.is_little_endian(), "{what}");
    // Linkers go by this when they refuse code of another calling convention.
    match (architecture, object.flags()) {
        (Architecture::Arm, FileFlags::Elf { e_flags, .. }) => {
            assert_eq!(e_flags & elf::EF_ARM_EABIMASK, elf::EF_ARM_EABI_VER5);
            let attributes = object.section_by_name(".ARM.attributes");
            let attributes = attributes.unwrap_or_else(|| panic!("{what}: no attributes"));
            let bytes = attributes.data().unwrap();
            let mut pairs = bytes.windows(FLOATS_IN_REGISTERS.len());
            assert!(
                pairs.any(|pair| pair == FLOATS_IN_REGISTERS),
                "{what}: soft floats"
            );
        }
        (Architecture::Riscv64, FileFlags::Elf { e_flags, .. }) => {
            let floats = e_flags & elf::EF_RISCV_FLOAT_ABI;
            assert_eq!(floats, elf::EF_RISCV_FLOAT_ABI_DOUBLE, "{what}");
        }
        _ => {}
    }
}
