//! The drop-in for the order of a web server that our units do not name.
//!
//! Pure. The web server starts after `dsr-setup.service`, so that it finds the VIPs on lo at boot, and before `announcer.service`.
//! systemd stops units in the reverse order, so the routers stop sending before the web server stops.

use std::path::PathBuf;

/// The directory of the operator's units and drop-ins.
pub const UNITS: &str = "/etc/systemd/system";

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
    /// Reads `caddy.service`, or `caddy` for short.
    pub fn parse(text: &str) -> Result<Unit, UnitError> {
        let name = text.strip_suffix(".service").unwrap_or(text);
        let fits = |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
        if name.is_empty() || name.len() > 200 || !name.chars().all(fits) || name.starts_with('.') {
            return Err(UnitError::NoName);
        }
        if ["announcer", "dsr-setup"].contains(&name) {
            return Err(UnitError::Ours);
        }
        Ok(Unit(format!("{name}.service")))
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
        ] {
            assert_eq!(Unit::parse(text), Err(want), "{text}");
        }
    }
}
