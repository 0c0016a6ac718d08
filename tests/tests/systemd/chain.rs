//! The rules of the chain, in the sandbox of the shipped unit.

use crate::crash;
use crate::machine::Machine;

/// What `nft` gets from the daemon, as the wrapper writes it, which stands in its place.
const NFT: &str = r#"#!/bin/sh
{ grep ^CapEff /proc/$$/status; tr '\\0' '\\n' </proc/$$/environ | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; } >/tmp/nft
exec /usr/sbin/nft.real "$@"
"#;

/// The rules of the chain, in the unit's sandbox: `nft` gets CAP_NET_ADMIN and nothing else, and a check gets nothing.
pub(crate) fn chain(machine: &Machine) {
    let before = machine.must("nft list ruleset");
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("ip link add chain0 type veth peer name chain1 && ip addr add 10.7.0.1/24 dev chain0");
    machine.must("ip link set chain0 up && ip link set chain1 up");
    machine.must("umask 027 && echo 0123456789abcdef >/etc/announcer/chain.key && chgrp announcer /etc/announcer/chain.key");
    machine.must(&format!(
        "mv /usr/sbin/nft /usr/sbin/nft.real && cat >/usr/sbin/nft <<'E'\n{NFT}E\nchmod 755 /usr/sbin/nft"
    ));
    machine.must(
        "printf '[[service.check]]\\nname = \"caps\"\\nexec = [\"/bin/sh\", \"-c\", \"cat /etc/announcer/chain.key >/tmp/key; grep ^CapEff /proc/self/status >/tmp/new; mv /tmp/new /tmp/check\"]\\n\
         [chain]\\ninterface = \"chain0\"\\nmembers = [\"10.7.0.1\", \"10.7.0.2\"]\\nkey_file = \"/etc/announcer/chain.key\"\\n' \
         >>/etc/announcer/announcer.toml && announcer reload",
    );
    let installed = |machine: &Machine| {
        machine.run("nft.real list table ip announcer && nft.real list table ip6 announcer").0 == 0
    };
    machine.until("rules", installed);
    let pid = machine.property("MainPID");
    machine.until("the check", |machine| machine.run(&format!("test -e /proc/{pid}/root/tmp/check")).0 == 0);
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/nft")), "CapEff:\t0000000000001000"); // NET_ADMIN, and no variable
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/check")), "CapEff:\t0000000000000000");
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/key")), "", "a check has read the key");
    let status = machine.must("announcer status --all");
    assert!(status.contains("chain: member 10.7.0.2 was not heard"), "{status}");

    // They outlive the process, and the next one knows them.
    crash(machine);
    assert!(installed(machine));
    machine.must("announcer upgrade");
    assert!(installed(machine));
    machine.until("known again", |machine| {
        machine
            .must("journalctl -u announcer --no-pager")
            .matches("rules of the former process are in the kernel")
            .count()
            >= 2
    });
    // A stop removes them, and so does a configuration without the table.
    machine.must("systemctl stop announcer");
    assert_eq!(machine.must("nft.real list ruleset"), before);
    machine.must("systemctl start announcer");
    machine.until("rules", installed);
    machine.must("mv /etc/announcer/before /etc/announcer/announcer.toml && announcer reload");
    machine.until("no rules", |machine| machine.must("nft.real list ruleset") == before);
    machine.must("mv /usr/sbin/nft.real /usr/sbin/nft && ip link del chain0 && rm /etc/announcer/chain.key");
    machine.announced();
}
