//! The runtime crate without `std`: what it needs of whoever links it, which is nothing.

use std::collections::BTreeSet;
use std::path::Path;

use harness::{runtime_library, skip};
use object::read::archive::ArchiveFile;
use object::{Object as _, ObjectSymbol as _};

/// Compilers call these by themselves; every C library and `compiler-rt` has them.
const ANYWHERE: &[&str] = &["memcpy", "memmove", "memset", "memcmp"];

#[test]
fn the_governor_needs_nothing_and_cannot_panic() {
    check(&runtime_library::build_bare(None));
}

#[test]
fn the_governor_is_built_for_microcontrollers() {
    for target in ["thumbv7em-none-eabihf", "aarch64-unknown-none"] {
        match runtime_library::is_target_installed(target) {
            true => check(&runtime_library::build_bare(Some(target))),
            false => skip::report(&format!(
                "the runtime crate for {target} (rustup target add {target})"
            )),
        }
    }
}

/// Our own objects in the archive leave nothing open but what is [`ANYWHERE`]: no allocator, no system, no panic.
fn check(library: &Path) {
    let bytes = std::fs::read(library).unwrap();
    let archive = ArchiveFile::parse(&*bytes).unwrap();
    let (mut defined, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for member in archive.members() {
        let member = member.unwrap();
        let name = String::from_utf8_lossy(member.name());
        if !name.starts_with("condensec_runtime") {
            continue;
        }
        let object = object::File::parse(member.data(&*bytes).unwrap()).unwrap();
        for symbol in object.symbols().filter(|symbol| symbol.is_global()) {
            let name = symbol.name().unwrap().to_string();
            match symbol.is_undefined() {
                true => needed.insert(name),
                false => defined.insert(name),
            };
        }
    }
    assert!(defined.contains("cnd_governor_choose"), "{defined:?}");
    let open: Vec<&String> = needed
        .difference(&defined)
        .filter(|name| !ANYWHERE.contains(&name.as_str()))
        .collect();
    assert!(open.is_empty(), "{}: {open:?}", library.display());
}
