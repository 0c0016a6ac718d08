use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `192.0.2.80/32` is ours, `~192.0.2.80/32` belongs to another program. With `!` at the end, the host may send from it; `?`: it ends;
/// `:`: it has another label; `=`: it has other flags.
fn on_lo(text: &str) -> LoAddress {
    let owner = if text.starts_with('~') { Owner::Foreign } else { Owner::Ours };
    let mut differences = BTreeSet::new();
    let mut net = text.trim_start_matches('~');
    while let Some(rest) = net.strip_suffix(['!', '?', ':', '=']) {
        differences.insert(match net.as_bytes()[rest.len()] {
            b'!' => Difference::Source,
            b'?' => Difference::Ends,
            b':' => Difference::Label,
            _ => Difference::Flags,
        });
        net = rest;
    }
    LoAddress { net: net.parse().unwrap(), owner, differences }
}

fn loopback(link: Link, addresses: Vec<LoAddress>) -> Loopback {
    Loopback { device: "lo".into(), link, marks: MarkSupport::Kept, addresses, elsewhere: Vec::new() }
}

/// `eth0`, or `eth0>` if a default route leads through it, `-eth0` if it is down.
fn interface(index: u32, text: &str) -> Interface {
    let name = text.trim_start_matches('-').trim_end_matches('>');
    let kind = match name {
        "lo" => InterfaceKind::Loopback,
        "vrf0" => InterfaceKind::Vrf,
        name if name.starts_with("port") => InterfaceKind::Port,
        name if name.starts_with("in") => InterfaceKind::VrfPort(1),
        _ => InterfaceKind::Plain,
    };
    let has_default_route = text.ends_with('>');
    Interface { index, name: name.into(), is_up: !text.starts_with('-'), kind, has_default_route }
}

fn interfaces(text: &str) -> Vec<Interface> {
    (1..).zip(text.split_whitespace()).map(|(index, text)| interface(index, text)).collect()
}

fn elsewhere(owner: Owner, net: &str) -> OtherAddress {
    let (interface, net) = ("dummy0".into(), net.parse().unwrap());
    OtherAddress { net, interface, index: 7, owner, link_local: false, usable: true }
}

/// `all.arp_ignore=1`, or `all.arp_ignore=0>1` for a recorded change; `marks=1` for the setting of the chain.
fn sysctl(text: &str) -> (Sysctl, &str) {
    let (name, value) = text.split_once('=').unwrap();
    let name = if name == "marks" { "tcp_fwmark_accept".into() } else { format!("conf.{name}") };
    (Sysctl::parse(&format!("net.ipv4.{name}")).unwrap(), value)
}

/// These VIPs, without a chain.
fn present(vips: impl Into<BTreeSet<IpAddr>>) -> DesiredState {
    DesiredState::Present(vips.into(), Forwarding::No)
}

fn observed(lo: &[&str], sysctls: &str, changes: &str) -> HostState {
    let value = |text: &str| text.parse::<i32>().unwrap();
    let change = |text: &str| {
        let (was, set) = text.split_once('>').unwrap();
        Change { was: value(was), set: value(set) }
    };
    HostState {
        lo: loopback(Link::Up, lo.iter().map(|text| on_lo(text)).collect()),
        sysctls: sysctls.split_whitespace().map(sysctl).map(|(name, text)| (name, value(text))).collect(),
        changes: changes.split_whitespace().map(sysctl).map(|(name, text)| (name, change(text))).collect(),
        record_error: None,
        chain: ChainRules::default(),
        interfaces: Vec::new(),
    }
}

fn lines(observed: &HostState, desired: &DesiredState) -> Vec<String> {
    plan(observed, desired).iter().map(|step| step.on(&observed.lo.device).to_string()).collect()
}

const NEW: &str = "all.arp_ignore=0 all.arp_announce=0 eth0.arp_ignore=0 eth0.arp_announce=0";
const QUIET: &str = "all.arp_ignore=1 all.arp_announce=2 eth0.arp_ignore=0 eth0.arp_announce=0";

#[test]
fn a_new_host_gets_quiet_arp_before_its_first_vip() {
    let mut host = observed(&["~127.0.0.1/8", "~::1/128"], NEW, "");
    host.lo.link = Link::Down;
    let want = present([ip("192.0.2.80"), ip("2001:db8::80")]);
    assert_eq!(
        lines(&host, &want),
        [
            "set net.ipv4.conf.all.arp_ignore = 1 (was 0)",
            "set net.ipv4.conf.all.arp_announce = 2 (was 0)",
            "set lo up",
            "add 192.0.2.80/32 to lo",
            "add 2001:db8::80/128 to lo",
        ]
    );
}

#[test]
fn a_vip_of_ours_is_corrected_and_one_of_another_program_is_left_as_it_is() {
    for (lo, want) in [
        ("192.0.2.80/32", &[][..]),
        ("~192.0.2.80/32", &[]),
        ("~192.0.2.80/24", &[]),
        ("~192.0.2.80/32!:?", &[]),
        ("192.0.2.80/24", &["replace 192.0.2.80/24 on lo by 192.0.2.80/32"]),
        ("192.0.2.80/32!", &["replace 192.0.2.80/32 on lo by 192.0.2.80/32"]),
        ("192.0.2.80/32:", &["replace 192.0.2.80/32 on lo by 192.0.2.80/32"]),
        ("192.0.2.80/32?", &["correct 192.0.2.80/32 on lo"]),
        ("192.0.2.80/32 192.0.2.80/24", &["remove 192.0.2.80/24 from lo"]),
        ("192.0.2.80/24 ~192.0.2.80/32", &["remove 192.0.2.80/24 from lo"]),
        ("2001:db8::80/64", &["replace 2001:db8::80/64 on lo by 2001:db8::80/128"]),
        ("2001:db8::80/128!", &["correct 2001:db8::80/128 on lo"]),
        ("2001:db8::80/128=", &["correct 2001:db8::80/128 on lo"]),
    ] {
        let host = observed(&lo.split(' ').collect::<Vec<_>>(), QUIET, "");
        let vip = host.lo.addresses[0].net.addr();
        assert_eq!(lines(&host, &present([vip])), want, "{lo}");
    }
}

#[test]
fn the_sentence_about_a_wrong_address_says_how_it_differs() {
    let host = observed(&["192.0.2.80/24!", "2001:db8::80/128!="], QUIET, "");
    let steps = plan(&host, &present([ip("192.0.2.80"), ip("2001:db8::80")]));
    let drifts: Vec<String> = steps.iter().map(|step| step.drift("lo", "was")).collect();
    assert_eq!(
        drifts,
        [
            "192.0.2.80/24 was on lo with the prefix length 24 and with scope global",
            "2001:db8::80/128 was on lo with a preferred lifetime and without nodad and noprefixroute",
        ]
    );
}

#[test]
fn a_vip_of_ours_on_another_interface_is_moved_and_only_then_removed_there() {
    let mut host = observed(&[], QUIET, "");
    host.lo.elsewhere =
        vec![elsewhere(Owner::Ours, "192.0.2.80/32"), elsewhere(Owner::Foreign, "192.0.2.81/32")];
    let want = ["add 192.0.2.80/32 to lo", "remove 192.0.2.80/32 from dummy0"];
    assert_eq!(lines(&host, &present([ip("192.0.2.80")])), want);
    assert_eq!(lines(&host, &present([ip("192.0.2.81")])), ["add 192.0.2.81/32 to lo"]);
    for gone in [DesiredState::Clean, DesiredState::Absent([ip("192.0.2.80"), ip("192.0.2.81")].into())] {
        assert_eq!(lines(&host, &gone), ["remove 192.0.2.80/32 from dummy0"]);
    }
    let steps = plan(&host, &DesiredState::Clean);
    assert_eq!(in_use(&steps, &[ip("192.0.2.80")].into()), [ip("192.0.2.80")].into());
}

/// RFC 3704. The kernel takes the larger one of `all` and the interface's own.
#[test]
fn a_strict_filter_is_loosened_only_where_requests_arrive_and_replies_do_not_leave() {
    let set = |name: &str, was: i32| format!("set net.ipv4.conf.{name}.rp_filter = 2 (was {was})");
    const STRICT: &str = "all.rp_filter=0 eth0.rp_filter=1 eth1.rp_filter=1 port0.rp_filter=1 lo.rp_filter=1";
    for (interfaces_text, sysctls, want) in [
        ("lo eth0> eth1", STRICT, vec![set("eth1", 1)]),
        ("lo eth0> -eth1", STRICT, vec![]),
        ("lo eth0> eth1>", STRICT, vec![]),
        ("lo eth0 eth1", STRICT, vec![]), // without a default route it is not known by which one replies leave
        ("lo eth0> port0", STRICT, vec![]),
        ("lo eth0> eth1", "all.rp_filter=0 eth0.rp_filter=1 eth1.rp_filter=0", vec![]),
        ("lo eth0> eth1", "all.rp_filter=1 eth0.rp_filter=0 eth1.rp_filter=0", vec![set("eth1", 0)]),
        ("lo eth0> eth1", "all.rp_filter=2 eth0.rp_filter=1 eth1.rp_filter=1", vec![]),
        ("lo eth0> eth1", "all.rp_filter=1 eth0.rp_filter=1 eth1.rp_filter=2", vec![]),
    ] {
        let mut host = observed(&["192.0.2.80/32"], &format!("{QUIET} {sysctls}"), "");
        host.interfaces = interfaces(interfaces_text);
        assert_eq!(lines(&host, &present([ip("192.0.2.80")])), want, "{interfaces_text} {sysctls}");
        assert_eq!(lines(&host, &present([])), [""; 0], "no IPv4 VIP: {interfaces_text} {sysctls}");
    }
}

#[test]
fn the_ports_of_the_vrf_that_has_the_vips_accept_packets_of_this_host_itself() {
    let set = "set net.ipv4.conf.in1.accept_local = 1 (was 0)";
    for (device, sysctls, want) in [
        ("vrf0", "all.accept_local=0 in1.accept_local=0 eth0.accept_local=0", vec![set]),
        ("vrf0", "all.accept_local=1 in1.accept_local=0 eth0.accept_local=0", vec![]),
        ("vrf0", "all.accept_local=0 in1.accept_local=1 eth0.accept_local=0", vec![]),
        ("lo", "all.accept_local=0 in1.accept_local=0 eth0.accept_local=0", vec![]),
    ] {
        let mut host = observed(&["192.0.2.80/32"], &format!("{QUIET} {sysctls}"), "");
        (host.lo.device, host.interfaces) = (device.into(), interfaces("vrf0 eth0> in1"));
        assert_eq!(lines(&host, &present([ip("192.0.2.80")])), want, "{device} {sysctls}");
    }
}

#[test]
fn a_vip_of_ours_that_is_not_named_stays() {
    let host = observed(&["192.0.2.81/32"], QUIET, "");
    assert_eq!(lines(&host, &present([ip("192.0.2.80")])), ["add 192.0.2.80/32 to lo"]);
}

#[test]
fn settings_that_hide_the_vips_already_are_left_and_those_that_do_not_are_set() {
    let set_all = "set net.ipv4.conf.all.arp_ignore = 1 (was ";
    for (sysctls, want) in [
        ("all.arp_ignore=1", vec![]),
        ("all.arp_ignore=2", vec![]),
        ("all.arp_ignore=8", vec![]),
        ("all.arp_ignore=0", vec![format!("{set_all}0)")]),
        ("all.arp_ignore=3", vec![format!("{set_all}3)")]),
        ("all.arp_ignore=9", vec![format!("{set_all}9)")]),
        // The kernel takes the larger of the two: an interface's own 3 is larger than 1, and answers.
        (
            "all.arp_ignore=1 eth0/9.arp_ignore=3",
            vec!["set net.ipv4.conf.eth0/9.arp_ignore = 1 (was 3)".into()],
        ),
        (
            "all.arp_ignore=1 default.arp_ignore=4",
            vec!["set net.ipv4.conf.default.arp_ignore = 1 (was 4)".into()],
        ),
        ("all.arp_ignore=8 eth0.arp_ignore=3", vec![]),
        ("all.arp_ignore=1 eth0.arp_ignore=2", vec![]),
        ("all.arp_ignore=1 lo.arp_ignore=3", vec![]),
        ("all.arp_announce=1", vec!["set net.ipv4.conf.all.arp_announce = 2 (was 1)".into()]),
        (
            "all.arp_announce=2 eth0.arp_announce=3",
            vec!["set net.ipv4.conf.eth0.arp_announce = 2 (was 3)".into()],
        ),
        ("all.arp_announce=2 eth0.arp_announce=1", vec![]),
    ] {
        assert_eq!(lines(&observed(&[], sysctls, ""), &present([])), want, "{sysctls}");
    }
}

#[test]
fn marks_are_accepted_before_the_first_vip_if_the_chain_forwards_packets() {
    let set = "set net.ipv4.tcp_fwmark_accept = 1 (was 0)";
    let add = "add 192.0.2.80/32 to lo";
    for (forwarding, sysctls, want) in [
        (Forwarding::Yes, "marks=0", vec![set, add]),
        (Forwarding::Yes, "marks=1", vec![add]),
        (Forwarding::Yes, "", vec![add]),
        (Forwarding::No, "marks=0", vec![add]),
        (Forwarding::No, "marks=1", vec![add]),
    ] {
        let host = observed(&[], &format!("{QUIET} {sysctls}"), "");
        let desired = DesiredState::Present([ip("192.0.2.80")].into(), forwarding);
        assert_eq!(lines(&host, &desired), want, "{forwarding:?} {sysctls}");
    }
}

#[test]
fn clean_removes_what_the_chain_has_left_and_nothing_less() {
    let mut host = observed(&["192.0.2.80/32"], "marks=1", "marks=0>1");
    host.chain = ChainRules { tables: Table::ALL.into(), device: Some(7), error: None };
    assert_eq!(
        lines(&host, &DesiredState::Clean),
        [
            "remove the nftables table ip announcer",
            "remove the nftables table ip6 announcer",
            "remove the device announcer0",
            "remove 192.0.2.80/32 from lo",
            "set net.ipv4.tcp_fwmark_accept = 0 (was 1)",
        ]
    );
    assert_eq!(lines(&host, &present([ip("192.0.2.80")])), [""; 0]);
    let named = DesiredState::Absent([ip("192.0.2.80")].into());
    assert_eq!(lines(&host, &named), ["remove 192.0.2.80/32 from lo"]);
}

#[test]
fn the_tables_are_found_in_what_nft_prints() {
    for (printed, want) in [
        ("", &[][..]),
        ("table ip announcer\n", &[Table::V4]),
        ("table inet filter\ntable ip6 announcer\ntable ip announcer\n", &Table::ALL),
        ("table inet announcer\ntable ip announcer2\ntable ip6 my announcer\n", &[]),
    ] {
        assert_eq!(tables(printed), want.iter().copied().collect(), "{printed}");
    }
    assert_eq!(Table::V6.removal(), "add table ip6 announcer\ndelete table ip6 announcer\n");
}

#[test]
fn clean_undoes_what_is_ours_and_nothing_else() {
    let host = observed(
        &["~127.0.0.1/8", "192.0.2.80/32", "~192.0.2.81/32"],
        "all.arp_ignore=1 all.arp_announce=1 eth0.arp_ignore=1",
        "all.arp_ignore=0>1 all.arp_announce=0>2 eth9.arp_ignore=3>1",
    );
    assert_eq!(
        lines(&host, &DesiredState::Clean),
        [
            "remove 192.0.2.80/32 from lo",
            "set net.ipv4.conf.all.arp_ignore = 0 (was 1)",
            "leave net.ipv4.conf.all.arp_announce = 1 (no longer the 2 that was set)",
            "forget net.ipv4.conf.eth9.arp_ignore (no longer there)",
        ]
    );
}

#[test]
fn absent_takes_the_named_vips_of_ours_alone() {
    let host = observed(&["192.0.2.80/32", "192.0.2.81/32", "~192.0.2.82/32"], QUIET, "all.arp_ignore=0>1");
    let named = DesiredState::Absent([ip("192.0.2.80"), ip("192.0.2.82"), ip("192.0.2.83")].into());
    assert_eq!(lines(&host, &named), ["remove 192.0.2.80/32 from lo"]);
}

#[test]
fn a_held_vip_is_in_use_when_it_goes_or_when_arp_speaks_again() {
    let held = BTreeSet::from([ip("192.0.2.80"), ip("192.0.2.81")]);
    let remove = Step::Remove("192.0.2.80/32".parse().unwrap());
    let other = Step::Remove("192.0.2.99/32".parse().unwrap());
    let (sysctl, _) = sysctl("all.arp_ignore=1");
    let restore = Step::Restore { sysctl, change: Change { was: 0, set: 1 } };
    assert_eq!(in_use(&[remove, other.clone()], &held), [ip("192.0.2.80")].into());
    assert_eq!(in_use(std::slice::from_ref(&other), &held), BTreeSet::new());
    for step in [restore, Step::RemoveTable(Table::V4), Step::RemoveDevice(7)] {
        assert_eq!(in_use(&[other.clone(), step], &held), held);
    }
}

/// Applies the effect of a step to the host.
fn carry_out(host: &mut HostState, step: &Step) {
    match step {
        Step::RaiseLo => host.lo.link = Link::Up,
        Step::Add(vip) => host.lo.addresses.push(on_lo(&IpNet::from(*vip).to_string())),
        Step::Remove(net) => {
            host.lo.addresses.retain(|on_lo| on_lo.net != *net || on_lo.owner != Owner::Ours)
        }
        Step::Replace { net, .. } => {
            host.lo.addresses.retain(|on_lo| on_lo.net != *net || on_lo.owner != Owner::Ours);
            host.lo.addresses.push(on_lo(&IpNet::from(net.addr()).to_string()));
        }
        Step::Mend { vip, .. } => {
            let ours = host.lo.addresses.iter_mut().find(|on_lo| on_lo.net == IpNet::from(*vip)).unwrap();
            ours.differences.clear();
        }
        Step::RemoveElsewhere { net, .. } => host.lo.elsewhere.retain(|other| other.net != *net),
        Step::RemoveTable(table) => assert!(host.chain.tables.remove(table)),
        Step::RemoveDevice(index) => assert_eq!(host.chain.device.take(), Some(*index)),
        Step::Set { sysctl, change } => {
            host.sysctls.insert(sysctl.clone(), change.set);
            host.changes.insert(sysctl.clone(), *change);
        }
        Step::Restore { sysctl, change } => {
            host.sysctls.insert(sysctl.clone(), change.was);
            host.changes.remove(sysctl);
        }
        Step::Leave { sysctl, .. } => drop(host.changes.remove(sysctl)),
    }
}

fn carried_out(host: &HostState, desired: &DesiredState) -> HostState {
    let mut after = host.clone();
    plan(host, desired).iter().for_each(|step| carry_out(&mut after, step));
    after
}

fn vip() -> impl Strategy<Value = IpAddr> {
    (0u16..6, any::<bool>())
        .prop_map(|(n, v4)| if v4 { ip(&format!("192.0.2.{n}")) } else { ip(&format!("2001:db8::{n:x}")) })
}

fn forwarding() -> impl Strategy<Value = Forwarding> {
    prop::sample::select(vec![Forwarding::No, Forwarding::Yes])
}

fn vips() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    prop::collection::btree_set(vip(), 0..5)
}

fn sysctls() -> impl Strategy<Value = BTreeMap<Sysctl, i32>> {
    let interface = prop::sample::select(vec!["all", "default", "lo", "eth0", "eth0.7"]);
    let arp = (interface, prop::sample::select(ArpSetting::ALL.to_vec()))
        .prop_map(|(interface, knob)| Sysctl::Arp { interface: interface.into(), knob });
    let interface = prop::sample::select(vec!["all", "default", "lo", "eth0", "eth0.7"]);
    let path = (interface, prop::sample::select(PathSetting::ALL.to_vec()))
        .prop_map(|(interface, knob)| Sysctl::Path { interface: interface.into(), knob });
    let key = prop_oneof![5 => arp, 3 => path, 1 => Just(Sysctl::AcceptMarks)];
    prop::collection::btree_map(key, -1..10i32, 0..10)
}

/// A host with nothing of ours on it.
fn untouched() -> impl Strategy<Value = HostState> {
    (any::<bool>(), vips(), sysctls()).prop_map(|(up, foreign, sysctls)| {
        let foreign = foreign.into_iter().map(|vip| on_lo(&format!("~{}", IpNet::from(vip))));
        let link = if up { Link::Up } else { Link::Down };
        let (changes, record_error, chain) = (BTreeMap::new(), None, ChainRules::default());
        let lo = loopback(link, foreign.collect());
        HostState { lo, sysctls, changes, record_error, chain, interfaces: interfaces("lo eth0> eth0.7") }
    })
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(
        host in untouched(), first in vips(), second in vips(), forwarding in forwarding()
    ) {
        let once = carried_out(&host, &present(first.clone()));
        prop_assert_eq!(plan(&once, &present(first)), vec![]);
        let want = DesiredState::Present(second.clone(), forwarding);
        let twice = carried_out(&once, &want);
        prop_assert_eq!(plan(&twice, &want), vec![]);
        prop_assert!(second.iter().all(|vip| twice.lo.holds(*vip)));
    }

    #[test]
    fn clean_after_any_presents_restores_the_host(
        host in untouched(), first in vips(), second in vips(), forwarding in forwarding()
    ) {
        let once = carried_out(&host, &DesiredState::Present(first, forwarding));
        let applied = carried_out(&once, &present(second));
        let cleaned = carried_out(&applied, &DesiredState::Clean);
        prop_assert_eq!(&cleaned.lo.addresses, &host.lo.addresses);
        prop_assert_eq!(&cleaned.sysctls, &host.sysctls);
        prop_assert_eq!(plan(&cleaned, &DesiredState::Clean), vec![]);
    }

    #[test]
    fn what_somebody_set_after_us_stays(host in untouched(), meddled in sysctls()) {
        let mut applied = carried_out(&host, &DesiredState::Present([].into(), Forwarding::Yes));
        let changes = applied.changes.clone();
        applied.sysctls.extend(meddled.clone());
        let cleaned = carried_out(&applied, &DesiredState::Clean);
        for (sysctl, value) in &meddled {
            let ours = changes.get(sysctl).is_some_and(|change| change.set == *value);
            prop_assert!(ours || cleaned.sysctls[sysctl] == *value, "{sysctl}");
        }
    }

    /// Whatever part of the steps was done when the program was killed, the next run ends with the same host.
    #[test]
    fn a_plan_that_was_cut_short_is_completed_by_the_next_one(
        host in untouched(), vips in vips(), ours in vips(), cut in 0..12usize
    ) {
        let mut host = host;
        for vip in ours {
            if !host.lo.holds(vip) {
                host.lo.addresses.push(on_lo(&format!("{vip}/24!")));
            }
        }
        let want = present(vips);
        let whole = carried_out(&host, &want);
        let mut half = host.clone();
        plan(&host, &want).iter().take(cut).for_each(|step| carry_out(&mut half, step));
        let mut done = carried_out(&half, &want);
        let mut expected = whole;
        done.lo.addresses.sort_by_key(|on_lo| on_lo.net);
        expected.lo.addresses.sort_by_key(|on_lo| on_lo.net);
        prop_assert_eq!(&done, &expected);
        prop_assert_eq!(plan(&done, &want), vec![]);
    }

    #[test]
    fn every_setting_reads_back_from_its_name(interface in "[a-z0-9.]{1,15}") {
        prop_assume!(interface != "." && interface != "..");
        for knob in ArpSetting::ALL {
            let sysctl = Sysctl::Arp { interface: interface.clone(), knob };
            prop_assert_eq!(Sysctl::parse(&sysctl.to_string()), Some(sysctl));
        }
        for knob in PathSetting::ALL {
            let sysctl = Sysctl::Path { interface: interface.clone(), knob };
            prop_assert_eq!(Sysctl::parse(&sysctl.to_string()), Some(sysctl));
        }
    }
}
