//! The codes of the findings: one for each fault that `dsr-setup doctor` can name.
//!
//! Pure. A code is stable: scripts and alerts compare it. The table here is the only list; docs/dsr-doctor.md is compared with it.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong now.
    Note,
    /// It may harm, or it harms some clients.
    Warning,
    /// It harms.
    Error,
}

impl Severity {
    /// The word that is printed.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who looks for a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    /// The daemon looks all the time, and `doctor` when it runs.
    Daemon,
    /// Only `doctor`, when it runs.
    Doctor,
}

impl Watcher {
    /// The sentence that is printed.
    pub fn sentence(self) -> &'static str {
        match self {
            Watcher::Daemon => "the daemon watches this all the time",
            Watcher::Doctor => "only doctor looks for this",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $severity:ident, $watcher:ident, $meaning:literal;)*) => {
        /// A fault that can be found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The stable name, in kebab-case.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The severity that a finding of this code has at most.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// Who looks for it.
            pub fn watcher(self) -> Watcher {
                match self { $(Code::$variant => Watcher::$watcher,)* }
            }

            /// What it means, as a sentence for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    VipMissing = "vip-missing", Error, Daemon, "The VIP is on no interface of this host.";
    LoDown = "lo-down", Error, Daemon, "lo, or the interface of `--device`, is down, so that its addresses do not answer.";
    VipTentative = "vip-tentative", Error, Daemon, "Duplicate address detection of the IPv6 VIP has not ended; the host does not answer for it.";
    VipDadfailed = "vip-dadfailed", Error, Daemon, "Duplicate address detection has taken the IPv6 VIP away from this host.";
    VipOnOtherInterface = "vip-on-other-interface", Error, Daemon, "The VIP is on an interface to other hosts, which answers ARP or neighbour solicitations for it; or it is not on that of `--device`.";
    VipPrefixLength = "vip-prefix-length", Error, Daemon, "The VIP has the prefix length of a network; the host takes the whole network for its own.";
    VipInConnectedSubnet = "vip-in-connected-subnet", Warning, Doctor, "The VIP lies in the subnet of an interface; hosts there ask for it by ARP or ND, and never send to a router.";
    VipHeldByOther = "vip-held-by-other", Error, Doctor, "Another host answers ARP or ND for the VIP (probed with packets).";
    ArpAnswered = "arp-answered", Error, Daemon, "This host answers ARP for the VIP, or announces it: its settings allow it, or it was seen in a packet.";
    VipIsSource = "vip-is-source", Error, Daemon, "The kernel chooses the VIP as the source of this host's own packets.";
    RpFilterStrict = "rp-filter-strict", Error, Doctor, "rp_filter is strict on an interface by which clients' packets arrive and answers do not leave.";
    NoReturnRoute = "no-return-route", Error, Daemon, "There is no route from the VIP back to clients.";
    RuleCatchesVip = "rule-catches-vip", Warning, Doctor, "A policy rule applies to packets from or to the VIP.";
    MtuAbovePath = "mtu-above-path", Warning, Doctor, "Packets of the interface's MTU do not get through, and smaller ones do (probed with packets).";
    FirewallDropsVip = "firewall-drops-vip", Error, Doctor, "The packet filter drops new connections to the VIP.";
    FirewallDropsIcmp = "firewall-drops-icmp-errors", Error, Doctor, "The packet filter drops the ICMP errors for the VIP on which path MTU discovery depends.";
    SynUnanswered = "syn-unanswered", Error, Doctor, "SYN packets for the VIP arrived while doctor listened, and no answer left.";
    ConntrackFull = "conntrack-full", Error, Daemon, "The table of connections (conntrack) is full, or nearly.";
    InvalidDropped = "conntrack-invalid-dropped", Warning, Doctor, "The packet filter drops packets of the state `invalid`; a flow that was routed to this host anew hangs instead of being reset.";
    ServerNotListening = "server-not-listening", Error, Doctor, "Nothing listens at the port of the service.";
    ServerOtherFamily = "server-other-family", Error, Doctor, "The server listens for the other address family only.";
    ServerOnLoopback = "server-on-loopback-address", Error, Doctor, "The server listens on 127.0.0.1 or ::1 only.";
    BacklogOverflow = "backlog-overflow", Error, Daemon, "The accept queue of the server is full, or was: the kernel drops new connections.";
    SynCookies = "syn-cookies", Warning, Doctor, "The kernel answers with SYN cookies: it does so always, or the SYN queue overflows.";
    RedirectsSent = "icmp-redirects", Warning, Doctor, "The host forwards packets and sends ICMP redirects, which lead clients around it.";
    HashPolicy = "multipath-hash-policy", Warning, Doctor, "The host routes by several next hops and chooses them by addresses alone.";
    CertificateEnds = "certificate-ends", Error, Doctor, "The certificate that the VIP shows has ended, or ends soon.";
    ClockWrong = "clock-wrong", Error, Doctor, "The wall clock is wrong: the certificate of the VIP is not valid yet, or the date is before this program was made.";
    NoPacket = "no-packet", Warning, Doctor, "No packet for the VIP arrived while doctor listened.";
    OneMacForSeveral = "one-mac-for-several", Warning, Doctor, "One MAC address answers for several hosts: proxy ARP, or a host that answers for all.";
    SecondManager = "second-manager", Error, Doctor, "Another program manages the VIP: keepalived, MetalLB, kube-vip or kube-proxy.";
    VipLeftOver = "vip-left-over", Warning, Doctor, "An address of announcer is on the host, and the configuration does not name it any more.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The table of the documentation, in Markdown.
pub fn table() -> String {
    let mut text = String::from("| code | severity | who looks | what it means |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let who = match code.watcher() {
            Watcher::Daemon => "watched by the daemon",
            Watcher::Doctor => "only doctor looks",
        };
        text.push_str(&format!("| `{code}` | {} | {who} | {} |\n", code.severity(), code.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn an_error_is_worse_than_a_warning_and_a_warning_than_a_note() {
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Note);
    }
}
