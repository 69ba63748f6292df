//! From a file's name to the name of a library, which prefixes C symbols.

use std::path::Path;

use condensec_backends::companions;

/// Stands before what is no identifier by itself.
const PREFIX: &str = "model";

/// The stem of `path` as a C identifier: other characters become `_`, and what is still none (a digit
/// in front, a keyword) gets a prefix. `mnist-8.onnx` gives `mnist_8`, `3d.onnx` gives `model_3d`.
pub fn model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    match name.as_str() {
        "" => PREFIX.into(),
        // A digit in front, or a keyword as it stands.
        _ if companions::check_name(&name).is_err() => format!("{PREFIX}_{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_becomes_an_identifier() {
        for (path, name) in [
            ("a/resnet50.onnx", "resnet50"),
            ("mnist-8.onnx", "mnist_8"),
            ("3d net.v2.onnx", "model_3d_net_v2"),
            ("struct.onnx", "model_struct"),
            ("größe.onnx", "gr__e"),
            ("_.onnx", "_"),
            ("", "model"),
        ] {
            assert_eq!(model_name(Path::new(path)), name, "{path}");
        }
    }
}
