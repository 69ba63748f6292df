//! Compiles the model.

fn main() {
    let bindings = condensec_build::Model::new("../digits/digits_supernet.onnx")
        .name("digits")
        .compile();
    println!("cargo::rustc-env=DIGITS_RS={}", bindings.display());
}
