//! Which files are part of announcer's configuration: the main file, and those of the folder `conf.d` beside it.
//!
//! Pure. `dsr-setup` and `announcer` both read the configuration by it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The name of the folder with more files, beside the main file.
const FOLDER: &str = "conf.d";

/// The folder with more files of the configuration whose main file is `main`.
pub fn folder_of(main: &Path) -> PathBuf {
    main.with_file_name(FOLDER)
}

/// The names of a folder that are files of the configuration, in byte order: those that end in `.toml` and do not begin with a dot.
/// So the copies of editors and package managers (`x.toml~`, `x.toml.dpkg-old`, `.x.toml.swp`) are not read.
pub fn files_of_folder(names: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_one = |name: &OsStr| {
        let octets = name.as_encoded_bytes();
        octets.ends_with(b".toml") && !octets.starts_with(b".")
    };
    let mut names: Vec<OsString> = names.into_iter().filter(|name| is_one(name)).collect();
    names.sort_by(|one, other| one.as_encoded_bytes().cmp(other.as_encoded_bytes()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_toml_files_are_read_and_in_byte_order() {
        let names = [
            "b.toml",
            "a.toml",
            "Z.toml",
            "10.toml",
            "9.toml",
            "a.toml~",
            "a.toml.dpkg-old",
            "a.toml.rpmnew",
            ".a.toml",
            ".a.toml.swp",
            "#a.toml#",
            "README",
            "toml",
            "a.TOML",
            "ü.toml",
            "a.toml.bak",
        ];
        let found = files_of_folder(names.map(OsString::from));
        assert_eq!(found, ["10.toml", "9.toml", "Z.toml", "a.toml", "b.toml", "ü.toml"]);
    }

    #[test]
    fn the_folder_is_beside_the_main_file() {
        for (main, folder) in [
            ("/etc/announcer/announcer.toml", "/etc/announcer/conf.d"),
            ("announcer.toml", "conf.d"),
            ("./x", "./conf.d"),
        ] {
            assert_eq!(folder_of(Path::new(main)), Path::new(folder));
        }
    }
}
