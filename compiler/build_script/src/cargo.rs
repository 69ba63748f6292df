//! What Cargo builds for, in condensec's words.

/// The name of the target for a Rust target triple.
pub(crate) fn target_name(triple: &str) -> Option<&'static str> {
    let (arch, system) = triple.split_once('-')?;
    let is_linux = system.contains("linux-gnu") || system.contains("linux-musl");
    match arch {
        "x86_64" if is_linux => Some("x86_64"),
        "x86_64" if system.contains("windows") => Some("x86_64-windows"),
        "aarch64" if is_linux => Some("aarch64"),
        "aarch64" if system.contains("android") => Some("aarch64-android"),
        "aarch64" if system.contains("apple-darwin") => Some("aarch64-macos"),
        "riscv64gc" | "riscv64a23" if is_linux => Some("riscv64"),
        "armv7" | "thumbv7neon" if is_linux && system.ends_with("eabihf") => Some("armv7a"),
        "thumbv7em" if system == "none-eabihf" => Some("thumbv7em"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triples_of_rust() {
        for (triple, expected) in [
            ("x86_64-unknown-linux-gnu", Some("x86_64")),
            ("x86_64-unknown-linux-musl", Some("x86_64")),
            ("x86_64-pc-windows-msvc", Some("x86_64-windows")),
            ("aarch64-linux-android", Some("aarch64-android")),
            ("aarch64-apple-darwin", Some("aarch64-macos")),
            ("riscv64gc-unknown-linux-gnu", Some("riscv64")),
            ("armv7-unknown-linux-gnueabihf", Some("armv7a")),
            ("thumbv7em-none-eabihf", Some("thumbv7em")),
            // Soft floats, and a machine that is unknown.
            ("thumbv7em-none-eabi", None),
            ("wasm32-unknown-unknown", None),
        ] {
            assert_eq!(target_name(triple), expected, "{triple}");
        }
    }
}
