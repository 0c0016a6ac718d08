//! The VIPs as addresses of the host.

use super::*;

#[test]
fn with_another_device_a_vip_on_lo_is_on_the_wrong_one_and_repairs_name_the_device() {
    let vip0 = |is_up: bool| LinkState { is_up, ..link(9, "vip0", LinkKind::Inner) };
    let found = after(|seen, question| {
        seen.links.push(vip0(true));
        question.device = Some("vip0".into());
    });
    assert!(found.iter().all(|finding| finding.code == Code::VipOnOtherInterface), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(found[0].evidence, format!("{VIP}/32 is on lo, and not on vip0"));
    assert!(found[0].repair.ends_with(&format!("then `dsr-setup apply --vip {VIP} --device vip0`")));

    let on = |device: &'static str, is_up: bool| {
        after(move |seen, question| {
            seen.links.push(vip0(is_up));
            seen.addresses
                .iter_mut()
                .filter(|held| question.vips.contains(&held.net.addr()))
                .for_each(|held| held.interface = "vip0".into());
            question.device = (device != "lo").then(|| device.into());
        })
    };
    assert_eq!(on("vip0", true), []);
    assert_eq!(on("lo", true), [], "without a device, each interface without neighbours will do");
    assert_eq!(codes(&on("vip0", false)), [(Code::LoDown, Severity::Error)]);
    let evidence = &on("vip0", false)[0].evidence;
    assert_eq!(evidence, "vip0 is down: no address on it answers");
}

#[test]
fn the_vips_as_addresses() {
    check(vec![
        ("missing", change(|seen, _| drop(seen.addresses.remove(0))), &[(VipMissing, Error)]),
        ("lo down", change(|seen, _| seen.links[0].is_up = false), &[(LoDown, Error)]),
        ("tentative", change(|seen, _| seen.addresses[1].is_tentative = true), &[(VipTentative, Error)]),
        (
            "dadfailed is tentative too",
            change(|seen, _| {
                seen.addresses[1].is_tentative = true;
                seen.addresses[1].is_dadfailed = true;
            }),
            &[(VipDadfailed, Error)],
        ),
        (
            "on eth0",
            change(|seen, _| seen.addresses[0].interface = "eth0".into()),
            &[(VipOnOtherInterface, Error)],
        ),
        (
            "on lo and on eth0 with a prefix length: the interface is the fault",
            change(|seen, _| seen.addresses.push(address("192.0.2.80/24", "eth0", None))),
            &[(VipOnOtherInterface, Error)],
        ),
        (
            "on a tunnel",
            change(|seen, _| {
                seen.links.push(link(9, "tunl0", LinkKind::NoArp));
                seen.addresses[0].interface = "tunl0".into();
            }),
            &[],
        ),
        (
            "wrong prefix length",
            change(|seen, _| seen.addresses[0].net = "192.0.2.80/24".parse().unwrap()),
            &[(VipPrefixLength, Error)],
        ),
        (
            "in the subnet of eth0",
            change(|seen, _| seen.addresses[2].net = "192.0.2.11/24".parse().unwrap()),
            &[(VipInConnectedSubnet, Warning)],
        ),
        (
            "in the subnet of eth0, where a director is",
            change(|seen, question| {
                seen.addresses[2].net = "192.0.2.11/24".parse().unwrap();
                question.directors.insert(ip("192.0.2.1"));
            }),
            &[],
        ),
        (
            "left over",
            change(|seen, _| seen.addresses.push(address("192.0.2.99/32", "lo", Some(0xb6)))),
            &[(VipLeftOver, Warning)],
        ),
        (
            "of another program",
            change(|seen, _| seen.addresses.push(address("192.0.2.99/32", "lo", None))),
            &[],
        ),
        (
            "left over, and nobody knows all VIPs",
            change(|seen, question| {
                seen.addresses.push(address("192.0.2.99/32", "lo", Some(0xb6)));
                question.is_complete = false;
            }),
            &[],
        ),
    ]);
}
