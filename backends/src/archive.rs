//! Static library from object files, deterministic: no time stamps, no owners.

use crate::BackendError;
use crate::targets::Target;
use ar_archive_writer::{
    ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream,
};
use std::io::Cursor;
use target_lexicon::BinaryFormat;

/// Writes an archive with a symbol index from `members`, name and contents each.
///
/// # Errors
/// [`BackendError::Format`] if a member is no object of a known format.
pub fn write_archive(
    file: &str,
    members: &[(String, &[u8])],
    target: &Target,
) -> Result<Vec<u8>, BackendError> {
    let kind = match target.lexicon().binary_format {
        BinaryFormat::Coff => ArchiveKind::Coff,
        BinaryFormat::Macho => ArchiveKind::Darwin,
        _ => ArchiveKind::Gnu,
    };
    let members: Vec<NewArchiveMember<'_>> = members
        .iter()
        .map(|(name, bytes)| NewArchiveMember::new(*bytes, &DEFAULT_OBJECT_READER, name.clone()))
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
