//! A reload after which a host is no member of the chain any more, forwards nothing, or has another address: the other member hears that
//! before the rules go. And a daemon that finds other rules than the former one has stored. Two daemons, each in its own network namespace. Needs root, `ip`, `nft` and `nsenter`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use announcer::control::api::{ChainMember, ChainReport, Request, Response};
use daemon::pair::{self, ADDRESSES, chain_of};
use daemon::{Daemon, in_new_netns, ip, write_config};
use nix::sys::signal::Signal;
use until::until;

const PATIENCE: Duration = Duration::from_secs(20);
/// The first host has this address too, under which it is not a member at first.
const ANOTHER: &str = "10.9.9.13";

/// A member of the chain.
struct Member {
    daemon: Daemon,
    folder: PathBuf,
}

impl Member {
    /// Starts it in the namespace of the calling thread, with a server.
    fn start(folder: &Path) -> Member {
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        std::thread::spawn(move || for _ in listener.incoming() {});
        Member { daemon: Daemon::start(folder, &config(folder)), folder: folder.to_owned() }
    }

    /// Reloads with another configuration.
    fn reload(&self, config: &str) {
        write_config(&self.folder, config);
        let done = self.daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
        assert!(matches!(done, Response::Done { .. }), "{done:?}");
    }

    /// Whether the rules of the chain are in its kernel: those of both families or none, except for a moment.
    fn has_rules(&self) -> bool {
        let namespace = format!("--net=/proc/{}/ns/net", self.daemon.pid());
        let mut nft = Command::new("nsenter");
        nft.args([&namespace, "nft", "list", "table", "ip", "announcer"]);
        nft.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Waits until its chain is like this.
    fn until(&self, what: &str, is_so: impl Fn(&ChainReport) -> bool) {
        let seen = until(PATIENCE, || match chain_of(&self.daemon) {
            Ok(report) if is_so(&report) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(seen, Ok(()), "{what}");
    }

    /// Waits until both members are in its ring.
    fn until_joined(&self, members: [&str; 2]) {
        self.until("both are in the ring", |report| {
            let ring = report.rings.get("ipv4");
            report.installed
                && report.problems.is_empty()
                && ring.is_some_and(|ring| ring.next.is_some() && names(ring.members.iter()) == members)
        });
    }
}

fn names<'a>(addresses: impl Iterator<Item = &'a std::net::IpAddr>) -> Vec<String> {
    addresses.map(ToString::to_string).collect()
}

/// The heartbeats are slow: a host says that it leaves for four of them, 2.8 s, so that this is seen.
fn config(folder: &Path) -> String {
    format!(
        "{}heartbeat = \"700ms\"\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\ntcp = 8080\ninterval = \"200ms\"\n",
        pair::head(folder)
    )
}

/// Starts two members, and waits until each has both in its ring.
fn start_two(folder: &Path) -> (Member, Member) {
    let (a, b) = pair::start_two(folder, Member::start);
    ip(&format!("address add {ANOTHER}/24 dev segment"));
    for member in [&a, &b] {
        member.until_joined(ADDRESSES);
    }
    (a, b)
}

/// The first member reloads. The other member hears why it is no longer in the ring while its rules are in the kernel; then they go.
fn hears_before_the_rules_go(
    what: &str,
    a: &Member,
    b: &Member,
    config: &str,
    says: impl Fn(&ChainMember) -> bool,
) {
    let hears = || {
        let report = chain_of(&b.daemon).unwrap();
        report.members.iter().any(|member| member.address.to_string() == ADDRESSES[0] && says(member))
    };
    assert!(a.has_rules() && !hears(), "{what}: before the reload");
    a.reload(config);
    let mut heard_with_rules = false;
    let gone = until(PATIENCE, || {
        let heard = hears();
        if a.has_rules() {
            heard_with_rules |= heard;
            return Err(());
        }
        assert!(heard_with_rules, "{what}: the rules went before the other member has heard why");
        Ok(())
    });
    assert_eq!(gone, Ok(()), "{what}: the rules stay");
    assert!(b.has_rules(), "{what}: the rules of the other member stay");
    b.until(what, |report| report.rings["ipv4"].next.is_none());
}

/// It says `left`.
fn has_left(member: &ChainMember) -> bool {
    member.state == "left" && member.in_ring.is_empty()
}

/// It lives, and does not forward.
fn is_switched_off(member: &ChainMember) -> bool {
    let code = member.not_in_ring.get("ipv4").map(|reason| reason.code.as_str());
    member.state == "alive" && code == Some("switched_off")
}

#[test]
fn a_removed_chain_and_an_own_address_that_is_not_in_the_list_are_said_before_the_rules_go() {
    in_new_netns(|folder| {
        let (a, b) = start_two(folder);
        let whole = config(&a.folder);
        let (head, rest) = whole.split_once("[chain]").unwrap();
        let without = format!("{head}{}", &rest[rest.find("[[service]]").unwrap()..]);
        hears_before_the_rules_go("without [chain]", &a, &b, &without, has_left);
        let answer = chain_of(&a.daemon).unwrap_err();
        assert!(answer.contains("no chain is configured"), "{answer}");
        // It comes back by another reload.
        a.reload(&whole);
        for member in [&a, &b] {
            member.until_joined(ADDRESSES);
        }
        let not_in_list = whole.replace(ADDRESSES[0], "10.9.9.99");
        hears_before_the_rules_go("its address is not in the list", &a, &b, &not_in_list, has_left);
        a.until("the problem is reported", |report| {
            report.problems.iter().any(|problem| problem == "no address of this host is in `members`")
        });
    });
}

#[test]
fn forwarding_that_ends_is_said_before_the_rules_go() {
    in_new_netns(|folder| {
        let (a, b) = start_two(folder);
        let whole = config(&a.folder);
        let heartbeats_alone = whole.replace("[chain]\n", "[chain]\nforward = false\n");
        hears_before_the_rules_go("forward = false", &a, &b, &heartbeats_alone, is_switched_off);
        // Heartbeats go on.
        a.until("it hears the other member", |report| {
            report.members.iter().any(|member| !member.this_host && member.state == "alive")
        });
        a.reload(&whole);
        for member in [&a, &b] {
            member.until_joined(ADDRESSES);
        }
    });
}

#[test]
fn another_own_address_has_its_effect_when_both_lists_have_it_and_the_rules_stay() {
    in_new_netns(|folder| {
        let (a, b) = start_two(folder);
        let moved = |member: &Member| config(&member.folder).replace(ADDRESSES[0], ANOTHER);
        a.reload(&moved(&a));
        let waits = format!(
            "this host goes on as member {} and not as {ANOTHER} until `members` is the same on all members that live",
            ADDRESSES[0]
        );
        a.until("it says under which address it goes on", |report| report.problems == [waits.clone()]);
        // Each of three heartbeats has arrived since.
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(2100) {
            let report = chain_of(&b.daemon).unwrap();
            assert_eq!(names(report.rings["ipv4"].members.iter()), ADDRESSES, "{report:?}");
            assert!(a.has_rules() && b.has_rules());
        }
        b.reload(&moved(&b));
        let joined = [ADDRESSES[1], ANOTHER];
        let done = until(PATIENCE, || {
            assert!(a.has_rules() && b.has_rules(), "the rules are replaced, and not removed");
            let both = [&a, &b].map(|member| chain_of(&member.daemon).unwrap());
            let is_done = both.iter().all(|report| {
                let ring = &report.rings["ipv4"];
                report.problems.is_empty() && ring.next.is_some() && names(ring.members.iter()) == joined
            });
            if is_done { Ok(()) } else { Err(format!("{both:?}")) }
        });
        assert_eq!(done, Ok(()));
        assert_eq!(chain_of(&a.daemon).unwrap().own.map(|own| own.to_string()).as_deref(), Some(ANOTHER));
    });
}

/// The former daemon died while nft installed rules that forward to nobody, so what it has stored is older.
#[test]
fn rules_that_the_former_daemon_has_not_stored_are_replaced() {
    in_new_netns(|folder| {
        let (mut a, b) = start_two(folder);
        a.daemon.signal(Signal::SIGKILL);
        a.daemon.until_ended(PATIENCE);
        let nft = |words: &str| {
            let output = Command::new("nft").args(words.split(' ')).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let forwards = || nft("list chain ip announcer next_member").contains("dup to");
        assert!(forwards(), "the rules outlive the daemon");
        nft("flush chain ip announcer next_member");
        assert!(!forwards());
        a.daemon = Daemon::start(&a.folder, &config(&a.folder));
        for member in [&a, &b] {
            member.until_joined(ADDRESSES);
        }
        assert!(forwards(), "the daemon says that its rules forward");
    });
}
