//! A problem with the files of a check.
//!
//! Pure, except for the type of the errors.

use std::io;

use crate::files::io::FileError;
use crate::model::text::PrintableText;

/// A problem with the files of a check, as the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum CheckFilesFinding {
    /// A file cannot be used.
    #[error("{0}")]
    Wrong(PrintableText),
    /// A file does not exist, or we may not read it. It may exist on the host that runs the daemon, and the daemon's user may be
    /// able to read it.
    #[error("{0}")]
    Unseen(PrintableText),
}

/// Whether the file may exist elsewhere, or another user may be able to read it.
pub(super) fn is_unseen(error: &FileError) -> bool {
    match error {
        FileError::Io(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        FileError::Hangs(_) | FileError::Busy(_) | FileError::TooLarge(_) | FileError::NotRegular => false,
        FileError::WritableByOthers(_) | FileError::NotText => false,
    }
}
