//! Tests the guard of capacity with two frontends, each a daemon in its own network namespace: what one of them may withdraw depends on
//! what the other announces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use announcer::control::api::{ErrorCode, Request, Response, Status};
use announcer::control::orders::{DrainOrder, Targets, UndrainOrder};
use announcer::takeover::successor::Successor;
use daemon::{Daemon, in_new_netns, pair, write_config};
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);

/// A frontend.
struct Frontend {
    daemon: Daemon,
    /// Whether its server answers with 200; otherwise with 503.
    healthy: Arc<AtomicBool>,
}

/// The configuration of a frontend. `www` needs one other frontend, and `file` none.
fn config(folder: &Path, www: &str) -> String {
    format!(
        "{}forward = false\n\
         [[service]]\nname = \"file\"\nvips = [\"192.0.2.90\"]\n[[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n{www}",
        pair::head(folder),
        folder.join("key").display(),
    )
}

const WWW: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\nmin_announcers = 1\nflap_damping = false\n\
    [[service.check]]\nhttp = \"http://www.example.com:8080/\"\ninterval = \"100ms\"\nfall = 2\n";

impl Frontend {
    /// Starts it in the namespace of this thread.
    fn start(folder: &Path) -> Frontend {
        let healthy = Arc::new(AtomicBool::new(true));
        let (listener, answer) = (TcpListener::bind("0.0.0.0:8080").unwrap(), healthy.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let status = if answer.load(Ordering::Relaxed) { "200 OK" } else { "503 Unavailable" };
                // The probe may have ended.
                let _ = stream.read(&mut [0; 1024]);
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        let daemon = Daemon::start(folder, &config(folder, WWW));
        Frontend { daemon, healthy }
    }

    /// Waits until `www` has this standing for this reason.
    fn until(&self, standing: &str, reason: &str) -> Status {
        self.daemon.until_status(PATIENCE, &format!("{standing} {reason}"), |status| {
            let www = status.services.iter().find(|service| service.name == "www").unwrap();
            (&*www.vips[0].standing, &*www.vips[0].reason.code) == (standing, reason)
        })
    }

    fn drain(&self, force: bool) -> Response {
        let targets = Targets { services: vec!["www".into()], ..Targets::default() };
        self.daemon.ask(&Request::Drain(DrainOrder { targets, force, ..DrainOrder::default() })).unwrap()
    }

    fn undrain(&self) {
        let targets = Targets { services: vec!["www".into()], ..Targets::default() };
        let order = UndrainOrder { targets, force: true, ..UndrainOrder::default() };
        assert!(matches!(self.daemon.ask(&Request::Undrain(order)).unwrap(), Response::Done { .. }));
    }
}

/// The text of a refusal.
fn refusal(response: Response) -> String {
    let Response::Error(error) = response else { panic!("it was done") };
    assert_eq!(error.code, ErrorCode::Refused, "{}", error.text);
    error.text
}

/// Waits until the order is refused with this text. That it is refused is seen at once.
fn refused_with(want: &str, order: impl Fn() -> Response) {
    let refused = until(PATIENCE, || {
        let text = refusal(order());
        if text == want { Ok(()) } else { Err(text) }
    });
    assert_eq!(refused, Ok(()), "{want}");
}

#[test]
fn what_a_frontend_may_withdraw_depends_on_what_the_others_announce() {
    in_new_netns(|folder| {
        let (a, b) = pair::start_two(folder, Frontend::start);
        a.until("announced", "healthy");
        b.until("announced", "healthy");
        drains_and_upgrades(&a, &b);
        probes(&a, &b);
        reloads(&folder.join("1"), &a, &b);
    });
}

fn drains_and_upgrades(a: &Frontend, b: &Frontend) {
    let done = a.drain(false);
    assert!(matches!(done, Response::Done { .. }), "{done:?}");
    a.until("drained", "drained");
    let why = "192.0.2.80 would be announced by 0 members, and www needs 1: 10.9.9.11 (drained) does not announce it";
    let want = format!("{why}; `--force` drains nevertheless");
    refused_with(&want, || b.drain(false)); // at first, a is being drained
    b.until("announced", "healthy");
    let upgrade = Request::Upgrade { successor: Successor::Installed, force: false };
    let text = refusal(b.daemon.ask(&upgrade).unwrap());
    assert!(text.starts_with(&format!("{why}; `announcer upgrade --force` does it anyway")), "{text}");
    assert!(matches!(b.drain(true), Response::Done { .. }));
    b.until("drained", "drained");
    for (frontend, own, other) in [(a, 11, 12), (b, 12, 11)] {
        let few = format!(
            "chain: 0 members are known to announce 192.0.2.80 of www, whose `min_announcers` is 1: not 10.9.9.{own} (drained), 10.9.9.{other} (drained)"
        );
        let warns = |status: &Status| status.warnings.contains(&few);
        frontend.daemon.until_status(PATIENCE, &few, warns);
    }
    a.undrain();
    b.undrain();
    for frontend in [a, b] {
        frontend.until("announced", "healthy");
        let quiet =
            |status: &Status| !status.warnings.iter().any(|warning| warning.contains("min_announcers"));
        frontend.daemon.until_status(PATIENCE, "enough members announce it", quiet);
    }
}

fn probes(a: &Frontend, b: &Frontend) {
    a.healthy.store(false, Ordering::Relaxed);
    a.until("not_announced", "unhealthy"); // b announces it
    b.healthy.store(false, Ordering::Relaxed);
    a.until("last_choice", "too_few_others");
    b.until("last_choice", "too_few_others");
    a.healthy.store(true, Ordering::Relaxed);
    a.until("announced", "healthy");
    b.until("not_announced", "unhealthy");
}

fn reloads(folder: &Path, a: &Frontend, b: &Frontend) {
    let reload = || a.daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
    write_config(folder, &config(folder, ""));
    let want = "192.0.2.80 would be announced by 0 members, and www needs 1: 10.9.9.12 (not announced) does not announce it; \
                `announcer reload --force` makes the reload anyway";
    refused_with(want, reload);
    let preview = || {
        let answer = a.daemon.ask(&Request::Reload { force: false, dry_run: true }).unwrap();
        let Response::Done { notes } = answer else { panic!("{answer:?}") };
        notes.last().unwrap().clone()
    };
    let would = "the reload would be refused: 192.0.2.80 would be announced by 0 members, and www needs 1: 10.9.9.12 (not announced) does not \
                 announce it; `--force` makes it anyway";
    assert_eq!(preview(), would);
    a.until("announced", "healthy");
    b.healthy.store(true, Ordering::Relaxed);
    b.until("announced", "healthy");
    let preview = until(PATIENCE, || match preview() {
        last if last == "nothing was changed: this was a dry run" => Ok(()),
        last => Err(last),
    });
    assert_eq!(preview, Ok(()));
    let done = reload();
    assert!(matches!(done, Response::Done { .. }), "{done:?}");
    let status = a.daemon.status().unwrap();
    assert!(status.services.iter().all(|service| service.name != "www"), "it has left");
}
