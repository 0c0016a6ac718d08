//! The capability that unnumbered sessions need, under the shipped unit.

use crate::machine::Machine;

/// An unnumbered session in the unit's sandbox: without the drop-in a warning names it, and with it the socket opens. A check gets nothing,
/// and an upgrade keeps it.
pub(crate) fn unnumbered(machine: &Machine) {
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("ip link add swp1 type veth peer name swp2 && ip link set swp1 up && ip link set swp2 up");
    machine.must(
        "printf '[[service.check]]\\nname = \"caps\"\\nexec = [\"/bin/sh\", \"-c\", \"grep ^CapEff /proc/self/status >/tmp/new; mv /tmp/new /tmp/caps\"]\\n\
         [[peer]]\\nname = \"r9\"\\ninterface = \"swp1\"\\nasn = \"external\"\\n' >>/etc/announcer/announcer.toml && announcer reload",
    );
    let is_warned =
        |machine: &Machine| machine.must("announcer status --all").contains("this needs CAP_NET_RAW");
    let is_open = |machine: &Machine| machine.must("cat /proc/net/raw6").lines().count() == 2;
    machine.until("the warning", is_warned);
    assert!(!is_open(machine));
    machine.must(
        "install -D -m 644 -t /etc/systemd/system/announcer.service.d /usr/local/share/announcer/unnumbered.conf && \
         systemctl daemon-reload && systemctl restart announcer",
    );
    machine.until("the socket", is_open);
    assert!(!is_warned(machine));
    let capabilities = || {
        machine
            .must("awk '/^CapEff/ { print $2 }' /proc/$(systemctl show --value -p MainPID announcer)/status")
    };
    assert_eq!(capabilities(), "0000000000803000"); // NET_RAW too
    machine.must("announcer upgrade");
    machine.until("the socket after an upgrade", is_open);
    assert_eq!(capabilities(), "0000000000803000");
    let pid = machine.property("MainPID");
    // Each probe writes the file again, as a whole.
    let seen = format!("/proc/{pid}/root/tmp/caps");
    machine.must(&format!("rm {seen}"));
    machine.until("a check after the upgrade", |machine| machine.run(&format!("test -e {seen}")).0 == 0);
    assert_eq!(machine.must(&format!("cat {seen}")), "CapEff:\t0000000000000000");
    machine.must(
        "rm -r /etc/systemd/system/announcer.service.d && systemctl daemon-reload && \
         mv /etc/announcer/before /etc/announcer/announcer.toml && ip link del swp1 && systemctl restart announcer",
    );
    machine.announced();
}
