//! Static library from object files, deterministic: no time stamps, no owners.

use crate::BackendError;
use crate::library::LibraryFile;
use crate::targets::Target;
use ar_archive_writer::{
    ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream,
};
use std::io::Cursor;
use target_lexicon::BinaryFormat;

/// File name of the static library of the model `name`, as linkers for `target` look for it.
pub fn file_name(name: &str, target: &Target) -> String {
    match target.binary_format() {
        BinaryFormat::Coff => format!("{name}.lib"),
        _ => format!("lib{name}.a"),
    }
}

/// Writes an archive with a symbol index from `members`.
///
/// # Errors
/// [`BackendError::Format`] if a member is no object of a known format.
pub fn write_archive(
    file: &str,
    members: &[LibraryFile],
    target: &Target,
) -> Result<Vec<u8>, BackendError> {
    let kind = match target.binary_format() {
        BinaryFormat::Coff => ArchiveKind::Coff,
        BinaryFormat::Macho => ArchiveKind::Darwin,
        _ => ArchiveKind::Gnu,
    };
    let members: Vec<NewArchiveMember<'_>> = members
        .iter()
        .map(|m| NewArchiveMember::new(&*m.bytes, &DEFAULT_OBJECT_READER, m.name.clone()))
        .collect();
    let mut out = Cursor::new(Vec::new());
    write_archive_to_stream(&mut out, &members, kind, false, None).map_err(|e| {
        BackendError::Format {
            file: file.into(),
            message: e.to_string(),
        }
    })?;
    Ok(out.into_inner())
}
