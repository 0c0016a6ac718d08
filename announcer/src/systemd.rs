//! What announcer tells systemd about itself: ready, reloading, stopping, the text of `STATUS=`, and that it is alive.
//!
//! Pure, except for [`io`]. The protocol is sd_notify(3): one datagram, one `NAME=value` a line.

pub mod io;

use std::time::Duration;

use crate::model::text;

/// The longest text of `STATUS=`, in characters.
const LONGEST: usize = 300;

/// A message to systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The start or the reload is done.
    Ready,
    /// A reload begins, at this time of CLOCK_MONOTONIC.
    Reloading(Duration),
    /// The stop begins.
    Stopping,
    /// The daemon is alive.
    Alive,
    /// What it does, for people.
    Status(String),
    /// Keep the descriptor that comes with this message, under this name.
    Store(String),
    /// Close the kept descriptors of this name.
    Unstore(String),
}

impl Notice {
    /// The octets of the message.
    pub fn to_text(&self) -> String {
        match self {
            Notice::Ready => "READY=1".to_owned(),
            Notice::Reloading(at) => format!("RELOADING=1\nMONOTONIC_USEC={}", at.as_micros()),
            Notice::Stopping => "STOPPING=1".to_owned(),
            Notice::Alive => "WATCHDOG=1".to_owned(),
            Notice::Status(words) => format!("STATUS={words}"),
            Notice::Store(name) => format!("FDSTORE=1\nFDNAME={name}"),
            Notice::Unstore(name) => format!("FDSTOREREMOVE=1\nFDNAME={name}"),
        }
    }
}

/// Where systemd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyAddress {
    /// A socket in the file system.
    Path(String),
    /// A name in Linux' abstract namespace.
    Abstract(String),
}

impl NotifyAddress {
    /// From the value of `NOTIFY_SOCKET`; `None`: this kind of address is not supported.
    pub fn parse(value: &str) -> Option<Self> {
        if value.starts_with('/') {
            return Some(NotifyAddress::Path(value.to_owned()));
        }
        let name = value.strip_prefix('@').filter(|name| !name.is_empty())?;
        Some(NotifyAddress::Abstract(name.to_owned()))
    }
}

/// Whether systemd expects signs of life: `usec` and `pid` are the values of `WATCHDOG_USEC` and `WATCHDOG_PID`, `own` is the number
/// of this process. Returns the time after which systemd restarts a daemon without a sign of life.
pub fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

/// How many descriptors systemd stores for this process (`FileDescriptorStoreMax=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLimit {
    /// This process was not started by systemd.
    NoManager,
    /// systemd does not say it: it is older than version 254, or the setting is not in the unit.
    Unknown,
    /// So many.
    Most(u64),
}

impl StoreLimit {
    /// From the values of `NOTIFY_SOCKET`, if there is such a socket, and `FDSTORE`.
    pub fn parse(has_manager: bool, store: Option<&str>) -> Self {
        match store.and_then(|store| store.parse().ok()) {
            _ if !has_manager => StoreLimit::NoManager,
            Some(most) => StoreLimit::Most(most),
            None => StoreLimit::Unknown,
        }
    }
}

/// The numbers of `STATUS=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceNumbers {
    /// How many VIPs the configuration names.
    pub vips: usize,
    /// How many of them are advertised: announced, or the last choice.
    pub advertised: usize,
    /// How many routers the configuration names.
    pub routers: usize,
    /// With how many of them there is a session.
    pub established: usize,
}

/// The text of `STATUS=` of a daemon that runs; `warning` is what an operator must know besides.
pub fn status(numbers: ServiceNumbers, warning: Option<&str>) -> String {
    let ServiceNumbers { vips, advertised, routers, established } = numbers;
    let of = |some: usize, all: usize, what: &str| match all {
        0 => format!("no {what} is configured"),
        1 => format!("{some} of 1 {what}"),
        _ => format!("{some} of {all} {what}s"),
    };
    let words = format!("{}, {}", of(advertised, vips, "VIP"), of(established, routers, "router"));
    // A line end would begin the next field of the message.
    text::one_line(&warning.map_or(words.clone(), |warning| format!("{words}; {warning}")), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_counts_vips_and_routers() {
        for (numbers, warning, want) in [
            ((29, 32, 2, 3), None, "29 of 32 VIPs, 2 of 3 routers"),
            ((0, 1, 1, 1), None, "0 of 1 VIP, 1 of 1 router"),
            ((0, 0, 0, 2), None, "no VIP is configured, 0 of 2 routers"),
            ((1, 1, 0, 0), Some("a typo"), "1 of 1 VIP, no router is configured; a typo"),
            ((1, 2, 1, 2), Some("a\nREADY=1\u{1b}[0m"), "1 of 2 VIPs, 1 of 2 routers; a READY=1 [0m"),
        ] {
            let (advertised, vips, established, routers) = numbers;
            let numbers = ServiceNumbers { vips, advertised, routers, established };
            assert_eq!(status(numbers, warning), want);
        }
        let long = status(ServiceNumbers::default(), Some(&"ä".repeat(1000)));
        assert!(long.chars().count() == LONGEST && long.ends_with('ä'), "{long}");
    }

    #[test]
    fn each_notice_is_a_message_of_the_protocol() {
        for (notice, want) in [
            (Notice::Ready, "READY=1"),
            (Notice::Reloading(Duration::from_nanos(12_345_678_900)), "RELOADING=1\nMONOTONIC_USEC=12345678"),
            (Notice::Stopping, "STOPPING=1"),
            (Notice::Alive, "WATCHDOG=1"),
            (Notice::Status("1 of 1 VIP".into()), "STATUS=1 of 1 VIP"),
            (Notice::Store("state".into()), "FDSTORE=1\nFDNAME=state"),
            (Notice::Unstore("state".into()), "FDSTOREREMOVE=1\nFDNAME=state"),
        ] {
            assert_eq!(notice.to_text(), want);
        }
    }

    #[test]
    fn the_environment_says_how_many_descriptors_are_stored() {
        for (has_manager, store, want) in [
            (true, Some("512"), StoreLimit::Most(512)),
            (true, None, StoreLimit::Unknown),
            (true, Some("x"), StoreLimit::Unknown),
            (false, Some("512"), StoreLimit::NoManager),
            (false, None, StoreLimit::NoManager),
        ] {
            assert_eq!(StoreLimit::parse(has_manager, store), want, "{has_manager} {store:?}");
        }
    }

    #[test]
    fn the_environment_says_where_and_whether() {
        for (value, want) in [
            ("/run/systemd/notify", Some(NotifyAddress::Path("/run/systemd/notify".into()))),
            ("@notify", Some(NotifyAddress::Abstract("notify".into()))),
            ("@", None),
            ("", None),
            ("vsock:2:1234", None),
            ("run/notify", None),
        ] {
            assert_eq!(NotifyAddress::parse(value), want, "{value}");
        }
        for (usec, pid, want) in [
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("8"), None), // of another process, which has passed its environment on
            (Some("30000000"), Some("x"), None),
            (Some("0"), Some("7"), None),
            (Some("x"), Some("7"), None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(usec, pid, 7), want.map(Duration::from_secs), "{usec:?} {pid:?}");
        }
    }
}
