//! The kind `file`: a file that has to be there.
//!
//! Pure. Its probe is `health/io/file.rs`.

use std::path::PathBuf;

use super::super::table::table;
use super::super::value::absolute;
use super::super::writer::Out;
use super::interface::Kind;

table! {
    /// A file that has to be there.
    pub struct File as Written {
        /// Absolute.
        path("file"): one PathBuf, one_of "\"/run/www.up\"", absolute,
            "a file that has to be there, by its absolute path";
    }
}

impl Kind for File {
    type Written = Written;
    const DESCRIPTORS: u64 = 0;

    fn request(&self, _at: &str) -> String {
        format!("for the file `{}`", self.path.display())
    }

    fn write(written: &Written, out: &mut Out) {
        written.write(out);
    }
}
