//! The keys of a node, and what the engine `netns` does with each: the same table is in README.md.
//!
//! Pure. containerlab gets the file as it is, so this table is not for that engine.

/// What the engine `netns` does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The same as containerlab, as far as the text says.
    Done,
    /// Nothing, because the lab works in the same way without it.
    Ignored,
    /// The file is refused: without the key, the lab would be another one. The text says what to write.
    Refused,
}

use Treatment::{Done, Ignored, Refused};

/// The keys of a node, of `defaults`, of a kind and of a group.
pub(super) const NODE: &[(&str, Treatment, &str)] = &[
    ("kind", Done, "`linux` alone"),
    ("group", Done, "its settings in `groups`, and its row in a graph"),
    (
        "cmd",
        Done,
        "the first process of the node, which ends with it; it is needed, because no image has one",
    ),
    ("exec", Done, "commands that run when the links are there"),
    ("binds", Done, "`SOURCE:TARGET`, `SOURCE:TARGET:ro`"),
    ("env", Done, "the environment of `cmd`, `exec` and later commands"),
    ("sysctls", Done, "those below `net.`"),
    ("network-mode", Done, "`none`, or `container:NODE` for the network of another node of the lab"),
    (
        "healthcheck",
        Done,
        "if a node waits for `healthy`: `test` is run until it succeeds, for at most a minute",
    ),
    ("stages", Done, "`wait-for` the stages create, create-links, configure and healthy of another node"),
    ("startup-delay", Done, "seconds before the node is made"),
    ("image", Ignored, "every node has the packages of lab/images"),
    ("image-pull-policy", Ignored, "there is no image"),
    ("restart-policy", Ignored, "a node that has ended stays so"),
    ("auto-remove", Ignored, "nothing is left of a node that has ended"),
    ("privileged", Ignored, "root has all rights in a node's namespaces"),
    ("cap-add", Ignored, "root has all rights in a node's namespaces"),
    ("security-opts", Ignored, "Docker's profiles are not there"),
    ("labels", Ignored, "for people, and for programs that draw"),
    ("position", Ignored, "for programs that draw"),
    ("mgmt-ipv4", Ignored, "there is no management network"),
    ("mgmt-ipv6", Ignored, "there is no management network"),
    ("runtime", Ignored, "there is no container engine"),
    ("link-apply-mode", Ignored, "a running lab is not changed"),
    ("credentials", Ignored, "nodes are entered by `lab exec`"),
    ("ports", Refused, "no port of the host leads to a node, so use `lab exec NODE -- CMD`"),
    ("entrypoint", Refused, "write the program and its arguments in `cmd`"),
    ("startup-config", Refused, "write the file in `binds`"),
    ("user", Refused, "write `setpriv` or `su` in `cmd`"),
    ("env-files", Refused, "write the variables in `env`"),
    ("volumes", Refused, "write a folder of the host in `binds`"),
    ("tmpfs", Refused, "leave it out: all that a node writes is in memory"),
    ("hostname", Refused, "leave it out: the host name is the node's name"),
    ("dns", Refused, "write a file for /etc/resolv.conf in `binds`"),
    ("aliases", Refused, "write a file for /etc/hosts in `binds`"),
    ("memory", Refused, "leave it out: no limit would be kept"),
    ("cpu", Refused, "leave it out: no limit would be kept"),
    ("cpu-set", Refused, "leave it out: no limit would be kept"),
];

/// What is done with a key that is not in [`NODE`].
pub(super) const OTHER: (Treatment, &str) = (Refused, "leave it out");

/// The treatment of a key of a node, and what the table says about it.
pub(super) fn of_node(key: &str) -> (Treatment, &'static str) {
    let known = NODE.iter().find(|(name, _, _)| *name == key);
    known.map_or(OTHER, |(_, treatment, text)| (*treatment, *text))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The table, as README.md has it.
    fn table() -> String {
        let mut table = "| key of a node | `netns` | |\n|---|---|---|\n".to_string();
        for (key, treatment, text) in NODE {
            let word = match treatment {
                Done => "does it",
                Ignored => "ignores it",
                Refused => "refuses it",
            };
            let _ = writeln!(table, "| `{key}` | {word} | {text} |"); // writing to a string cannot fail
        }
        table + "| every other | refuses it | leave it out |\n"
    }

    #[test]
    fn the_readme_has_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("| key of a node |").expect("README.md has no such table");
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{before}{}\n{after}", table())).unwrap();
        }
        assert!(text.contains(&table()), "UPDATE_EXPECT=1 writes it:\n{}", table());
    }
}
