//! The steps about tunnels, their lines, and what was wrong before them.
//!
//! Pure.

use std::fmt;

use super::{MssLimit, TABLE, TunnelKind};

/// One step. Its `Display` is the line that `plan` and `apply` print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelStep {
    /// Make the device. Nothing comes out of it before it is up.
    Make(TunnelKind),
    /// Write rp_filter of the device, and note the old value in its alias before. A device that was just made has no known value yet.
    Filter {
        /// Whose.
        kind: TunnelKind,
        /// Its value, if it is known.
        was: Option<i32>,
        /// Its next value.
        set: i32,
    },
    /// Set the device up, and note this in its alias.
    Raise(TunnelKind),
    /// Install the rules that limit the MSS.
    LimitMss(MssLimit),
    /// Remove them.
    RemoveMss,
    /// Set a device down that was set up here.
    Lower(TunnelKind),
    /// Write the old rp_filter back.
    Unfilter {
        /// Whose.
        kind: TunnelKind,
        /// The old value.
        was: i32,
    },
    /// Clear the alias: nothing of ours is left.
    Release(TunnelKind),
}

impl TunnelStep {
    /// The kind of tunnel that it is about; `None`: about all.
    #[must_use]
    pub fn kind(&self) -> Option<TunnelKind> {
        match self {
            TunnelStep::Make(kind)
            | TunnelStep::Filter { kind, .. }
            | TunnelStep::Raise(kind)
            | TunnelStep::Lower(kind)
            | TunnelStep::Unfilter { kind, .. }
            | TunnelStep::Release(kind) => Some(*kind),
            TunnelStep::LimitMss(_) | TunnelStep::RemoveMss => None,
        }
    }

    /// What was wrong before this step, as a sentence without a full stop. `is` is the verb in its tense, `is` or `was`.
    #[must_use]
    pub fn drift(&self, is: &str) -> String {
        match self {
            TunnelStep::Make(kind) => {
                format!(
                    "the tunnel device {} {is} missing, so that no packet of a director comes out",
                    kind.device()
                )
            }
            TunnelStep::Filter { kind, was, .. } => {
                let device = kind.device();
                let value = was.map_or_else(|| "strict".to_owned(), |was| was.to_string());
                format!(
                    "net.ipv4.conf.{device}.rp_filter {is} {value}, so that packets that come out of {device} are dropped"
                )
            }
            TunnelStep::Raise(kind) => {
                format!("{} {is} down, so that no packet of a director comes out", kind.device())
            }
            TunnelStep::LimitMss(limit) => {
                format!(
                    "the MSS {is} not limited ({limit}), so that the packets of clients may be too large for the tunnel"
                )
            }
            TunnelStep::RemoveMss
            | TunnelStep::Lower(_)
            | TunnelStep::Unfilter { .. }
            | TunnelStep::Release(_) => format!("it {is} not done yet to {self}"),
        }
    }
}

impl fmt::Display for TunnelStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelStep::Make(kind) => write!(f, "make the tunnel device {}", kind.device()),
            TunnelStep::Filter { kind, was, set } => {
                write!(f, "set net.ipv4.conf.{}.rp_filter = {set}", kind.device())?;
                was.map_or(Ok(()), |was| write!(f, " (was {was})"))
            }
            TunnelStep::Raise(kind) => write!(f, "set {} up", kind.device()),
            TunnelStep::LimitMss(limit) => write!(f, "limit the MSS of {limit}"),
            TunnelStep::RemoveMss => write!(f, "remove the nftables table {TABLE}"),
            TunnelStep::Lower(kind) => write!(f, "set {} down", kind.device()),
            TunnelStep::Unfilter { kind, was } => {
                write!(f, "set net.ipv4.conf.{}.rp_filter = {was}", kind.device())
            }
            TunnelStep::Release(kind) => write!(f, "clear the alias of {}", kind.device()),
        }
    }
}
