//! OpenBGPD.

use crate::bfd;
use crate::facts::{Facts, Family};
use crate::linux;
use crate::text::Text;
use crate::verify::{Command, Question, each};

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note(
        "A bgpd.conf. OpenBGPD uses one best route: it has no ECMP. On Linux it changes no forwarding table at all, so that it can \
         only pass the routes on to other routers.",
    );
    if facts.md5_file.is_some() {
        text.note("On Linux OpenBGPD 7.7 cannot set TCP MD5 keys (its log: `PF_KEY not available`), and no session comes up.");
    }
    bfd::missing(facts, "OpenBGPD", text);
    text.line(format!("AS {}", facts.router_as()));
    match facts.router_id() {
        Some(id) => text.line(format!("router-id {id}")),
        None => text.maybe("router-id ROUTER-ID # needed if the router has no IPv4 address"),
    }
    text.blank();
    text.note("Exactly the announced prefixes are accepted.");
    text.line("prefix-set \"announcer-vips\" {");
    text.lines(facts.prefixes.iter().map(|prefix| format!("    {prefix}")));
    text.line("}");
    text.blank();
    text.line("group \"frontends\" {");
    text.line(format!("    remote-as {}", facts.frontend_asn));
    text.line("    passive");
    if facts.hold_time == 0 {
        text.note(
            "No `holdtime`: OpenBGPD refuses 0. It offers its default, and the smaller value of both sides is used: the frontend's 0.",
        );
    } else {
        text.line(format!("    holdtime {}", facts.hold_time));
    }
    text.note("OpenBGPD ends the session above this number, and opens it again after a minute.");
    text.line(format!(
        "    max-prefix {} restart 1",
        facts.families.iter().map(|family| facts.hard_limit(*family)).sum::<usize>()
    ));
    text.line("    export none # nothing is advertised to the frontends");
    for family in [Family::Ipv4, Family::Ipv6] {
        let offered = if facts.families.contains(&family) { "unicast" } else { "none" };
        let family = match family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        text.line(format!("    announce {family} {offered}"));
    }
    text.lines(facts.key().map(|key| format!("    tcp md5sig password \"{key}\"")));
    if facts.hops > 1 && !facts.is_internal() {
        text.line(format!("    multihop {}", facts.hops));
    }
    text.lines(facts.ttl_security.then_some("    ttl-security yes"));
    text.lines(facts.neighbors().iter().map(|address| format!("    neighbor {}", address.with_interface())));
    text.lines(facts.range().map(|range| format!("    neighbor {range}")));
    text.line("}");
    text.blank();
    text.note(
        "The last rule that matches decides. GRACEFUL_SHUTDOWN (RFC 8326) makes a route the last choice.",
    );
    text.line("deny from group \"frontends\"");
    text.line("allow from group \"frontends\" prefix-set \"announcer-vips\"");
    text.line("match from group \"frontends\" community GRACEFUL_SHUTDOWN set localpref 0");
    text.line("deny to group \"frontends\"");
    text.blank();
    text.note("Packets for a VIP that no frontend announces end in these routes. On OpenBSD, once and in /etc/rc.local:");
    for family in &facts.families {
        let inet = match family {
            Family::Ipv4 => "-inet",
            Family::Ipv6 => "-inet6",
        };
        let gateway = match family {
            Family::Ipv4 => "127.0.0.1",
            Family::Ipv6 => "::1",
        };
        for prefix in facts.cover(*family) {
            text.maybe(&format!("  route add {inet} -blackhole -priority 60 {prefix} {gateway}"));
        }
    }
    text.note("On Linux:");
    linux::blackholes(facts, text);
    if !facts.ports.is_empty() {
        text.note("The access list, on OpenBSD in /etc/pf.conf:");
        let cover = facts.families.iter().flat_map(|family| facts.cover(*family));
        let list = cover.map(|prefix| prefix.to_string()).collect::<Vec<_>>().join(", ");
        text.maybe(&format!("  block to {{ {list} }}"));
        text.maybe(&format!("  pass proto {{ icmp, icmp6 }} to {{ {list} }}"));
        text.maybe(&format!("  pass proto tcp to {{ {list} }} port {{ {} }}", facts.ports(", ")));
    }
    linux::access_list(facts, text);
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![
        Command::new(Question::Session, format!("bgpctl show neighbor {frontend}")),
        Command::new(Question::Received, format!("bgpctl show rib in neighbor {frontend}")),
        Command::new(Question::Accepted, format!("bgpctl show rib neighbor {frontend}")),
    ];
    each(facts, |family, prefix| {
        let dash = if family == Family::Ipv6 { " -6" } else { "" };
        all.push(Command::new(Question::Fib, format!("ip{dash} route show {prefix}")));
        all.push(Command::new(Question::Members, format!("bgpctl show rib detail {prefix}")));
    });
    all
}
