//! Writes the table of one address family.
//!
//! Pure. First the table's parts are declared, which changes nothing if they exist; then rules and elements are flushed; then they are
//! written again. So counters are never deleted, and every part exists whatever the rules are: a replacement leaves nothing behind.

use std::fmt::Display;

use super::counters::{ChainCounter, TEST_NAMES};
use super::{
    BelievedSources, CONNECTION_MARK, FamilyRules, ForwardingSwitch, LAST_HOP, ListenOn, MAX_MEMBERS,
    RuleSet, TABLE, TEST_MARK, TEST_PORT,
};

/// How the families differ.
pub(super) struct Words {
    /// The family of the table, and of the header in expressions: `ip`.
    pub(super) table: &'static str,
    /// The type of an address.
    pub(super) address: &'static str,
    /// Matches the errors that belong to a flow.
    pub(super) errors: &'static str,
    /// The protocol of the packet in error.
    pub(super) inner_protocol: &'static str,
    /// The source port of the packet in error, which we have sent: the service's port.
    pub(super) inner_port: &'static str,
    /// The field that each hop lowers by one.
    pub(super) hop_limit: &'static str,
    /// The source of a test packet on the segment.
    pub(super) test_source: &'static str,
}

/// A SYN that opens a connection. Bits of ECN may be set (RFC 3168 section 6.1.1).
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// How many packets a second are dropped instead of answered when the budget is used up, as a multiple of it. TCP sends them again,
/// so a flow is delayed and does not break. More is a flood: a flow would wait so long that an answer serves its client better.
const DROPPED: u32 = 3;

/// The chains that packets go through, without the hops.
const CHAINS: [&str; 10] = [
    "lookup_wildcard",
    "lookup_address",
    "lookup_error",
    "owned",
    "unowned",
    "returned",
    "over_budget",
    "next_member",
    "test_start",
    "test_arrival",
];

/// The commands for one family's table.
pub(super) fn family<A: Display + Ord>(words: &Words, rules: &RuleSet, own: &FamilyRules<A>) -> String {
    let Words { table, address, .. } = words;
    let mut out = format!("table {table} {TABLE} {{\n");
    for name in ChainCounter::ALL.iter().map(|counter| counter.label()).chain(TEST_NAMES) {
        out += &format!("\tcounter {name} {{ }}\n");
    }
    let sets = sets(address, rules, own);
    for (name, kind, _) in &sets {
        out += &format!("\tset {name} {{ type {kind}; }}\n");
    }
    let hops = (LAST_HOP..LAST_HOP + MAX_MEMBERS).map(|mark| format!("hop{mark}"));
    for name in CHAINS.iter().map(|name| (*name).to_owned()).chain(hops) {
        out += &format!("\tchain {name} {{ }}\n");
    }
    out += "\tchain prerouting { type filter hook prerouting priority raw; policy accept; }\n";
    out += "\tchain input { type filter hook input priority 300; policy accept; }\n}\n";
    out += &format!("flush table {table} {TABLE}\n");
    for (name, ..) in &sets {
        out += &format!("flush set {table} {TABLE} {name}\n");
    }
    out += &format!("table {table} {TABLE} {{\n");
    for (name, kind, elements) in sets.iter().filter(|(.., elements)| !elements.is_empty()) {
        let elements = elements.join(",\n\t\t");
        out += &format!("\tset {name} {{\n\t\ttype {kind}\n\t\telements = {{\n\t\t{elements} }}\n\t}}\n");
    }
    for (name, lines) in chains(words, rules, own).iter().filter(|(_, lines)| !lines.is_empty()) {
        out += &format!("\tchain {name} {{\n\t\t{}\n\t}}\n", lines.join("\n\t\t"));
    }
    out + "}\n"
}

/// The sets: name, type, elements.
fn sets<A: Display + Ord>(
    address: &str,
    rules: &RuleSet,
    own: &FamilyRules<A>,
) -> [(&'static str, String, Vec<String>); 4] {
    let macs = match &rules.believed {
        BelievedSources::Macs(macs) => {
            macs.iter().map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":")).collect()
        }
        BelievedSources::Device => Vec::new(),
    };
    let services = |wanted: ListenOn| {
        let of = own.services.iter().filter(|(_, listener)| **listener == wanted);
        of.map(|((vip, port), _)| format!("{vip} . {port}")).collect()
    };
    let mut vips: Vec<String> = own.services.keys().map(|(vip, _)| vip.to_string()).collect();
    vips.dedup();
    let service = format!("{address} . inet_service");
    [
        ("members", "ether_addr".to_owned(), macs),
        ("wildcard_services", service.clone(), services(ListenOn::Wildcard)),
        ("address_services", service, services(ListenOn::Address)),
        ("vips", address.to_owned(), vips),
    ]
}

/// The rules of each chain.
fn chains<A: Display + Ord>(
    words: &Words,
    rules: &RuleSet,
    own: &FamilyRules<A>,
) -> Vec<(String, Vec<String>)> {
    let Words { table, errors, inner_protocol, inner_port, hop_limit, test_source, .. } = words;
    let believed = match &rules.believed {
        BelievedSources::Macs(_) => format!("iifname \"{}\" ether saddr @members", rules.device),
        BelievedSources::Device => format!("iifname \"{}\"", rules.device),
    };
    let counted = |counter: ChainCounter| format!("counter name {}", counter.label());
    let [forwarded, started, accepted, returned_here, over_budget, flood, not_started, foreign_mark, expired] =
        [
            ChainCounter::Forwarded,
            ChainCounter::Started,
            ChainCounter::Accepted,
            ChainCounter::Returned,
            ChainCounter::OverBudget,
            ChainCounter::Flood,
            ChainCounter::NotStarted,
            ChainCounter::ForeignMark,
            ChainCounter::Expired,
        ]
        .map(counted);
    let is_marked = format!("{table} dscp >= {LAST_HOP}");
    let clear = format!("{table} dscp set 0");

    let mut prerouting = vec![
        format!("iif \"lo\" {table} daddr @vips tcp sport {TEST_PORT} {SYN} goto test_start"),
        // Our own probes have to see that the server of this host is dead.
        "iif \"lo\" accept".to_owned(),
        format!("{believed} {table} saddr {test_source} goto test_arrival"),
        format!("{table} daddr . tcp dport @wildcard_services goto lookup_wildcard"),
        format!("{table} daddr . tcp dport @address_services goto lookup_address"),
    ];
    if let Some(ports) = ports(own, |_| true) {
        prerouting.push(format!(
            "{table} daddr @vips {errors} {inner_protocol} 6 {inner_port} {ports} goto lookup_error"
        ));
    }
    let lookup_wildcard = vec![
        "socket wildcard 0 goto owned".into(),
        format!("socket wildcard 1 {SYN} goto owned"),
        "socket wildcard 1 goto unowned".into(),
        "socket transparent <= 1 goto owned".into(),
        "goto unowned".into(),
    ];
    let lookup_address = vec![
        "socket mark != 0 goto owned".into(),
        format!("socket mark 0 {SYN} goto owned"),
        "socket mark 0 goto unowned".into(),
        "socket transparent <= 1 goto owned".into(),
        "goto unowned".into(),
    ];
    let mut lookup_error = vec!["socket wildcard 1 goto unowned".into()];
    // A set for VIP and port cannot be asked for a port inside of an ICMP message: types of nft. A connection whose server is on a
    // wildcard, with the port of another VIP's server that is not, makes a round of the ring for the error.
    if let Some(ports) = ports(own, |listener| listener == ListenOn::Address) {
        lookup_error.push(format!("{inner_port} {ports} socket mark 0 goto unowned"));
    }
    lookup_error.extend(["socket transparent <= 1 goto owned".into(), "goto unowned".into()]);
    let owned = vec![format!("{is_marked} {believed} {accepted} {clear}"), "accept".into()];
    let returned = vec![format!("{returned_here} {clear} accept")];
    let test_arrival = vec![
        "counter name test_arrived".into(),
        format!("{table} dscp != {TEST_MARK} counter name test_changed"),
        "accept".into(),
    ];
    let input = vec![
        // Behind the packet filter, and the server does not get it.
        format!("{believed} {table} saddr {test_source} counter name test_delivered drop"),
        // A cookie's connection gets the mark of the ACK and not of the SYN, so SYNs alone would not do.
        format!("{table} daddr . tcp dport @address_services meta mark 0 meta mark set {CONNECTION_MARK:#x}"),
    ];
    let mut test_start = vec!["drop".to_owned()];

    let mut unowned = vec![format!("{hop_limit} <= 1 {expired} goto returned")];
    let mut next_member = Vec::new();
    let mut hops = Vec::new();
    if let Some(next) = &own.next {
        let hop = |mark| format!("{mark} : goto hop{}", mark - 1);
        let marks: Vec<String> = (LAST_HOP + 1..LAST_HOP + MAX_MEMBERS).map(hop).collect();
        unowned.push(format!(
            "{believed} {table} dscp vmap {{ {LAST_HOP} : goto returned, {} }}",
            marks.join(", ")
        ));
        let dup = format!("dup to {} device \"{}\"", next.address, rules.device);
        next_member.push(format!("{dup} {forwarded} drop"));
        let rewrite = format!("{table} saddr set {test_source} {table} dscp set {TEST_MARK}");
        test_start = vec![format!("{rewrite} {dup} counter name test_sent drop")];
        hops = (LAST_HOP..LAST_HOP + MAX_MEMBERS)
            .map(|mark| (format!("hop{mark}"), vec![format!("{table} dscp set {mark} goto next_member")]))
            .collect();
    } else {
        unowned.push(format!("{believed} {is_marked} goto returned"));
    }
    unowned.push(format!("{is_marked} {foreign_mark}"));
    let mut beyond_budget = Vec::new();
    match (&own.next, rules.forwarding) {
        (Some(next), ForwardingSwitch::On) => {
            let limit = |rate: u32| format!("limit rate over {rate}/second burst {rate} packets");
            let budget = rules.budget.get();
            unowned.push(format!("{} goto over_budget", limit(budget)));
            let dropped = limit(budget.saturating_mul(DROPPED));
            beyond_budget = vec![format!("{dropped} {flood} accept"), format!("{over_budget} drop")];
            unowned.push(format!("{started} goto hop{}", next.ring.first_mark()));
        }
        (Some(_), ForwardingSwitch::Off) | (None, ForwardingSwitch::On | ForwardingSwitch::Off) => {
            unowned.push(format!("{not_started} accept"));
        }
    }
    let rest = [
        ("lookup_wildcard", lookup_wildcard),
        ("lookup_address", lookup_address),
        ("lookup_error", lookup_error),
        ("owned", owned),
        ("unowned", unowned),
        ("returned", returned),
        ("over_budget", beyond_budget),
        ("next_member", next_member),
        ("test_start", test_start),
        ("test_arrival", test_arrival),
    ];
    let mut chains: Vec<(String, Vec<String>)> = rest.map(|(name, lines)| (name.to_owned(), lines)).into();
    chains.extend(hops);
    chains.extend([("prerouting".to_owned(), prerouting), ("input".to_owned(), input)]);
    chains
}

/// The ports of the services with these listeners, as an anonymous set; `None` if there are none.
fn ports<A>(own: &FamilyRules<A>, wanted: impl Fn(ListenOn) -> bool) -> Option<String> {
    let of = own.services.iter().filter(|(_, listener)| wanted(**listener));
    let mut ports: Vec<u16> = of.map(|((_, port), _)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    (!ports.is_empty()).then(|| format!("{{ {} }}", ports.join(", ")))
}
