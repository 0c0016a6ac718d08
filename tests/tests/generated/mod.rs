//! Starts a lab from a topology that was generated.
//!
//! Touches files and the lab.

use anyhow::Result;
use lab::{Cancel, Lab, Options};
use scene::lab_folder;
use tempfile::TempDir;

/// The lab of this topology, whose file is in a temporary folder with this name, beside links to everything that it mounts.
///
/// # Errors
/// When it does not come up.
pub(crate) fn up(name: &str, text: &str) -> Result<Lab> {
    let project = lab_folder().join("..").canonicalize()?;
    let site = TempDir::new()?;
    let folder = site.path().join("lab").join(name);
    std::fs::create_dir_all(&folder)?;
    std::os::unix::fs::symlink(project.join("target"), site.path().join("target"))?;
    for name in ["nodes", "images"] {
        std::os::unix::fs::symlink(project.join("lab").join(name), folder.with_file_name(name))?;
    }
    let file = folder.join(format!("{name}.clab.yml"));
    std::fs::write(&file, text)?;
    Ok(Lab::start(&Options::new(&file), &Cancel::new())?)
}
