//! Reads what containerlab logs when a command of `exec` fails. containerlab itself continues, and exits with 0.
//!
//! Pure.

/// The message of containerlab for a failed command of `exec`.
const FAILED: &str = "Failed to execute command";

/// What programs print when AppArmor refuses something. The second one is how `mount` explains it.
const REFUSED: [&str; 3] = ["permission denied", "is write-protected", "read-only file system"];

/// A command of `exec` that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailedCommand {
    /// The node in which it ran. Empty if the log does not say.
    pub node: String,
    command: String,
    /// The first line of what it printed; empty if it printed nothing.
    said: String,
}

/// The first failed command in the log.
pub(super) fn failed_command(log: &str) -> Option<FailedCommand> {
    let mut lines = log.lines().skip_while(|line| !line.contains(FAILED));
    let first = lines.next()?;
    let block: Vec<&str> = lines.take_while(|line| line.is_empty() || line.starts_with(' ')).collect();
    let printed = |lines: &[&str]| {
        lines.iter().find_map(|line| line.trim_start().strip_prefix('│')).map(|line| line.trim().to_string())
    };
    // Docker's own message, for a program that does not exist, is in the standard output.
    let errors = block.iter().position(|line| line.trim() == "stderr=").map_or(&[][..], |at| &block[at..]);
    let on_the_line = || value(first, "stderr").filter(|text| !text.is_empty());
    Some(FailedCommand {
        node: value(first, "node").unwrap_or_default(),
        command: value(first, "command").unwrap_or_default(),
        said: printed(errors).or_else(on_the_line).or_else(|| printed(&block)).unwrap_or_default(),
    })
}

/// The value of `KEY=VALUE` or `KEY="VALUE"` in a line of the log. A quoted value has `\"` for a quote.
fn value(line: &str, key: &str) -> Option<String> {
    let rest = &line[line.find(&format!(" {key}="))? + key.len() + 2..];
    let Some(quoted) = rest.strip_prefix('"') else {
        return Some(rest.split(' ').next().unwrap_or_default().to_string());
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') | None => break, // only the first line matters
                Some(escaped) => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    Some(value.trim().to_string())
}

impl FailedCommand {
    /// What failed, and what to write if the cause is known. `profile` is the AppArmor profile of the container, `None` if it has
    /// none.
    pub(super) fn message(&self, profile: Option<&str>) -> String {
        let FailedCommand { node, command, said } = self;
        let said = said.trim_end_matches('.');
        let failed = match said.is_empty() {
            true => format!("{node}: `{command}` failed"),
            false => format!("{node}: `{command}` failed: {said}"),
        };
        let said_small = said.to_ascii_lowercase();
        let refused = REFUSED.iter().any(|words| said_small.contains(words));
        match profile {
            Some(profile) if refused => format!(
                "{failed}. The node has the AppArmor profile `{profile}`, which denies `mount` and writes to /proc/sys/net: write `security-opts: [apparmor=unconfined]` in the topology"
            ),
            None if refused && command.starts_with("mount ") => {
                format!("{failed}. `mount` needs a capability: write `cap-add: [SYS_ADMIN]` in the topology")
            }
            Some(_) | None => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    // containerlab v0.79.0-2-g39ff2b7cc.
    const LOG: &str = r#"03:47:29 INFO Creating container name=a
03:47:31 ERRO Failed to execute command command="mount -o remount,rw /proc/sys" node=a rc=32 stdout=""
  stderr=
  │ mount: /proc/sys: permission denied.
  │        dmesg(1) may have more information after failed mount system call.

03:47:31 ERRO Failed to execute command command="sysctl -qw net.ipv4.conf.all.arp_ignore=1" node=b rc=1 stdout=""
  stderr=
  │ sysctl: permission denied on key "net.ipv4.conf.all.arp_ignore"

"#;
    // Debian's kernel 6.1 with Docker's profile.
    const APPARMOR: &str = r#"04:48:45 ERRO Failed to execute command command="mount -o remount,rw /proc/sys" node=fe1 rc=32 stdout=""
  stderr=
  │ mount: /proc/sys: cannot remount proc read-write, is write-protected.
  │        dmesg(1) may have more information after failed mount system call.

"#;
    const BOTH: &str = r#"03:47:31 ERRO Failed to execute command command="sh -c echo \"out\"; echo one >&2; exit 3" node=a rc=3
  stdout=
  │ out

  stderr=
  │ one
  │ two

03:47:31 INFO Adding SSH config for nodes path=/etc/ssh/ssh_config.d/clab-ff.conf
"#;
    const NO_PROGRAM: &str = r#"03:47:31 ERRO Failed to execute command command=nosuch node=a rc=126
  stdout=
  │ OCI runtime exec failed: exec failed: executable file not found in $PATH: unknown
 stderr=""
"#;

    #[test]
    fn the_first_failure_names_its_node_its_command_and_what_it_printed() {
        let failed = |node: &str, command: &str, said: &str| {
            let [node, command, said] = [node, command, said].map(str::to_string);
            Some(FailedCommand { node, command, said })
        };
        let mount = failed("a", "mount -o remount,rw /proc/sys", "mount: /proc/sys: permission denied.");
        assert_eq!(failed_command(LOG), mount);
        assert_eq!(failed_command(BOTH), failed("a", r#"sh -c echo "out"; echo one >&2; exit 3"#, "one"));
        let unknown = "OCI runtime exec failed: exec failed: executable file not found in $PATH: unknown";
        assert_eq!(failed_command(NO_PROGRAM), failed("a", "nosuch", unknown));
        let line = r#"03:47:31 ERRO Failed to execute command command=false node=a rc=1 stdout="" stderr="it is\nso""#;
        assert_eq!(failed_command(line), failed("a", "false", "it is"));
        assert_eq!(failed_command("03:47:29 INFO Creating container name=a\n"), None);
    }

    #[test]
    fn a_refusal_by_apparmor_is_told_with_what_to_write() {
        let mount = failed_command(APPARMOR).unwrap();
        assert_eq!(
            mount.message(Some("docker-default")),
            "fe1: `mount -o remount,rw /proc/sys` failed: mount: /proc/sys: cannot remount proc read-write, is write-protected. The node has the AppArmor profile `docker-default`, which denies `mount` and writes to /proc/sys/net: write `security-opts: [apparmor=unconfined]` in the topology"
        );
        let sysctl = failed_command(LOG.split_once("\n\n").unwrap().1).unwrap();
        assert!(sysctl.message(Some("docker-default")).contains("security-opts: [apparmor=unconfined]"));
    }

    #[test]
    fn without_apparmor_another_cause_is_told_or_none() {
        let mount = failed_command(LOG).unwrap().message(None);
        assert_eq!(
            mount,
            "a: `mount -o remount,rw /proc/sys` failed: mount: /proc/sys: permission denied. `mount` needs a capability: write `cap-add: [SYS_ADMIN]` in the topology"
        );
        let sysctl = failed_command(LOG.split_once("\n\n").unwrap().1).unwrap().message(None);
        assert!(sysctl.ends_with("arp_ignore\""), "{sysctl}");
        let other = failed_command(BOTH).unwrap();
        assert_eq!(
            other.message(Some("docker-default")),
            r#"a: `sh -c echo "out"; echo one >&2; exit 3` failed: one"#
        );
    }
}
