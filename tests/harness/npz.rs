//! Arrays of `.npz` files in tests, which know what their files hold.

use std::path::Path;

use condensec::npz::{self, NpzArray};

/// The array `name` of the file.
///
/// # Panics
/// When there is none, or the file cannot be read.
pub fn read(path: &Path, name: &str) -> NpzArray {
    try_read(path, name).unwrap_or_else(|| panic!("{}: no array {name}", path.display()))
}

/// The array `name` of the file, if there is one.
///
/// # Panics
/// When the file cannot be read.
pub fn try_read(path: &Path, name: &str) -> Option<NpzArray> {
    let arrays =
        npz::read_npz_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    arrays.into_iter().find(|array| array.name == name)
}

/// The elements of the array `name` as f32.
///
/// # Panics
/// When there is none, or its elements are no numbers.
pub fn read_f32(path: &Path, name: &str) -> Vec<f32> {
    let array = read(path, name);
    array
        .to_f32_vec()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes the arrays to a new file.
///
/// # Panics
/// When it cannot be written.
pub fn write(path: &Path, arrays: &[NpzArray]) {
    let bytes = npz::write_npz(arrays).expect("shapes that fit their elements");
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Writes the array `name` of one file as `new_name` to another, alone.
///
/// # Panics
/// When there is none, or a file cannot be read or written.
pub fn copy_array(from: &Path, name: &str, to: &Path, new_name: &str) {
    let mut array = read(from, name);
    array.name = new_name.to_string();
    write(to, &[array]);
}
