//! Reads the unit of the daemon and its drop-ins.
//!
//! Touches the file system below the folders of systemd.unit(5).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::drain::unit::stop_limit;
use crate::files::io as files;

/// The folders of units, the most important first.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The longest unit that is read, in octets.
const LONGEST: u64 = 64 << 10;

/// The time that systemd gives a stop; `None`: there is no limit. A file that cannot be read counts as empty. Blocks.
pub fn stop_time() -> Option<Duration> {
    let read = |path: &Path| files::read_text(path, LONGEST).ok();
    let unit = FOLDERS.iter().find_map(|folder| read(&Path::new(folder).join("announcer.service")));
    // Of drop-ins with the same name, the most important one counts. All are applied in the order of their names.
    let mut drop_ins = BTreeMap::new();
    for folder in FOLDERS.iter().rev().map(|folder| Path::new(folder).join("announcer.service.d")) {
        for name in files::names(&folder).unwrap_or_default() {
            if Path::new(&name).extension().is_some_and(|extension| extension == "conf") {
                drop_ins.insert(name.clone(), read(&folder.join(name)).unwrap_or_default());
            }
        }
    }
    stop_limit(unit.iter().map(String::as_str).chain(drop_ins.values().map(String::as_str)))
}
