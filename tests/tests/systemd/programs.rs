//! Programs of checks and hooks, in the sandbox of the shipped unit.

use crate::machine::Machine;

/// The script of a check or hook: each line is an attempt with its name. `$1` is the name of the program, and its parent is the
/// daemon. Two runs may overlap, for two VIPs, so that each writes a file of its own.
const TRY: &str = r#"#!/bin/sh
daemon=${2-$PPID}
may() { if sh -c "$2" sh "$daemon" >/dev/null 2>&1; then echo "$1"; fi; }
{
	may 'write a drain' 'echo >/var/lib/announcer/drain/api && rm /var/lib/announcer/drain/api'
	may 'write the state' 'echo >/var/lib/announcer/new && rm /var/lib/announcer/new'
	may 'write the last good configuration' 'echo >>/var/lib/announcer/last-good.toml'
	may 'remove the last good configuration' 'cd /var/lib/announcer && mv last-good.toml x && mv x last-good.toml'
	may 'write the run directory' 'echo >/run/announcer/new && rm /run/announcer/new'
	may 'drain by the socket' 'announcer drain www'
	may 'ask the socket' 'announcer status'
	may 'reload by the socket' 'announcer reload'
	may 'read a key' 'grep . /etc/announcer/r1.key'
	may 'read the daemon' 'head -c 1 /proc/$1/environ'
	may 'signal the daemon' 'kill -0 $1'
	may 'remove the socket' 'mv /run/announcer/control.sock /run/announcer/s && mv /run/announcer/s /run/announcer/control.sock'
	may '+ read /etc and /proc' 'cat /etc/passwd /etc/announcer/announcer.toml /proc/loadavg /proc/self/status'
	may '+ read the state' 'ls /var/lib/announcer/drain && cat /var/lib/announcer/running'
	may '+ write /tmp' 'f=$(mktemp) && mkdir $f.d && mv $f $f.d/x && rm -r $f.d'
	may '+ use the network' 'curl -sf -m 5 -o /dev/null http://192.0.2.80/'
	may '+ signal its own' 'sleep 9 & kill $!'
} >/tmp/$1.$$
mv /tmp/$1.$$ /tmp/$1
exit 0
"#;

/// Programs of checks and hooks run as the daemon's user, but cannot act as the daemon.
pub(crate) fn programs(machine: &Machine) {
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("umask 027 && echo secret >/etc/announcer/r1.key && chgrp announcer /etc/announcer/r1.key");
    machine.must(&format!("cat >/usr/local/bin/try <<'E'\n{TRY}\nE\nchmod 755 /usr/local/bin/try"));
    machine.must(
        "cd /etc/announcer && sed -i 's|^asn = 65000|&\\npassword_file = \"/etc/announcer/r1.key\"|' announcer.toml && \
         printf '[[service.check]]\\nname = \"try\"\\nexec = [\"/usr/local/bin/try\", \"check\"]\\ninterval = \"1s\"\\n\
         timeout = \"20s\"\\n[hooks]\\non_change = [\"/usr/local/bin/try\", \"hook\"]\\ntimeout = \"20s\"\\n' >>announcer.toml",
    );
    machine.must("systemctl restart announcer");
    machine.announced();
    let pid = machine.property("MainPID");
    let good = "+ read /etc and /proc\n+ read the state\n+ write /tmp\n+ use the network\n+ signal its own";
    for program in ["check", "hook"] {
        let seen = format!("/proc/{pid}/root/tmp/{program}");
        machine.until(program, |machine| machine.run(&format!("test -e {seen}")).0 == 0);
        assert_eq!(machine.must(&format!("cat {seen}")), good, "{program}");
    }
    assert!(!machine.must("announcer status --all").contains("Landlock"));
    // Checks the test itself: the same commands by the same user work, except that the control socket refuses them.
    machine.must(&format!("setpriv --reuid=announcer --regid=announcer --clear-groups try hand {pid}"));
    let all = "write a drain\nwrite the state\nwrite the last good configuration\nremove the last good configuration\n\
               write the run directory\nread a key\nread the daemon\nsignal the daemon\n\
               remove the socket\n";
    let by_hand = machine.must("cat /tmp/hand");
    println!("by hand, as user announcer: {}", by_hand.replace('\n', ", "));
    assert!(
        by_hand.lines().filter(|line| !line.starts_with('+')).all(|line| all.contains(line)),
        "{by_hand}"
    );
    for line in [
        "write a drain",
        "write the state",
        "write the last good configuration",
        "remove the last good configuration",
        "read a key",
        "signal the daemon",
        "remove the socket",
    ] {
        assert!(by_hand.contains(line), "{by_hand}");
    }
    machine.must("mv /etc/announcer/before /etc/announcer/announcer.toml && rm /etc/announcer/r1.key");
    machine.must("systemctl restart announcer");
    machine.announced();
}
