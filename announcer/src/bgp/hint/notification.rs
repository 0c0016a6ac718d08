//! Hints for a NOTIFICATION of the router.
//!
//! Pure. RFC 4271 §6, RFC 5492 §3 and §5, RFC 4486, RFC 8538, RFC 9234 §4.2, RFC 9384.

use super::{Clues, Setting, path_mtu, same_router};
use crate::bgp::notification::{NamedCapability, Notification, PrefixLimit, family_name};
use crate::model::{AS_TRANS, Family};

pub(super) fn hint(notification: &Notification, clues: &Clues) -> Option<String> {
    let hint: String = match notification.kind() {
        (2, 2) => wrong_as(clues),
        (2, 3) => "two speakers have one `router_id`: compare it with the router's, and with those of the other hosts".into(),
        (2, 0 | 4) if !clues.has(Setting::NoCapabilities) => {
            "the router does not understand the capabilities of our OPEN: write `capabilities = false` for this peer, which \
             leaves them out (RFC 5492 §3); the session then carries only IPv4"
                .into()
        }
        (2, 0 | 4) => "our OPEN has no optional parameter: the router's log says what it does not accept".into(),
        (2, 5) => "the router requires an authentication inside BGP that is obsolete (RFC 4271): configure TCP MD5 there".into(),
        (2, 6) => hold_time(clues),
        (2, 7) => capability(notification, clues),
        (2, 11) => "the router requires a BGP role (RFC 9234), which announcer does not send: remove it there (FRR: \
                    `local-role … strict-mode`, BIRD: `require roles`)"
            .into(),
        (3, _) => attribute(notification),
        (4, _) if clues.large_lost => path_mtu(),
        (4, _) => "the router received nothing from us for its hold time: check whether this host is overloaded, and whether \
                   large segments are lost on the way (a small path MTU, and a filter that drops ICMP)"
            .into(),
        (6, 1) => prefix_limit(notification),
        (6, 2) => "the router's operator shut this neighbour down".into(),
        (6, 3) => format!("the router has no neighbour {}, or no longer has it, or its BGP daemon was stopped; if it expects \
                           another address, write `source_address`", clues.us()),
        (6, 4) => "an operator reset the session on the router; announcer connects again".into(),
        (6, 5) => format!(
            "the router rejects this neighbour; its log says why: check that it has {} as neighbour, with the AS of this host",
            clues.us()
        ),
        (6, 6) => "the router's configuration of this neighbour was changed; announcer connects again".into(),
        (6, 7) => same_router(),
        (6, 8) => "the router has no memory or no room left for this neighbour; its log says which".into(),
        (6, 9) => {
            let inner = notification.inner().and_then(|inner| hint(&inner, clues));
            inner.unwrap_or_else(|| {
                "the router made a hard reset of the session: it keeps no routes of ours (RFC 8538); announcer connects again"
                    .into()
            })
        }
        (6, 10) => "the router's BFD reports that this host is down: without `bfd = true` in this `[[peer]]`, remove `bfd` from the \
                    neighbour; with it, packets were lost or late, and `announcer explain` of the peer says what BFD sees here"
            .into(),
        (8, _) => "the router could send us nothing for its send hold time: check whether this host is overloaded".into(),
        _ => return None,
    };
    Some(hint)
}

fn wrong_as(clues: &Clues) -> String {
    let asn = clues.ours.asn;
    let known = "compare `asn` of `[bgp]` with the router's `neighbor … remote-as`";
    if clues.has(Setting::NoCapabilities) && asn > u32::from(u16::MAX) {
        return format!(
            "without capabilities our OPEN has AS {AS_TRANS} (AS_TRANS) in place of {asn}: write `remote-as {AS_TRANS}` on the \
             router, or remove `capabilities = false`"
        );
    }
    let old = if asn > u32::from(u16::MAX) {
        format!(
            "; a router that does not know AS numbers of four octets sees AS_TRANS for {asn}: there, write `remote-as {AS_TRANS}`"
        )
    } else {
        String::new()
    };
    format!(
        "{known}: our OPEN has AS {asn}{old}. A router in a confederation, or with `local-as` for this neighbour, may treat \
         this host as a member of its own AS"
    )
}

fn hold_time(clues: &Clues) -> String {
    let seconds = clues.ours.hold_time.as_secs();
    if seconds == 0 {
        return "the router requires a hold timer, and `hold_time` is 0: write one, such as `hold_time = \"90s\"`".into();
    }
    format!(
        "raise `hold_time`: the router requires more than {seconds} s (see its `minimum-hold-time` or a similar setting)"
    )
}

fn capability(notification: &Notification, clues: &Clues) -> String {
    let named = notification.capabilities();
    if named.is_empty() {
        let families: Vec<String> = clues.ours.families.iter().map(ToString::to_string).collect();
        let without = if clues.has(Setting::NoCapabilities) {
            " `capabilities = false` leaves out all of them."
        } else {
            ""
        };
        return format!(
            "the router requires a capability that our OPEN lacks, and does not say which.{without} It has no family of ours \
             ({}) for this neighbour, or it requires (BIRD: `require …`, FRR: `strict-capability-match`) graceful restart \
             (here `graceful_restart`), extended messages, a host name, ADD-PATH or a role, which announcer does not offer",
            families.join(", ")
        );
    }
    named.iter().map(|one| named_capability(*one, clues)).collect::<Vec<_>>().join("; ")
}

fn named_capability(named: NamedCapability, clues: &Clues) -> String {
    let family = named.family.map(|numbers| match numbers {
        (1, 1) => (Some(Family::V4), numbers),
        (2, 1) => (Some(Family::V6), numbers),
        _ => (None, numbers),
    });
    match (named.code, family) {
        (_, Some((Some(family), _))) if !clues.ours.families.contains(&family) => {
            format!("the router requires {family}, which is not in `families` of this peer")
        }
        (_, Some((Some(family), _))) => {
            format!("the router does not have {family} for this neighbour: activate it there, or take it out of `families`")
        }
        (_, Some((None, numbers))) => format!(
            "the router requires {}, which announcer does not support: activate IPv4 or IPv6 for this neighbour on the router",
            family_name(numbers)
        ),
        (64, None) if !clues.has(Setting::GracefulRestart) => {
            "the router requires graceful restart: write `graceful_restart` in `[bgp]`, or remove the requirement on the \
             router".into()
        }
        // Capabilities that our OPEN has, unless it has no capabilities at all.
        (1 | 2 | 64 | 65 | 70, None) if clues.has(Setting::NoCapabilities) => {
            format!("the router requires {named}: remove `capabilities = false`")
        }
        (1 | 2 | 5 | 64 | 65 | 70, None) => format!(
            "the router does not accept {named}, which our OPEN has: allow it there, or write `capabilities = false` for this \
             peer, which leaves all capabilities out (the session then carries only IPv4)"
        ),
        (_, None) => format!("the router requires {named}, which announcer does not offer: remove the requirement on the router"),
    }
}

fn attribute(notification: &Notification) -> String {
    let key = match (notification.kind(), notification.attribute()) {
        ((3, 11), _) | (_, Some(2)) => {
            "the AS path: the router may be in a confederation with us, or require another first AS, or accept only a shorter \
             path (`prepend`)"
        }
        ((3, 8), _) | (_, Some(3 | 14)) => {
            "the next hop: it has to be on a link of the router, and must not be the router's own address: compare `next_hop_v4`, \
             `next_hop_v6` and `next_hop`"
        }
        ((3, 6), _) | (_, Some(1)) => "`origin`",
        (_, Some(4)) => "`med`",
        (_, Some(5)) => "`local_pref`, which only iBGP has: compare the `asn` of both sides",
        (_, Some(8)) => "`communities`",
        (_, Some(16)) => "`extended_communities`",
        (_, Some(17)) => "AS4_PATH, which is sent only to routers without AS numbers of four octets",
        (_, Some(32)) => "`large_communities`",
        ((3, 10), _) => "a prefix: compare `prefix` and the VIPs",
        (_, Some(_) | None) => return "the router does not accept a route of ours; its log says why".into(),
    };
    format!("the router does not accept a route of ours; check {key}")
}

fn prefix_limit(notification: &Notification) -> String {
    let more = match notification.prefix_limit() {
        Some(PrefixLimit { family, limit }) => {
            format!("more {} prefixes than the {limit} that", family_name(family))
        }
        None => "more VIPs than".into(),
    };
    format!(
        "{more} the router's `maximum-prefix` for this neighbour allows: raise it, or announce fewer (`prefix`); many routers \
         keep the session down until an operator clears the neighbour there"
    )
}
