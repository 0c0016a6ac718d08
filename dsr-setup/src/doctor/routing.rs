//! Findings about the ways of packets: sources, routes, policy rules, reverse paths, forwarding and the MTU.
//!
//! Pure.

use std::net::IpAddr;

use super::code::{Code, Severity};
use super::finding::Finding;
use super::observations::{MtuProbe, Observations, PolicyRule, Question, anywhere};

/// The sizes in octets that are probed beside the smallest packet and the MTU of the interface: the MTU of usual tunnels, and the least
/// that IPv6 needs.
pub const SIZES: [u32; 6] = [1280, 1400, 1420, 1450, 1480, 1492];
/// The size in octets of the smallest packet that is probed.
pub const SMALLEST: u32 = 84;

/// The findings about ways.
pub fn find(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut findings = sources(seen, question);
    findings.extend(returns(seen));
    findings.extend(rules(seen, question));
    findings.extend(reverse_paths(seen, question));
    findings.extend(redirects(seen));
    findings.extend(hash_policies(seen));
    if let Ok(probes) = &seen.mtu {
        findings.extend(probes.iter().filter_map(mtu));
    }
    findings
}

fn sources(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for chosen in seen.sources.iter().filter(|chosen| question.vips.contains(&chosen.source)) {
        let vip = chosen.source;
        if found.iter().any(|finding| finding.vip == Some(vip)) {
            continue;
        }
        let evidence = format!(
            "the kernel chooses {vip} as the source of packets to {}: the answers may go to another frontend",
            chosen.to
        );
        let interface = seen.addresses.iter().find(|address| address.net.addr() == vip);
        let repair = interface.map_or_else(
            || "give an interface an address of its own".to_owned(),
            |address| {
                format!(
                    "`ip address del {} dev {}`, then {}; if nothing changes, give an interface to other hosts an address of its own, or write \
                     `src` into the route",
                    address.net,
                    address.interface,
                    question.apply(vip)
                )
            },
        );
        found.push(Finding::new(Code::VipIsSource, evidence, repair).of(vip));
    }
    found
}

fn returns(seen: &Observations) -> Vec<Finding> {
    let lost = seen.paths.iter().filter_map(|path| Some((path, path.error.as_ref()?)));
    let finding = |(path, error): (&super::observations::PathState, &String)| {
        let of = if path.to == anywhere(path.to.is_ipv4()) {
            ", which stands for clients everywhere (`dsr-setup doctor --client` names another one)"
        } else {
            ""
        };
        let evidence = format!("there is no way from {} to {}{of}: {error}", path.from, path.to);
        let family = if path.to.is_ipv4() { "" } else { "-6 " };
        let repair = format!("`ip {family}route add default via ROUTER`, with the address of your router");
        Finding::new(Code::NoReturnRoute, evidence, repair).of(path.from)
    };
    lost.map(finding).collect()
}

fn rules(seen: &Observations, question: &Question) -> Vec<Finding> {
    let Ok(rules) = &seen.rules else { return Vec::new() };
    let mut found = Vec::new();
    for vip in &question.vips {
        let catches = |rule: &&PolicyRule| {
            let holds = |net: &Option<ipnet::IpNet>| net.is_some_and(|net| net.contains(vip));
            holds(&rule.from) || holds(&rule.to)
        };
        for rule in rules.iter().filter(catches) {
            let side = |word: &str, net: &Option<ipnet::IpNet>| {
                net.map(|net| format!("{word} {net} ")).unwrap_or_default()
            };
            let written = format!("{}{}{}", side("from", &rule.from), side("to", &rule.to), rule.action);
            let family = if vip.is_ipv4() { "" } else { "-6 " };
            let evidence = format!(
                "the policy rule {} applies to {vip}: {written}{}",
                rule.priority,
                if rule.loses { "; packets are lost" } else { "" }
            );
            let repair = format!(
                "`ip {family}rule del priority {}`, if the rule is not meant for the VIP",
                rule.priority
            );
            let severity = if rule.loses { Severity::Error } else { Severity::Warning };
            found.push(Finding::new(Code::RuleCatchesVip, evidence, repair).of(*vip).as_bad_as(severity));
        }
    }
    found
}

/// A strict reverse path filter (RFC 3704 section 2.2) drops a packet if the route to its source does not lead to the interface by which
/// it came. The kernel uses the larger value of `all` and the interface.
fn reverse_paths(seen: &Observations, question: &Question) -> Vec<Finding> {
    if !question.vips.iter().any(IpAddr::is_ipv4) {
        return Vec::new();
    }
    let named: Vec<IpAddr> = question.clients.iter().filter(|client| client.is_ipv4()).copied().collect();
    let clients = if named.is_empty() { vec![anywhere(true)] } else { named };
    let dropped = seen.counters.as_ref().map(|(_, now)| now.reverse_path).unwrap_or(0);
    let mut found = Vec::new();
    for interface in seen.arrival(question) {
        let (of_all, own) = (seen.conf("all", "rp_filter"), seen.conf(interface, "rp_filter"));
        let decisive = if own > of_all { interface } else { "all" };
        let asymmetric = clients.iter().find_map(|client| {
            let ways = seen.interfaces_to(*client);
            (!ways.is_empty() && !ways.contains(interface)).then_some((client, ways))
        });
        let (1, Some((client, ways))) = (of_all.max(own), asymmetric) else { continue };
        let ways: Vec<&str> = ways.into_iter().collect();
        let evidence = format!(
            "net.ipv4.conf.{decisive}.rp_filter = 1, and answers to {client} leave by {}: the kernel drops packets of such clients that \
             arrive by {interface}; it has dropped {dropped} for this reason (TcpExtIPReversePathFilter)",
            ways.join(" or ")
        );
        let mut repair = format!("`sysctl -w net.ipv4.conf.{}.rp_filter=2`", interface.replace('.', "/"));
        repair.push_str(", and a file in /etc/sysctl.d");
        found.push(Finding::new(Code::RpFilterStrict, evidence, repair).at(interface));
    }
    found
}

fn redirects(seen: &Observations) -> Vec<Finding> {
    let links =
        seen.links.iter().filter(|link| link.is_up && link.kind == super::observations::LinkKind::Ethernet);
    let mut names: Vec<&str> = Vec::new();
    let mut shown = String::new();
    for link in links {
        let of = |interface: &str| seen.conf(interface, "send_redirects");
        // `ip_forward` sets the `forwarding` of every interface. For send_redirects, one of both values is enough.
        if seen.conf(&link.name, "forwarding") == 1 && (of("all") == 1 || of(&link.name) == 1) {
            names.push(&link.name);
            if shown.is_empty() {
                let decisive = if of("all") == 1 { "all" } else { &link.name };
                shown = format!("net.ipv4.conf.{decisive}.send_redirects = 1");
            }
        }
    }
    if names.is_empty() {
        return Vec::new();
    }
    let evidence =
        format!("forwarding is on and {shown}: this host sends ICMP redirects by {}", names.join(", "));
    let mut repair = "`sysctl -w net.ipv4.conf.all.send_redirects=0".to_owned();
    for name in names {
        repair.push_str(&format!(" net.ipv4.conf.{}.send_redirects=0", name.replace('.', "/")));
    }
    repair.push('`');
    vec![Finding::new(Code::RedirectsSent, evidence, repair)]
}

fn hash_policies(seen: &Observations) -> Vec<Finding> {
    let families = [
        (true, "net/ipv4/ip_forward", "net/ipv4/fib_multipath_hash_policy"),
        (false, "net/ipv6/conf/all/forwarding", "net/ipv6/fib_multipath_hash_policy"),
    ];
    let mut found = Vec::new();
    for (is_ipv4, forwarding, policy) in families {
        let mut several = seen
            .routes
            .iter()
            .filter(|route| route.to.addr().is_ipv4() == is_ipv4 && route.is_unicast && route.hops.len() > 1);
        let (Some(route), 1, 0) = (several.next(), seen.setting(forwarding), seen.setting(policy)) else {
            continue;
        };
        let name = policy.replace('/', ".");
        let evidence = format!(
            "this host forwards, its route to {} has {} next hops, and {name} = 0: all connections between two hosts take the same way",
            route.to,
            route.hops.len()
        );
        found.push(Finding::new(Code::HashPolicy, evidence, format!("`sysctl -w {name}=1`")));
    }
    found
}

fn mtu(probe: &MtuProbe) -> Option<Finding> {
    let largest = probe.answered.iter().max().copied()?;
    if largest >= probe.mtu {
        return None;
    }
    let evidence = format!(
        "{} answers packets of {largest} octets and none of {}, which is the MTU of {}",
        probe.to, probe.mtu, probe.interface
    );
    let via = if probe.to.is_ipv4() { "" } else { "-6 " };
    let repair = format!(
        "correct the MTU on the way; until then `ip {via}route change ROUTE mtu {}`, with the route to your clients",
        largest.max(if probe.to.is_ipv4() { 576 } else { 1280 })
    );
    Some(Finding::new(Code::MtuAbovePath, evidence, repair).at(&probe.interface))
}
