//! The routers: how each starts, and how it is asked.

use std::process::Command;

/// A router. In its texts, `@dir` is the folder of its test.
pub(crate) struct Router {
    /// Its word for `--for`.
    pub(crate) system: &'static str,
    /// The program without which its test is skipped.
    pub(crate) program: &'static str,
    /// The name of its configuration's file.
    pub(crate) file: &'static str,
    /// A line before the printed configuration.
    pub(crate) first_line: &'static str,
    /// The commands that start it. All but the last may run on.
    pub(crate) start: &'static [&'static str],
    /// A command that succeeds when it is ready to load its configuration; empty: it loads the file itself.
    pub(crate) load: &'static str,
    /// What a printed command begins with, and what to run in its place.
    pub(crate) prompt: (&'static str, &'static str),
    /// The command that shows the routes to `@prefix`, and what it says of a preference.
    pub(crate) routes: &'static str,
    /// What it says of a route that is the last choice.
    pub(crate) last_choice: &'static str,
    /// The neighbours for which it sets TCP MD5 keys on Linux.
    pub(crate) md5: Md5,
    /// Whether it installs its routes in the kernel.
    pub(crate) has_fib: bool,
    /// What the printed command says of BFD if it is up; `None`: the router has no BFD.
    pub(crate) bfd_up: Option<&'static str>,
}

/// The neighbours for which a router sets TCP MD5 keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Md5 {
    /// All of them.
    All,
    /// Those with an address of their own.
    NotRanges,
    /// None.
    None,
}

impl Router {
    /// Whether its program is on this host.
    pub(crate) fn is_installed(&self) -> bool {
        let found =
            Command::new("sh").args(["-c", &format!("command -v {}", self.program)]).output().unwrap();
        found.status.success()
    }
}

pub(crate) const FRR: Router = Router {
    system: "frr",
    program: "/usr/lib/frr/bgpd",
    file: "frr.conf",
    first_line: "",
    start: &[
        "chown frr:frr @dir; exec /usr/lib/frr/zebra --vty_socket @dir -z @dir/zserv.api -P 0 -i @dir/zebra.pid",
        "sleep 0.3; exec /usr/lib/frr/staticd --vty_socket @dir -z @dir/zserv.api -P 0 -i @dir/staticd.pid",
        "sleep 0.3; exec /usr/lib/frr/bfdd --vty_socket @dir -z @dir/zserv.api -P 0 -i @dir/bfdd.pid --bfdctl @dir/bfdd.ctl",
        "sleep 0.3; exec /usr/lib/frr/bgpd --vty_socket @dir -z @dir/zserv.api -P 0 -i @dir/bgpd.pid",
    ],
    load: "test -S @dir/zebra.vty -a -S @dir/staticd.vty -a -S @dir/bfdd.vty -a -S @dir/bgpd.vty && vtysh --vty_socket @dir -f @dir/frr.conf",
    prompt: ("vtysh ", "vtysh --vty_socket @dir "),
    routes: "vtysh --vty_socket @dir -c 'show bgp @family unicast @prefix'",
    last_choice: "localpref 0",
    md5: Md5::All,
    has_fib: true,
    bfd_up: Some("Status: up"),
};

pub(crate) const BIRD: Router = Router {
    system: "bird",
    program: "bird",
    file: "bird.conf",
    first_line: "log stderr all;\n",
    start: &["exec bird -f -c @dir/bird.conf -s @dir/bird.ctl"],
    load: "",
    prompt: ("birdc ", "birdc -s @dir/bird.ctl "),
    routes: "birdc -s @dir/bird.ctl show route for @prefix all",
    last_choice: "BGP.local_pref: 0",
    md5: Md5::All,
    has_fib: true,
    bfd_up: Some(" Up "),
};

pub(crate) const OPENBGPD: Router = Router {
    system: "openbgpd",
    program: "/usr/sbin/bgpctl",
    file: "bgpd.conf",
    first_line: "socket \"@dir/bgpd.sock\"\n",
    start: &["mkdir -p /run/openbgpd; exec /usr/sbin/bgpd -d -v -f @dir/bgpd.conf"],
    load: "",
    prompt: ("bgpctl ", "bgpctl -s @dir/bgpd.sock "),
    routes: "bgpctl -s @dir/bgpd.sock show rib detail @prefix",
    last_choice: "localpref 0",
    md5: Md5::None,
    has_fib: false,
    bfd_up: None,
};

pub(crate) const GOBGP: Router = Router {
    system: "gobgp",
    program: "gobgpd",
    file: "gobgpd.toml",
    first_line: "",
    start: &["exec gobgpd -t toml -f @dir/gobgpd.toml --api-hosts 127.0.0.1:50051"],
    load: "",
    prompt: ("gobgp ", "gobgp "),
    routes: "gobgp global rib @prefix -a @family",
    last_choice: "{LocalPref: 1}",
    md5: Md5::NotRanges,
    has_fib: false,
    bfd_up: None,
};
