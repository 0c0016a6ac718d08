//! BIRD 2.

use crate::bfd::{STARVES, is_far_with_gtsm};
use crate::facts::{Facts, Family, INTERFACE};
use crate::linux;
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note("A whole bird.conf. If you have one, leave out what is there already: BIRD refuses two `protocol device`.");
    match facts.router_id() {
        Some(id) => text.line(format!("router id {id};")),
        None => text.maybe("router id ROUTER-ID; # needed if the router has no IPv4 address"),
    }
    text.line("protocol device { }");
    if facts.hops > 1 {
        text.note("The next hop of a frontend that is not on a link is looked up in these.");
        text.line("protocol direct { ipv4; ipv6; }");
    }
    text.blank();
    text.note(
        "Exactly the announced prefixes are accepted. A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice; BIRD ignores the \
         community by itself.",
    );
    for family in &facts.families {
        let prefixes: Vec<String> =
            facts.of(*family).iter().map(|prefix| format!("        {prefix}")).collect();
        text.line(format!("filter announcer_in{} {{", family.digit()));
        text.lines(["    if !(net ~ [".to_owned(), prefixes.join(",\n"), "    ]) then reject;".into()]);
        text.line("    if (65535, 0) ~ bgp_community then bgp_local_pref = 0;");
        text.line("    accept;");
        text.line("}");
    }
    text.blank();
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: 100 is more than 1.");
    for family in &facts.families {
        let routes = facts.cover(*family);
        text.line(format!("protocol static announcer_blackhole{} {{", family.digit()));
        text.line(format!("    {} {{ preference 1; }};", family.word()));
        text.lines(routes.iter().map(|prefix| format!("    route {prefix} blackhole;")));
        text.line("}");
    }
    text.blank();
    text.note("ECMP over all frontends.");
    for family in &facts.families {
        text.line(format!(
            "protocol kernel {{ merge paths yes limit 16; {} {{ export all; }}; }}",
            family.word()
        ));
    }
    text.blank();
    session(facts, text);
    text.blank();
    linux::hash_policy(facts, text);
    linux::access_list(facts, text);
}

/// The intervals of BFD. They are here and not in `protocol bfd`, so that they are right for these neighbours whatever else is there.
fn bfd_options(facts: &Facts) -> Option<String> {
    let bfd = facts.bfd?;
    let (micros, multiplier) = (bfd.interval.as_micros(), bfd.multiplier);
    Some(format!("    bfd {{ interval {} ms; multiplier {multiplier}; }};", micros.div_ceil(1000)))
}

fn session(facts: &Facts, text: &mut Text) {
    if is_far_with_gtsm(facts) {
        text.note(
            "BIRD 2 sends BFD over several hops with TTL 64, and announcer drops it: remove `ttl_security` or `bfd` of this peer from \
             announcer.toml.",
        );
    }
    if facts.bfd.is_some() {
        text.note(&format!("BFD notices a dead frontend; `bfd` below has the intervals. {STARVES}"));
        text.line("protocol bfd announcer_bfd { }");
    }
    text.line("template bgp announcer_frontend {");
    // BFD over several hops needs to know the router's address.
    let far = facts.bfd.is_some() && facts.hops > 1;
    let local = facts.router_address.filter(|_| far).map_or_else(String::new, |ip| format!("{ip} "));
    text.line(format!("    local {local}as {};", facts.router_as()));
    text.lines(
        (far && facts.router_address.is_none())
            .then_some("    source address ROUTER-ADDRESS; # the router's address of the session"),
    );
    text.line(format!("    hold time {};", facts.hold_time));
    text.line("    passive yes;");
    text.note(if facts.bfd.is_some() {
        "BIRD waits for a minute after an error or a loss of BFD by default, and refuses the frontend during this time."
    } else {
        "BIRD waits for a minute after an error by default, and refuses the frontend during this time."
    });
    text.line("    error wait time 1,3;");
    text.line(if facts.hops > 1 { format!("    multihop {};", facts.hops) } else { "    direct;".into() });
    text.lines(facts.key().map(|key| format!("    password \"{key}\";")));
    text.lines(facts.ttl_security.then_some("    ttl security yes;"));
    text.lines(bfd_options(facts));
    for family in &facts.families {
        text.line(format!("    {} {{", family.word()));
        text.line(format!("        import filter announcer_in{};", family.digit()));
        text.line("        import keep filtered yes; # `show route filtered` shows what was refused");
        text.line(format!("        receive limit {} action warn;", facts.limit(*family)));
        text.line("        export none; # nothing is advertised to the frontends");
        text.lines(
            (facts.extended_next_hop && *family == Family::Ipv4).then_some("        extended next hop yes;"),
        );
        text.line("    };");
    }
    text.line("}");
    if facts.unnumbered {
        text.line(format!(
            "protocol radv announcer_radv {{ interface \"{INTERFACE}\" {{ max ra interval 10; default lifetime 0; }}; }}"
        ));
        text.line(format!(
            "protocol bgp announcer_link1 from announcer_frontend {{ neighbor range fe80::/10 as {}; interface \"{INTERFACE}\"; dynamic \
             name \"announcer_fe\"; }}",
            facts.frontend_asn
        ));
    }
    text.lines(facts.neighbors().iter().filter(|_| !facts.unnumbered).enumerate().map(|(index, address)| {
        format!(
            "protocol bgp announcer_fe{} from announcer_frontend {{ neighbor {} as {}; }}",
            index + 1,
            address.with_interface(),
            facts.frontend_asn
        )
    }));
    text.lines(facts.range().map(|range| {
        format!(
            "protocol bgp announcer_range from announcer_frontend {{ neighbor range {range} as {}; dynamic name \"announcer_fe\"; }}",
            facts.frontend_asn
        )
    }));
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let from = format!("where from = {}", facts.shown_frontend());
    let mut all = vec![
        Command::new(Question::Session, "birdc 'show protocols all \"announcer_fe*\"'"),
        Command::new(Question::Received, format!("birdc 'show route table all filtered {from}'")),
        Command::new(Question::Accepted, format!("birdc 'show route table all {from}'")),
    ];
    all.extend(bfd(facts, || "birdc show bfd sessions".into()));
    each(facts, |family, prefix| {
        let dash = if family == Family::Ipv6 { " -6" } else { "" };
        all.push(Command::new(Question::Fib, format!("ip{dash} route show {prefix}")));
        all.push(Command::new(Question::Members, format!("birdc show route for {prefix} all")));
    });
    all
}
