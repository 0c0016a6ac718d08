//! Tests drains of a running daemon by its command line: what can be drained, by whom, until when, and what a wait waits for. The
//! tests run in their own network namespace, with a router that is part of the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use announcer::control::api::Status;
use daemon::{Daemon, command, in_new_netns, link_to_router, router, write_config};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use until::assert_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with the services `www` (two VIPs) and `mail`, and the routers r1, which is up, and r2, which does not exist.
struct Host<'a> {
    folder: &'a Path,
    daemon: Daemon,
}

impl<'a> Host<'a> {
    fn start(folder: &'a Path, drain: &str) -> Self {
        link_to_router();
        let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
        std::thread::spawn(|| router(listener));
        std::fs::write(folder.join("up"), "").unwrap();
        let service = |name: &str, vips: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\nvips = [{vips}]\nflap_damping = false\n\
                 [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
                folder.join("up").display()
            )
        };
        let config = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n\
             [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\n\
             [[peer]]\nname = \"r2\"\naddress = \"10.9.9.2\"\nasn = 65000\n{}{}{drain}",
            service("www", "\"192.0.2.80\", \"192.0.2.81\""),
            service("mail", "\"192.0.2.25\"")
        );
        write_config(folder, &config);
        let daemon = Daemon::start(folder, &config);
        let host = Host { folder, daemon };
        host.sent(3);
        host
    }

    /// Runs a command of this operator, by sudo.
    fn as_operator(&self, name: &str, words: &[&str]) -> Output {
        let mut command = command(self.folder, words);
        command.env("SUDO_USER", name);
        if words.first() != Some(&"explain") {
            // Before the words of a command that the drain runs.
            let place = words.iter().position(|word| *word == "--").unwrap_or(words.len());
            let config = self.folder.join("announcer.toml");
            let mut all: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
            all.splice(place..place, ["--config".as_ref(), config.as_os_str()]);
            command = daemon::command(self.folder, &[]);
            command.env("SUDO_USER", name).args(all);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn run(&self, words: &[&str]) -> Output {
        self.as_operator("ann", words)
    }

    fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code and the message of a command that fails.
    fn fails(&self, name: &str, words: &[&str]) -> (i32, String) {
        let output = self.as_operator(name, words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Waits until r1 was sent this number of routes and has acknowledged all.
    fn sent(&self, count: usize) -> Status {
        self.daemon.until_status(PATIENCE, &format!("{count} routes"), |status| {
            status.peers.first().is_some_and(|r1| (r1.advertised, r1.announced) == (count, count))
        })
    }

    fn files(&self) -> Vec<String> {
        let all = std::fs::read_dir(self.folder.join("state/drain")).unwrap();
        let mut names: Vec<String> =
            all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn each_target_is_drained_and_an_unknown_one_is_an_error_with_and_without_a_daemon() {
    in_new_netns(|folder| {
        let mut host = Host::start(folder, "");
        for (words, file, left) in [
            (&["www"][..], "www@root-ann", 1),
            (&["192.0.2.80"], "_vip-192.0.2.80@root-ann", 2),
            (&["--family", "ipv4"], "_family-ipv4@root-ann", 0),
            (&["--family", "ipv6"], "_family-ipv6@root-ann", 3),
            (&["--all"], "_all@root-ann", 0),
        ] {
            host.must(&[&["drain"], words].concat());
            assert_eq!(host.files(), [file]);
            host.sent(left);
            host.must(&[&["undrain"], words].concat());
            assert_eq!(host.files(), [""; 0]);
            host.sent(3);
        }
        let unknown = [
            (&["ww"][..], "there is no service `ww`; did you mean `www`?"),
            (&["192.0.2.82"], "there is no VIP `192.0.2.82`; did you mean `192.0.2.80`"),
            (&["--peer", "r3"], "there is no peer `r3`; did you mean `r1`"),
            (&["--family", "ipx"], "`ipx` is not a supported family; write `ipv4` or `ipv6`"),
        ];
        let all_fail = |host: &Host<'_>| {
            for (words, want) in unknown {
                for verb in ["drain", "undrain"] {
                    let (code, error) = host.fails("ann", &[&[verb], words].concat());
                    assert!(code == 2 && error.contains(want), "{verb} {words:?}: {code} {error}");
                }
            }
        };
        all_fail(&host);
        host.daemon.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(host.daemon.until_ended(PATIENCE));
        all_fail(&host);
    });
}

#[test]
fn nobody_ends_the_drain_of_another_person_by_accident() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "");
        host.must(&["drain", "www", "--reason", "disk"]);
        assert!(host.as_operator("bob", &["drain", "www", "--reason", "kernel"]).status.success());
        assert_eq!(host.files(), ["www@root-ann", "www@root-bob"]);
        let status = host.sent(1);
        let reason = &status.services[0].vips[0].reason.text;
        assert!(reason.starts_with("drained by root (said to be ann) at "), "{reason}");
        assert!(reason.ends_with(": disk; and 1 more drain"), "{reason}");
        let note = host.must(&["undrain", "www"]);
        assert!(
            note.contains("www stays drained by root (said to be bob)") && note.contains("--force"),
            "{note}"
        );
        let (code, error) = host.fails("ann", &["undrain", "www"]);
        assert!(code == 2 && error.contains("was drained by another person"), "{code} {error}");
        host.sent(1);
        host.must(&["undrain", "www", "--force"]);
        host.sent(3);
        // A file that was made by hand belongs to nobody.
        std::fs::write(folder.join("state/drain/mail"), "by hand").unwrap();
        host.sent(2);
        host.must(&["undrain", "mail", "--wait"]);
        host.sent(3);
    });
}

#[test]
fn a_drained_router_keeps_its_session_and_loses_its_routes_only_if_another_has_them_or_by_force() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "");
        let (code, error) = host.fails("ann", &["drain", "--peer", "r1"]);
        assert!(
            code == 2 && error.contains("no other router would be sent 192.0.2.80 and 2 more VIPs"),
            "{error}"
        );
        assert_eq!(host.files(), [""; 0]);
        host.must(&["drain", "--peer", "r2"]); // it is down
        host.must(&["undrain", "--peer", "r2"]);
        let answer = host.must(&["drain", "--peer", "r1", "--force", "--wait"]);
        assert!(answer.contains("drained; the withdraw was acknowledged"), "{answer}");
        let status = host.sent(0);
        assert_eq!((status.peers[0].state.as_str(), status.peers[0].established), ("Established", 1));
        assert!(
            status.peers[0].not_sent[0].text.contains("announcer undrain --peer r1"),
            "{:?}",
            status.peers[0]
        );
        assert_eq!(status.services[0].vips[0].standing, "announced", "the standing is our decision");
        host.must(&["undrain", "--peer", "r1", "--wait"]);
        assert_eq!(host.sent(3).peers[0].established, 1);
    });
}

#[test]
fn a_drain_with_a_command_undrains_if_the_command_succeeds() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "");
        let answer = host.must(&["drain", "www", "--wait", "--", "true"]);
        assert!(answer.contains("every VIP is announced"), "{answer}");
        host.sent(3);
        let (code, error) = host.fails("ann", &["drain", "www", "--wait", "--", "false"]);
        assert!(
            code == 1 && error.contains("`false` ended with exit status: 1; the drain goes on"),
            "{error}"
        );
        host.sent(1);
        std::fs::remove_file(folder.join("up")).unwrap();
        host.daemon.until_status(PATIENCE, "mail has failed", |status| {
            status.services[1].vips[0].standing == "not_announced"
        });
        let failed = || match host.must(&["explain", "192.0.2.80"]) {
            text if text.contains(": down, ") => Ok(()),
            text => Err(text),
        };
        until::until(PATIENCE, failed)
            .unwrap_or_else(|text| panic!("the check of www has not failed: {text}"));
        let (code, error) = host.fails("ann", &["undrain", "www", "--wait", "--timeout", "1s"]);
        assert!(code == 1 && error.contains("192.0.2.80 is not announced, "), "{error}");
    });
}

/// A connection to a VIP whose client sends something again and again. It comes from the host's other interface, so it stays here,
/// whatever is withdrawn.
struct Talk {
    stop: mpsc::Sender<()>,
    client: JoinHandle<()>,
    _server: TcpStream,
}

impl Talk {
    fn with(vip: &str) -> Talk {
        let listener = TcpListener::bind(vip).unwrap();
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let source: SocketAddr = "10.9.9.1:0".parse().unwrap();
        client.bind(&source.into()).unwrap();
        client.connect(&vip.parse::<SocketAddr>().unwrap().into()).unwrap();
        let (mut client, (server, _)) = (TcpStream::from(client), listener.accept().unwrap());
        let (stop, stopped) = mpsc::channel::<()>();
        let client = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(50)).is_err() {
                client.write_all(b"x").unwrap();
            }
        });
        Talk { stop, client, _server: server }
    }

    fn end(self) {
        self.stop.send(()).unwrap();
        self.client.join().unwrap();
    }
}

#[test]
fn a_drain_waits_for_connections_that_are_served_until_its_deadline() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "[drain]\ndeadline = \"2s\"\n");
        let talk = Talk::with("192.0.2.25:25");
        let answer = host.must(&["drain", "www", "--wait"]);
        assert!(answer.contains("no connection is served here any more"), "of another VIP: {answer}");
        let answer = host.must(&["drain", "mail", "--wait"]);
        assert!(answer.contains("the deadline has come, and 1 connection is still served here"), "{answer}");
        talk.end();
        host.must(&["undrain", "mail", "--wait"]);
        let answer = host.must(&["drain", "mail", "--wait"]);
        assert!(answer.contains("no connection is served here any more"), "{answer}");
    });
}

#[test]
fn a_wait_shows_at_a_terminal_what_it_waits_for_and_an_interrupt_leaves_the_drain_in_force() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "[drain]\ndeadline = \"60s\"\n");
        let talk = Talk::with("192.0.2.25:25");
        let terminal = openpty(None, None).unwrap();
        let mut command = command(folder, &["drain", "mail", "--wait"]);
        let mut waits = command.stdin(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
        drop(command); // it has the terminal's other side
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut master, so_far) = (File::from(terminal.master), shown.clone());
        let reader = std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut octets) {
                so_far.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..length]));
            }
        });
        let text = || shown.lock().unwrap().clone();
        assert_until(PATIENCE, "the live line", || {
            let line = text();
            let line = line.rsplit("\u{1b}[K").next().unwrap_or_default();
            line.contains("1 connection is still served here") && line.contains(" left")
        });
        kill(Pid::from_raw(waits.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(waits.wait().unwrap().code(), Some(1));
        reader.join().unwrap();
        let end = "interrupted; the drain goes on; `announcer undrain mail` ends it";
        assert!(text().contains(end), "{}", text());
        assert_eq!(host.daemon.status().unwrap().drains.len(), 1);
        host.sent(2);
        talk.end();
    });
}

// A reboot without a drain loses no more than a drain does.

/// The daemon is slow to say what it waits for, and the interrupt comes in that time.
#[test]
fn an_interrupt_ends_the_wait_also_while_the_daemon_is_asked_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut waits =
        command(folder.path(), &["drain", "mail", "--wait"]).stderr(Stdio::piped()).spawn().unwrap();
    let client = Pid::from_raw(waits.id().try_into().unwrap());
    let (mut order, _) = daemon.accept().unwrap();
    let (mut question, _) = daemon.accept().unwrap();
    for (stream, want) in [(&mut order, "POST /v1/drain"), (&mut question, "GET /v1/waits")] {
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]);
        assert!(request.starts_with(want), "{request}");
    }
    kill(client, Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(question);
    let ended = std::thread::spawn(move || {
        let mut said = String::new();
        waits.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (waits.wait().unwrap().code(), said)
    });
    assert_until(PATIENCE, "the end of the wait", || ended.is_finished());
    drop(order);
    let (code, said) = ended.join().unwrap();
    assert!(code == Some(1) && said.contains("interrupted; the drain goes on"), "{code:?}: {said}");
}

#[test]
fn a_stop_prepares_withdraws_and_waits_for_connections_as_a_drain_does() {
    in_new_netns(|folder| {
        let mut host = Host::start(folder, "[drain]\nprepare = \"2s\"\ndeadline = \"60s\"\n");
        let talk = Talk::with("192.0.2.25:25");
        host.daemon.signal(Signal::SIGTERM);
        host.daemon.until_all_are(PATIENCE, "last_choice");
        host.sent(0);
        std::thread::sleep(Duration::from_secs(5)); // longer than a connection is waited for that is silent
        assert!(host.daemon.child.try_wait().unwrap().is_none(), "the client's connection is served here");
        talk.end();
        assert!(host.daemon.until_ended(PATIENCE));
    });
}

#[test]
fn an_end_is_shown_and_moved() {
    in_new_netns(|folder| {
        let host = Host::start(folder, "");
        host.must(&["drain", "www", "--for", "2h"]);
        let until = |host: &Host<'_>| {
            let text = std::fs::read_to_string(host.folder.join("state/drain/www@root-ann")).unwrap();
            let end = text.lines().find_map(|line| line.strip_prefix("until: ")).unwrap().to_owned();
            humantime::parse_rfc3339(&end).unwrap()
        };
        let first = until(&host);
        let reason = host.sent(1).services[0].vips[0].reason.text.clone();
        assert!(reason.contains(&format!(" until {}", humantime::format_rfc3339_seconds(first))), "{reason}");
        host.must(&["drain", "www", "--extend", "1h"]);
        assert_eq!(until(&host).duration_since(first).unwrap(), Duration::from_secs(3600));
        let (code, error) = host.fails("ann", &["drain", "mail", "--extend", "1h"]);
        assert!(code == 2 && error.contains("mail has no drain with an end"), "{error}");
        let (code, error) = host.fails("bob", &["drain", "www", "--extend", "1h"]);
        assert!(code == 2 && error.contains("was drained by another person"), "{error}");
        host.must(&["drain", "mail", "--until-reboot"]);
        let reason = host.sent(0).services[1].vips[0].reason.text.clone();
        assert!(reason.contains("until the next boot of the host"), "{reason}");
    });
}
