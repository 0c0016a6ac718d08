//! Newer files, an upgrade, and the way back to the previous program.

use crate::machine::Machine;

pub(crate) fn newer_files(machine: &Machine) {
    let before = machine.property("MainPID");
    machine.install();
    assert_eq!(machine.property("MainPID"), before, "installing restarted the daemon");
    assert!(
        machine.must(&format!("readlink /proc/{before}/exe")).ends_with("(deleted)"),
        "nothing newer was installed"
    );
    machine.announced();
}

/// The file of the program that runs.
fn runs(machine: &Machine) -> String {
    machine.run("readlink /proc/$(systemctl show --value -p MainPID announcer)/exe").1
}

/// In the unit's sandbox: another program in the same process, with the same capabilities, and the way back.
pub(crate) fn upgrades(machine: &Machine) {
    let state = |machine: &Machine| {
        let capabilities =
            machine.must("grep ^Cap /proc/$(systemctl show --value -p MainPID announcer)/status");
        (machine.property("MainPID"), machine.property("NRestarts"), capabilities)
    };
    let before = state(machine);
    let said = machine.must("announcer upgrade");
    assert!(said.contains("is kept in `/usr/local/lib/announcer/previous`"), "{said}");
    assert_eq!((runs(machine).as_str(), state(machine)), ("/usr/local/bin/announcer", before.clone()));
    machine.must("announcer upgrade --previous");
    let previous = "/usr/local/lib/announcer/previous/announcer";
    assert_eq!((runs(machine).as_str(), state(machine)), (previous, before.clone()));
    machine.must("announcer upgrade");
    assert_eq!((runs(machine).as_str(), state(machine)), ("/usr/local/bin/announcer", before));
    assert_eq!(machine.must("stat -c '%U %a' /usr/local/lib/announcer/previous"), "root 755");
    machine.announced();
}

/// Puts a program in the place of the installed one.
fn put_program(machine: &Machine, text: &str) {
    machine.must(&format!("printf '{text}' >/usr/local/bin/new && chmod 755 /usr/local/bin/new"));
    machine.must("mv /usr/local/bin/new /usr/local/bin/announcer");
}

/// A program that takes over and then ends, and one that cannot be executed at all: the previous one runs.
pub(crate) fn rolled_back(machine: &Machine) {
    let previous = "/usr/local/lib/announcer/previous/announcer";
    let kept = "cp -a /usr/local/bin/announcer /root/works && cp -a /root/works /usr/local/bin/again && \
                mv /usr/local/bin/again /usr/local/bin/announcer && announcer upgrade";
    let crashes =
        "#!/bin/sh\\ncase \" $* \" in *takeover-check*) echo announcer 9 takes over ;; *) exit 1 ;; esac\\n";
    for (what, program) in [("it ends", crashes), ("it cannot be executed", "\\177ELF")] {
        machine.must(kept);
        put_program(machine, program);
        if program == crashes {
            machine.must("systemctl kill --kill-who=main --signal=USR2 announcer");
        } else {
            machine.must("systemctl kill --kill-who=main --signal=KILL announcer");
        }
        machine.until(what, |machine| runs(machine) == previous);
        machine.until(what, |machine| machine.run(&format!("{previous} status")).1.contains("crashed twice"));
        // It stays, also after a stop.
        machine.must("systemctl restart announcer");
        assert_eq!(runs(machine), previous, "{what}");
        machine.must(
            "cp -a /root/works /usr/local/bin/again && mv /usr/local/bin/again /usr/local/bin/announcer",
        );
        machine.must("announcer upgrade");
        assert_eq!(runs(machine), "/usr/local/bin/announcer", "{what}");
    }
    machine.announced();
}
