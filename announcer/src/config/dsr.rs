//! `[dsr]`: what `dsr-setup doctor` has to know about the network for direct server return (DSR).
//!
//! Pure. The daemon does not use it; it is checked here, so that `announcer validate` finds a mistake before `dsr-setup` needs it.

use std::net::IpAddr;

use super::address::{address, usable};
use super::error::{Fault, unique};
use super::keys::Section;
use super::table::table;
use super::value::{Value, ValueError};

pub(super) const SECTION: Section = Section {
    header: "[dsr]",
    doc: "What `dsr-setup doctor` has to know about the network; the daemon does not use it.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[dsr]`.
    pub struct DsrConfig as Written {
        /// The directors in the LANs of this host; each once, and at least one.
        directors: list IpAddr, required "[\"10.0.1.5\"]", director,
            "the directors on the LAN, such as relayd or LVS-DR: they answer ARP and ND for the VIPs rightly; without the table, `dsr-setup doctor` warns about each host that answers";
    }
}

/// The address of a director.
fn director(value: &Value<'_>) -> Result<IpAddr, ValueError> {
    usable(address(value)?, "write the address of the director in the LAN, as in `\"10.0.1.5\"`")
}

/// Checks `[dsr]` by itself.
pub(super) fn judge(dsr: &Written, faults: &mut Vec<Fault>) {
    if let Some(directors) = &dsr.directors {
        unique(directors.get_ref(), "name each director once", faults);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::config::tests::GOOD;
    use crate::config::{ConfigError, canonical, parse};

    #[test]
    fn directors_are_read_and_written_again() {
        let text = format!("{GOOD}[dsr]\ndirectors = [\"10.0.1.5\", \"2001:db8:1::5\"]\n");
        let config = parse("announcer.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(parse("again", &canonical(&config)).unwrap(), config);
        let want: [IpAddr; 2] = ["10.0.1.5", "2001:db8:1::5"].map(|text| text.parse().unwrap());
        assert_eq!(config.dsr.unwrap().directors, want);
        assert_eq!(parse("announcer.toml", GOOD).unwrap().dsr, None);
    }

    #[test]
    fn what_is_wrong_with_directors_is_said() {
        for (written, want) in [
            ("[\"10.0.1.5/24\"]", "`10.0.1.5/24` has a prefix length"),
            ("[]", "`directors` is empty"),
            ("[\"relayd\"]", "`relayd` is not an address"),
            ("[\"127.0.0.1\"]", "`127.0.0.1` is a loopback address"),
            ("[\"10.0.1.5\", \"10.0.1.5\"]", "`10.0.1.5` is named twice"),
            ("[\"192.0.2.80\"]", "the VIP `192.0.2.80` is also a director's address"),
            ("\"10.0.1.5\"", "`directors` must be an array, not a string"),
        ] {
            let errors =
                parse("announcer.toml", &format!("{GOOD}[dsr]\ndirectors = {written}\n")).unwrap_err();
            let found: Vec<ConfigError<'_>> = errors.iter().collect();
            let messages: Vec<String> = found.iter().map(|error| error.message.to_string()).collect();
            assert_eq!(messages, [want], "{written}");
        }
    }
}
