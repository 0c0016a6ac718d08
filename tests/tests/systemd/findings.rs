//! The findings about the host, which the daemon watches for under the shipped unit.

use std::time::{Duration, Instant};

use crate::machine::Machine;

/// The longest wait for a change of the findings. The daemon looks at its host every ten seconds, and a connection that the kernel dropped
/// counts at the look after it, so a fault that has ended can be a finding for 20 s more.
const FINDING: Duration = Duration::from_secs(60);

/// A server with the smallest backlog: the kernel lets two connections wait. When the file is there, it accepts none, and both come.
const FULL: &str = r#"import os, socket, time
server = socket.socket()
server.bind(("192.0.2.80", 81))
server.listen(1)
server.settimeout(0.05)
while not os.path.exists("/run/fill"):
    try:
        server.accept()[0].close()
    except TimeoutError:
        pass
clients = [socket.create_connection(("192.0.2.80", 81)) for _ in range(2)]
time.sleep(600)
"#;

/// What the daemon watches of the host, in the sandbox of its unit and without root: each figure can be read there, and three faults that
/// are found in three ways (rtnetlink, /proc/sys, sock_diag) are warnings and metrics until they end.
pub(crate) fn findings(machine: &Machine) {
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("ip link add wan0 type veth peer name wan1 && ip link set wan0 up && ip link set wan1 up");
    machine.must("ip address add 10.0.1.11/24 dev wan0 && ip route add default via 10.0.1.1");
    machine.write("/root/full.py", FULL);
    machine.must("systemd-run --quiet --unit full python3 /root/full.py");
    // The check connects once, before the queue is full. Later, the kernel would drop it, which is a finding for a minute.
    machine.must(
        "printf '[[service.check]]\\nname = \"full\"\\ntcp = 81\\ninterval = \"1h\"\\nrise = 1\\n\
         [metrics]\\nlisten = \"127.0.0.1:9180\"\\n' >>/etc/announcer/announcer.toml",
    );
    machine.until("the server", |machine| machine.run("ss -ltn | grep -q 192.0.2.80:81").0 == 0);
    machine.must("systemctl restart announcer");
    machine.announced();

    // The codes with this value.
    let codes = |machine: &Machine, value: &str| -> Vec<String> {
        let metrics = machine.run("curl -s -m 5 http://127.0.0.1:9180/metrics").1;
        let code = |line: &str| {
            let (code, found) = line.strip_prefix("announcer_finding{code=\"")?.split_once("\"} ")?;
            (found == value).then(|| code.to_owned())
        };
        metrics.lines().filter_map(code).collect()
    };
    let watched = include_str!("../../../docs/dsr-doctor.md").matches("| watched by the daemon |").count();
    let healthy = |machine: &Machine| codes(machine, "0").len() == watched && codes(machine, "1").is_empty();
    machine.until_within(FINDING, "no finding, and each code", healthy);
    let pid = machine.property("MainPID");
    assert_eq!(machine.must(&format!("stat -c %U /proc/{pid}")), "announcer");

    machine
        .must("touch /run/fill && ip route delete default && echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore");
    let faults = ["arp-answered", "backlog-overflow", "no-return-route"];
    let begun = Instant::now();
    machine.until_within(FINDING, "three findings", |machine| {
        let mut found = codes(machine, "1");
        found.sort();
        found == faults
    });
    println!("three faults were findings after {:.1?}", begun.elapsed());
    let status = machine.must("announcer status --json");
    for warning in [
        "this host answers ARP for the VIPs on lo",
        "backlog-overflow: 2 connections wait at 192.0.2.80:81 until the server accepts them, and 1 may",
        "no-return-route: there is no way from 192.0.2.80 to 203.0.113.1",
    ] {
        assert!(status.contains(warning), "{warning}: {status}");
    }

    machine.must("systemctl stop full && ip route add default via 10.0.1.1 && echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore");
    machine.until_within(FINDING, "no finding again", healthy);
    let status = machine.must("announcer status --json");
    assert!(!status.contains("no-return-route") && !status.contains("backlog-overflow"), "{status}");
    machine.must("mv /etc/announcer/before /etc/announcer/announcer.toml && rm /run/fill");
    machine.must("systemctl restart announcer && ip link delete wan0");
    machine.announced();
}
