//! The drop-in for the order of a web server that our units do not name.
//!
//! Pure. The web server starts after `dsr-setup.service`, so that it finds the VIPs on lo at boot, and before `announcer.service`.
//! systemd stops units in the reverse order, so the routers stop sending before the web server stops.

use std::path::PathBuf;

/// The directory of the operator's units and drop-ins.
pub const UNITS: &str = "/etc/systemd/system";

/// The directories of all units (systemd.unit(5)), without [`UNITS`].
pub const OTHER_UNITS: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/system",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The types of units that are no services (systemd.unit(5)).
const OTHER_TYPES: &[&str] =
    &["socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];

/// The drop-in's text.
pub const DROP_IN: &str = "\
# Written by `dsr-setup order`; `dsr-setup order --remove` removes it.
[Unit]
After=dsr-setup.service
Before=announcer.service
";

/// A service's unit, such as `caddy.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit(String);

impl Unit {
    /// Reads `caddy.service`, or `caddy` for short. A unit of another type is refused: a drop-in for it would order something else
    /// than the web server.
    pub fn parse(text: &str) -> Result<Unit, UnitError> {
        let suffix = text.rsplit_once('.').map(|(_, suffix)| suffix);
        if let Some(of) = suffix.and_then(|suffix| OTHER_TYPES.iter().find(|of| **of == suffix)) {
            return Err(UnitError::OtherType(of));
        }
        let name = text.strip_suffix(".service").unwrap_or(text);
        let fits = |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
        if name.is_empty() || name.len() > 200 || !name.chars().all(fits) || name.starts_with('.') {
            return Err(UnitError::NoName);
        }
        if ["announcer", "dsr-setup", "dsr-setup-watch"].contains(&name) {
            return Err(UnitError::Ours);
        }
        Ok(Unit(format!("{name}.service")))
    }

    /// Its whole name, such as `caddy.service`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The names of the files that define it: its own, and for an instance such as `shop@eu.service` that of its template.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let template = self.0.split_once('@').map(|(name, _)| format!("{name}@.service"));
        std::iter::once(self.0.clone()).chain(template)
    }

    /// The drop-in's path below [`UNITS`].
    pub fn drop_in(&self) -> PathBuf {
        PathBuf::from(format!("{}.d", self.0)).join("announcer.conf")
    }
}

/// Why a text is not the name of a unit for `order`. The message continues the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// systemd has no such names.
    #[error("is not the name of a unit; write it as in `caddy.service`")]
    NoName,
    /// A unit of another type than a service.
    #[error("is a {0} and not a service; write the service that runs the web server, as in `caddy.service`")]
    OtherType(&'static str),
    /// One of our own.
    #[error("is already ordered; name the unit of a web server")]
    Ours,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_with_or_without_its_suffix() {
        for text in ["php8.2-fpm", "php8.2-fpm.service"] {
            let path = Unit::parse(text).unwrap().drop_in();
            assert_eq!(path.to_str().unwrap(), "php8.2-fpm.service.d/announcer.conf");
        }
        for (text, want) in [
            ("", UnitError::NoName),
            (".service", UnitError::NoName),
            ("../../etc/passwd", UnitError::NoName),
            ("..", UnitError::NoName),
            ("a b", UnitError::NoName),
            ("announcer.service", UnitError::Ours),
            ("dsr-setup", UnitError::Ours),
            ("dsr-setup-watch.service", UnitError::Ours),
            ("www.socket", UnitError::OtherType("socket")),
            ("caddy.timer", UnitError::OtherType("timer")),
            ("foo.target", UnitError::OtherType("target")),
            ("srv-www.mount", UnitError::OtherType("mount")),
        ] {
            assert_eq!(Unit::parse(text), Err(want), "{text}");
        }
        // The whole name of a service may contain the suffix of another type.
        assert_eq!(Unit::parse("www.socket.service").unwrap().name(), "www.socket.service");
        let files: Vec<String> = Unit::parse("shop@eu").unwrap().files().collect();
        assert_eq!(files, ["shop@eu.service", "shop@.service"]);
    }
}
