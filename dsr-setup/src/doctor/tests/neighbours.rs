//! Who answers for the VIPs on the LAN.

use super::*;

#[test]
fn who_answers_on_the_lan() {
    let answers =
        |all: Vec<NeighbourAnswer>| move |seen: &mut Observations, _: &mut Question| seen.answers = Ok(all);
    check(vec![
        (
            "settings",
            change(|seen, _| seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0")),
            &[(ArpAnswered, Error)],
        ),
        (
            "settings, and no IPv4 VIP on lo",
            change(|seen, question| {
                seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0");
                question.vips = [ip(VIP6)].into();
                question.is_complete = false;
            }),
            &[],
        ),
        ("this host", change(answers(vec![answer("eth0", VIP, 3)])), &[(ArpAnswered, Error)]),
        ("another host", change(answers(vec![answer("eth0", VIP, 9)])), &[(VipHeldByOther, Warning)]),
        ("another host, IPv6", change(answers(vec![answer("eth0", VIP6, 9)])), &[(VipHeldByOther, Warning)]),
        ("somebody else's address", change(answers(vec![answer("eth0", "10.0.1.1", 9)])), &[]),
        (
            "the director",
            change(|seen, question| {
                seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 9)]);
                question.directors.insert(ip("10.0.1.2"));
            }),
            &[],
        ),
        (
            "not the director",
            change(|seen, question| {
                seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 8)]);
                question.directors.insert(ip("10.0.1.2"));
            }),
            &[(VipHeldByOther, Error)],
        ),
        (
            "proxy ARP",
            change(answers(vec![answer("eth0", "198.18.255.253", 9), answer("eth0", "10.0.1.1", 9)])),
            &[(OneMacForSeveral, Warning)],
        ),
        (
            "keepalived by its protocol",
            change(|seen, _| seen.addresses[0].protocol = Some(18)),
            &[(SecondManager, Error)],
        ),
        (
            "kube-proxy by its interface",
            change(|seen, _| {
                seen.links.push(link(9, "kube-ipvs0", LinkKind::Inner));
                seen.addresses[0].interface = "kube-ipvs0".into();
            }),
            &[(SecondManager, Error)],
        ),
        (
            "MetalLB by its process",
            change(|seen, _| seen.managers = Ok(vec![ManagerProcess { name: "speaker".into(), pid: 7 }])),
            &[(SecondManager, Warning)],
        ),
    ]);
    let findings =
        after(|seen, _| seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 9)]));
    assert_eq!(
        findings[0].evidence,
        "02:00:00:00:00:09 answered ARP for 192.0.2.80 on eth0 (it has also answered for 10.0.1.2): if that is the director, name its \
         address with `--director`, or in `[dsr] directors` of the configuration"
    );
}
