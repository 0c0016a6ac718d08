//! The readers of names: of hosts, files, listeners, interfaces and VRFs.
//!
//! Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Value, ValueError, text, wrong};
use crate::model::device::LOOPBACK;

/// The name of a host in a URL: letters, digits, `-` and `_` between dots.
pub(in crate::config) fn host_name(name: &str) -> Result<(), ValueError> {
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    if name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(good) {
        return Ok(());
    }
    let help = match name.contains(['$', '{', '%', '<', '@']) {
        true => {
            "write the name itself, or `${NAME}` for a variable of the environment; nothing else is replaced"
        }
        false => "write the name as clients write it, as in `www.example.com`",
    };
    wrong(format!("`{}` is not a host name", name.escape_debug()), help)
}

/// A path that begins with `/`.
pub(in crate::config) fn absolute(value: &Value<'_>) -> Result<PathBuf, ValueError> {
    let path = path(value)?;
    if path.has_root() {
        return Ok(path);
    }
    let help = "write the path from `/` on, as in `\"/run/www.up\"`";
    wrong(format!("`{}` is not an absolute path", path.display().to_string().escape_debug()), help)
}

/// A path that is not empty.
pub(in crate::config) fn path(value: &Value<'_>) -> Result<PathBuf, ValueError> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        return wrong(format!("`{}` is not a path", text.escape_debug()), "write the path of a file");
    }
    Ok(PathBuf::from(text))
}

/// `ADDRESS:PORT`, the address of IPv6 in brackets.
pub(in crate::config) fn listen(value: &Value<'_>) -> Result<SocketAddr, ValueError> {
    const HELP: &str = "write address and port, as in `\"127.0.0.1:9179\"` or `\"[::1]:9179\"`";
    let text = text(value)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) => wrong("port 0 cannot be used", HELP),
        Err(_) => wrong(format!("`{}` is not an address with a port", text.escape_debug()), HELP),
    }
}

/// A valid name for an interface in Linux.
pub(in crate::config) fn interface(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    let good = |c: char| c.is_ascii_graphic() && !"/:".contains(c);
    if text.is_empty() || text.len() > 15 || !text.chars().all(good) || [".", ".."].contains(&text) {
        return wrong(
            format!("`{}` is not an interface name", text.escape_debug()),
            "write its name as `ip link` prints it, as in `\"eth0\"`",
        );
    }
    Ok(text.to_owned())
}

/// The name of a VRF, which is that of its device.
pub(in crate::config) fn vrf(value: &Value<'_>) -> Result<String, ValueError> {
    match interface(value) {
        Err(ValueError { .. }) if value.found.as_str().is_some() => wrong(
            format!("`{}` is not the name of a VRF", text(value)?.escape_debug()),
            "write the name of its device as `ip link show type vrf` prints it, 1 to 15 characters, as in `\"edge\"`",
        ),
        Ok(name) if name == LOOPBACK => wrong(
            "`lo` is not a VRF",
            "remove `vrf`: without it, the VIPs are on lo, and the main routing table is used",
        ),
        other => other,
    }
}
