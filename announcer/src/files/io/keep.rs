//! Keeps a copy of a program, so that it can be run later.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::Uid;

use super::regular;

/// What happened to a copy of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptProgram {
    /// The program was copied.
    Copied,
    /// The program is the file `other`, or the copy itself: nothing was changed.
    Same,
}

/// Copies the program `source` to `folder/name` in one step, so that it survives a power cut, unless `source` is the same file as
/// `other` or as the copy. The folder is made if it does not exist; only its owner may write it. The copy is compared with the
/// source before it gets its name. Blocks.
///
/// # Errors
/// Those of the file system, and when the program or the folder belongs to somebody else than root and this process, or when others
/// may write it. Then the former copy stays.
pub fn keep_program(source: &Path, folder: &Path, name: &str, other: &Path) -> io::Result<KeptProgram> {
    let same = |one: &fs::Metadata, two: &Path| {
        fs::metadata(two).is_ok_and(|two| (one.dev(), one.ino()) == (two.dev(), two.ino()))
    };
    let mut program = File::open(source)?;
    let metadata = program.metadata()?;
    if same(&metadata, other) || same(&metadata, &folder.join(name)) {
        return Ok(KeptProgram::Same);
    }
    trusted(&metadata, "the program that runs")?;
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?; // whatever the umask is
    }
    trusted(&fs::symlink_metadata(folder)?, "the folder")?;
    let new = folder.join(format!(".{name}.new"));
    let copied = regular::create(&new).and_then(|mut copy| {
        io::copy(&mut program, &mut copy)?;
        copy.set_permissions(Permissions::from_mode(0o755))?;
        copy.sync_all()?;
        match is_equal(&File::open(source)?, &File::open(&new)?)? {
            true => fs::rename(&new, folder.join(name)),
            false => Err(io::Error::other("the copy differs from the program")),
        }
    });
    if copied.is_err() {
        let _ = fs::remove_file(&new); // the error above is the one that is returned
    }
    copied?;
    File::open(folder)?.sync_all()?;
    Ok(KeptProgram::Copied)
}

/// Nobody but root and the user of this process can change it.
fn trusted(file: &fs::Metadata, what: &str) -> io::Result<()> {
    if file.uid() != 0 && file.uid() != Uid::effective().as_raw() {
        return Err(io::Error::other(format!(
            "{what} belongs to the user with number {}, not to root",
            file.uid()
        )));
    }
    match file.mode() & 0o022 {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{what} can be changed by others than its owner"))),
    }
}

fn is_equal(one: &File, two: &File) -> io::Result<bool> {
    if one.metadata()?.len() != two.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut two) = (BufReader::new(one), BufReader::new(two));
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        two.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_kept_as_it_is_and_not_twice() {
        let root = tempfile::tempdir().unwrap();
        let (running, installed) = (root.path().join("running"), root.path().join("installed"));
        let folder = root.path().join("lib/announcer/previous");
        for (path, text) in [(&running, "one"), (&installed, "two")] {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let keep = |source: &Path| keep_program(source, &folder, "announcer", &installed);
        assert_eq!(keep(&running).unwrap(), KeptProgram::Copied);
        let kept = folder.join("announcer");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o755);
        // The installed program runs already, or the kept one: the copy stays.
        assert_eq!(keep(&installed).unwrap(), KeptProgram::Same);
        assert_eq!(keep(&kept).unwrap(), KeptProgram::Same);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_program_that_others_can_change_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        let (running, folder) = (root.path().join("running"), root.path().join("previous"));
        fs::write(&running, "one").unwrap();
        let other = root.path().join("other");
        fs::set_permissions(&running, Permissions::from_mode(0o777)).unwrap();
        let error = keep_program(&running, &folder, "announcer", &other).unwrap_err().to_string();
        assert_eq!(error, "the program that runs can be changed by others than its owner");
        fs::set_permissions(&running, Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o775)).unwrap();
        let error = keep_program(&running, &folder, "announcer", &other).unwrap_err().to_string();
        assert_eq!(error, "the folder can be changed by others than its owner");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
