//! The Android and Zephyr examples, as far as they can be tried without the NDK and without Zephyr: the examples' own
//! CMake files and sources, with Linux' compilers, and with a stand-in for Zephyr in `tests/boards`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use condensec_backends::{find_backend, targets};
use harness::program::{is_installed, succeed};
use harness::{condensec, skip, workspace};
use object::read::elf::{Dyn as _, ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, elf};
use serde_json::Value;
use tempfile::TempDir;

const DIGITS: &str = "0 1 2 3 4 5 6 7 8 9";
const LEVELS: usize = 5;
/// Runs during switches where each takes a thousand times as long.
const FEW_RUNS: &str = "10";
/// The largest pages of Android devices.
const PAGE_BYTES: u64 = 16 << 10;
const WARNINGS: &str = "-O2 -Wall -Wextra -Werror";

#[test]
fn a_library_for_android_is_one_that_android_loads() {
    for tool in ["cmake", "aarch64-linux-gnu-gcc", "qemu-aarch64"] {
        if !is_installed(tool) {
            return skip::report(&format!("the Android example (no {tool})"));
        }
    }
    let project = Project::new("examples/android");
    let flags = match java_headers() {
        Some(folders) => format!("{WARNINGS} {folders}"),
        None => WARNINGS.into(),
    };
    let toolchain = project.android("aarch64", "aarch64-linux-gnu-gcc", &flags);
    succeed(&mut project.configure(&toolchain));
    let said = succeed(&mut project.build("digits_shell"));
    assert!(said.contains("for aarch64-android"), "{said}");
    // The C library is Linux', and what the program calls of it is in Android's, too.
    let said = succeed(
        Command::new("qemu-aarch64")
            .args(["-L", "/usr/aarch64-linux-gnu"])
            .arg(project.built("digits_shell"))
            .arg(FEW_RUNS),
    );
    assert_digits(&said);

    if java_headers().is_none() {
        return skip::report("the Android example's shared library (no jni.h)");
    }
    succeed(&mut project.build("digits_jni"));
    check_shared_library(&std::fs::read(project.built("libdigits_jni.so")).unwrap());
}

/// What Android's loader asks for, and that the model's own symbols stay inside.
fn check_shared_library(bytes: &[u8]) {
    let library = ElfFile64::<Endianness>::parse(bytes).unwrap();
    let endian = library.endian();
    for segment in library.elf_program_headers() {
        match segment.p_type(endian) {
            elf::PT_LOAD => {
                assert_eq!(segment.p_align(endian) % PAGE_BYTES, 0);
                let is_both = elf::PF_W | elf::PF_X;
                assert_ne!(segment.p_flags(endian) & is_both, is_both);
            }
            // Relocations of code, which it refuses.
            elf::PT_DYNAMIC => {
                let entries = segment.dynamic(endian, bytes).unwrap().unwrap();
                let has_text = |entry: &elf::Dyn64<Endianness>| {
                    let flags = entry.d_val(endian) & u64::from(elf::DF_TEXTREL);
                    entry.d_tag(endian) == elf::DT_TEXTREL
                        || entry.d_tag(endian) == elf::DT_FLAGS && flags != 0
                };
                assert!(!entries.iter().any(has_text));
            }
            _ => (),
        }
    }
    let symbols = |is_undefined: bool| -> BTreeSet<&str> {
        library
            .dynamic_symbols()
            .filter(|symbol| symbol.is_undefined() == is_undefined && !symbol.is_weak())
            .map(|symbol| symbol.name().unwrap())
            .filter(|name| !name.is_empty())
            .collect()
    };
    assert_eq!(symbols(true), BTreeSet::from(["free", "posix_memalign"]));
    let exported = symbols(false);
    let prefix = "Java_com_example_condensec_Digits_";
    assert!(exported.len() == 5, "{exported:?}");
    assert!(exported.iter().all(|name| name.starts_with(prefix)));
}

#[test]
fn cmake_knows_the_other_abis_of_android() {
    if !is_installed("cmake") {
        return skip::report("CMake for Android (no cmake)");
    }
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) && is_installed("cc") {
        let project = Project::new("examples/android");
        succeed(&mut project.configure(&project.android("x86_64", "cc", WARNINGS)));
        succeed(&mut project.build("digits_shell"));
        let manifest = project.built("digits.condensec/digits.json");
        let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        assert_eq!(manifest["cpu"], "x86-64-v2", "{manifest}");
        assert_digits(&succeed(
            Command::new(project.built("digits_shell")).arg(FEW_RUNS),
        ));
    } else {
        skip::report("the Android example for x86_64 (another machine, or no cc)");
    }
    for processor in ["armv7-a", "i686"] {
        let project = Project::new("examples/android");
        // Refused before anything is compiled, so it does not matter for what.
        let toolchain = project.android(processor, "cc", WARNINGS);
        let output = output(&mut project.configure(&toolchain));
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = format!("there is no target for Android on {processor}");
        assert!(
            !output.status.success() && said.contains(&expected),
            "{said}"
        );
    }
}

#[test]
fn the_native_methods_work_in_java() {
    let (Some(folders), true) = (java_headers(), is_installed("cmake") && is_installed("cc"))
    else {
        return skip::report("the Android example's native methods in Java (no javac or no cmake)");
    };
    let project = Project::new("examples/android");
    let flags = format!("-DCMAKE_C_FLAGS={WARNINGS} {folders}");
    succeed(project.configure_for_host().arg(flags));
    succeed(&mut project.build("digits_jni"));
    let classes = project.dir.path().join("classes");
    succeed(
        Command::new("javac")
            .arg("-d")
            .arg(&classes)
            .arg(workspace::root().join("examples/android/Digits.java"))
            .arg(workspace::root().join("tests/boards/android/Main.java")),
    );
    let said = succeed(
        Command::new("java")
            .arg("-Xcheck:jni")
            .arg(define("java.library.path", &project.built("")))
            .arg("-cp")
            .arg(&classes)
            .arg("Main")
            .arg(workspace::root().join("examples/rust/images.bin")),
    );
    assert_digits(&said);
    let refusals: Vec<&str> = said.lines().skip(LEVELS).collect();
    let expected = [
        "IllegalArgumentException",
        "ArrayIndexOutOfBoundsException",
        "ArrayIndexOutOfBoundsException",
        "IllegalStateException",
    ];
    assert_eq!(refusals, expected, "{said}");
}

#[test]
fn the_zephyr_example_runs_without_zephyr() {
    for (cpu, fpu, board, kconfig) in [
        ("cortex-m4", "fpv4-sp-d16", "mps2-an386", "M4"),
        ("cortex-m7", "fpv5-d16", "mps2-an500", "M7"),
    ] {
        let target = targets::resolve("thumbv7em", Some(cpu), &[] as &[&str]).unwrap();
        if find_backend(None, &target).is_err() {
            return skip::report("the Zephyr example (a build without LLVM)");
        }
        for tool in ["cmake", "arm-none-eabi-gcc", "qemu-system-arm"] {
            if !is_installed(tool) {
                return skip::report(&format!("the Zephyr example (no {tool})"));
            }
        }
        let project = Project::new("tests/boards/zephyr");
        let toolchain = project.toolchain(&format!(
            "set(CMAKE_SYSTEM_NAME Generic)\n\
             set(CMAKE_SYSTEM_PROCESSOR arm)\n\
             set(CMAKE_C_COMPILER arm-none-eabi-gcc)\n\
             set(CMAKE_C_FLAGS \"-mcpu={cpu} -mthumb -mfloat-abi=hard -mfpu={fpu} {WARNINGS}\")\n\
             set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
        ));
        // As Zephyr has it from a board's Kconfig.
        succeed(
            project
                .configure(&toolchain)
                .arg(format!("-DCONFIG_CPU_CORTEX_{kconfig}=y"))
                .arg("-DCONFIG_FP_HARDABI=y"),
        );
        succeed(&mut project.build("firmware"));
        let output = output(
            Command::new("qemu-system-arm")
                .args(["-M", board, "-display", "none", "-monitor", "none"])
                .args(["-serial", "none", "-kernel"])
                .arg(project.built("firmware"))
                .args(["-semihosting-config", "enable=on,target=native"]),
        );
        // qemu prints the program's text on its standard error.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_digits(&said);
        assert!(said.contains(&format!("digits on {cpu}: ")), "{said}");
        assert!(
            said.ends_with("back at L0: the same bits\npassed\n"),
            "{said}"
        );
        check_firmware(&std::fs::read(project.built("firmware")).unwrap());
    }
}

/// Weights are in flash, the instance is in RAM, and nothing takes memory from a heap.
fn check_firmware(bytes: &[u8]) {
    const RAM: u64 = 0x2000_0000;
    let program = object::File::parse(bytes).unwrap();
    let symbol = |name: &str| program.symbols().find(|s| s.name() == Ok(name));
    let address = |name: &str| symbol(name).expect(name).address();
    assert!(address("digits_weights") < RAM && address("memory") >= RAM);
    for allocator in ["malloc", "_malloc_r", "calloc", "free", "_sbrk"] {
        assert!(symbol(allocator).is_none(), "{allocator}");
    }
}

/// A CMake project of this repository, and a folder to build it in.
struct Project {
    source: PathBuf,
    dir: TempDir,
}

impl Project {
    fn new(source: &str) -> Project {
        let dir = TempDir::new().unwrap();
        succeed(
            Command::new(condensec::executable())
                .args(["cmake", "-o"])
                .arg(dir.path().join("package")),
        );
        Project {
            source: workspace::root().join(source),
            dir,
        }
    }

    fn toolchain(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("toolchain.cmake");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Says of the system what the NDK's toolchain file says. In the version 1, CMake looks for no NDK.
    fn android(&self, processor: &str, compiler: &str, flags: &str) -> PathBuf {
        self.toolchain(&format!(
            "set(CMAKE_SYSTEM_NAME Android)\n\
             set(CMAKE_SYSTEM_VERSION 1)\n\
             set(CMAKE_SYSTEM_PROCESSOR {processor})\n\
             set(CMAKE_C_COMPILER {compiler})\n\
             set(CMAKE_C_FLAGS \"{flags}\")\n"
        ))
    }

    fn configure_for_host(&self) -> Command {
        let mut cmake = Command::new("cmake");
        cmake
            .arg("-S")
            .arg(&self.source)
            .arg("-B")
            .arg(self.built(""))
            .arg(define("condensec_DIR", &self.dir.path().join("package")))
            .arg(define("CONDENSEC_EXECUTABLE", condensec::executable()));
        cmake
    }

    fn configure(&self, toolchain: &Path) -> Command {
        let mut cmake = self.configure_for_host();
        cmake.arg(define("CMAKE_TOOLCHAIN_FILE", toolchain));
        cmake
    }

    fn build(&self, target: &str) -> Command {
        let mut cmake = Command::new("cmake");
        cmake
            .arg("--build")
            .arg(self.built(""))
            .args(["--target", target]);
        cmake
    }

    fn built(&self, name: &str) -> PathBuf {
        self.dir.path().join("build").join(name)
    }
}

fn define(name: &str, value: &Path) -> String {
    format!("-D{name}={}", value.display())
}

/// Options that have a C compiler find `jni.h`, which comes with javac.
fn java_headers() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let javac = std::env::split_paths(&path)
        .map(|folder| folder.join("javac"))
        .find_map(|javac| javac.canonicalize().ok())?;
    let include = javac.parent()?.parent()?.join("include");
    let is_there = include.join("jni.h").exists() && include.join("linux").exists();
    is_there.then(|| format!("-I{0} -I{0}/linux", include.display()))
}

/// Every level names every digit.
fn assert_digits(said: &str) {
    let n_levels = said.lines().filter(|line| line.contains(DIGITS)).count();
    assert_eq!(n_levels, LEVELS, "{said}");
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
