//! Each file that the daemon reads hangs, one after the other. Keepalives, probes, the detection of a crash, `status` and the stop
//! must continue. Each test runs in its own network namespace, with a router that is part of the test; most of the time it waits.
//!
//! A file hangs in two ways: it is replaced by a FIFO without a writer, and fanotify(7) blocks its open(2), like a file server that
//! does not answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use announcer::control::api::{Request, Scope, Status};
use announcer::control::orders::{DrainOrder, Targets};
use daemon::{Daemon, in_new_netns, ip, link_to_router};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use until::{assert_until, until};

/// No operation here may take longer than this while a file hangs.
const AT_ONCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// A minimal web server: it accepts each connection and closes it. When it is dropped, there is no listener.
struct Server(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Server {
    fn start(port: u16) -> Server {
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let end = ends.clone();
        let serving = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                drop(listener.accept()); // usually there is none
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Server(ends, Some(serving))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(serving) = self.1.take() {
            serving.join().unwrap();
        }
    }
}

/// A router on port 1179: it keeps its session with a hold time of 3 s, and counts the KEEPALIVEs that it gets and the sessions
/// that end.
#[derive(Default)]
struct Router {
    keepalives: AtomicU64,
    sessions: AtomicU64,
    ended: AtomicU64,
}

impl Router {
    fn start() -> Arc<Router> {
        let router = Arc::new(Router::default());
        let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
        let counts = router.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counts.sessions.fetch_add(1, Ordering::Relaxed);
                let _ = counts.speak(stream.unwrap()); // its end is counted inside
                counts.ended.fetch_add(1, Ordering::Relaxed);
            }
        });
        router
    }

    /// OPEN and KEEPALIVEs (RFC 4271 §4), until the session ends.
    fn speak(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let message = |kind: u8, body: &[u8]| {
            let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
            [&[0xff; 16][..], &length, &[kind], body].concat()
        };
        // Version 4, AS 65000, hold time 3 s, 10.9.9.9, capabilities: IPv4 unicast, four-octet AS.
        let open = [
            &[4, 0xfd, 0xe8, 0, 3, 10, 9, 9, 9][..],
            &[14, 2, 12, 1, 4, 0, 1, 0, 1],
            &[65, 4, 0, 0, 0xfd, 0xe8],
        ];
        stream.write_all(&message(1, &open.concat()))?;
        stream.write_all(&message(4, &[]))?;
        let mut writer = stream.try_clone()?;
        let keepalive = message(4, &[]);
        std::thread::spawn(move || {
            while writer.write_all(&keepalive).is_ok() {
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        // This has the effect of a hold timer.
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        loop {
            let mut header = [0; 19];
            stream.read_exact(&mut header)?;
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            let mut body = vec![0; length - 19];
            stream.read_exact(&mut body)?;
            if header[18] == 4 {
                self.keepalives.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Requests the status, which has to arrive at once.
fn status(daemon: &Daemon) -> Status {
    let began = Instant::now();
    let status = daemon.status().expect("status comes at once");
    assert!(began.elapsed() < AT_ONCE, "status took {:?}", began.elapsed());
    status
}

/// Requests the status until it matches; panics with `what` after the limit.
fn until_status(daemon: &Daemon, limit: Duration, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
    let fitted = until(limit, || {
        let status = Box::new(status(daemon));
        if fits(&status) { Ok(status) } else { Err(status) }
    });
    *fitted.unwrap_or_else(|status| panic!("{what}: {status:#?}"))
}

fn is_announced(status: &Status, service: &str) -> bool {
    status.services.iter().any(|one| one.name == service && one.vips[0].standing == "announced")
}

/// A hanging file; dropping it ends the hang.
enum Hang {
    Fifo {
        file: PathBuf,
        aside: PathBuf,
    },
    /// open(2) blocks until it is dropped.
    Open(Fanotify),
}

impl Hang {
    fn by_fifo(file: &Path) -> Hang {
        let aside = file.with_added_extension("aside");
        if file.exists() {
            std::fs::rename(file, &aside).unwrap();
        }
        nix::unistd::mkfifo(file, Mode::from_bits_truncate(0o600)).unwrap();
        Hang::Fifo { file: file.to_owned(), aside }
    }

    fn by_open(file: &Path) -> Hang {
        // A program that another test starts must not keep the group.
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY).unwrap();
        let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR;
        group.mark(MarkFlags::FAN_MARK_ADD, mask, nix::fcntl::AT_FDCWD, Some(file)).unwrap();
        Hang::Open(group)
    }

    fn end(self) {
        match self {
            Hang::Fifo { file, aside } => {
                std::fs::remove_file(&file).unwrap();
                if aside.exists() {
                    std::fs::rename(&aside, &file).unwrap();
                }
            }
            Hang::Open(group) => drop(group),
        }
    }
}

/// Sends a request without waiting for the answer.
fn poke(daemon: &Daemon, request: &Request) -> UnixStream {
    let mut stream = daemon.connect().unwrap();
    stream.write_all(&daemon::text_of(request)).unwrap();
    stream
}

/// Reads the metrics, which have to arrive at once.
fn scrape() {
    let mut stream = TcpStream::connect("127.0.0.1:9179").unwrap();
    stream.set_read_timeout(Some(AT_ONCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("metrics come at once");
    assert!(answer.contains("announcer_vip_standing{"), "{answer}");
}

/// A daemon with every file that it can have, and what it has to do with.
struct Site {
    daemon: Daemon,
    router: Arc<Router>,
    server: Option<Server>,
    _tls: Server,
    folder: PathBuf,
}

impl Site {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its first service is announced, and the session with the router is established.
    fn start(folder: &Path) -> Site {
        link_to_router();
        let router = Router::start();
        let at = |name: &str| folder.join(name);
        std::fs::create_dir(at("state")).unwrap();
        std::fs::write(at("up"), "").unwrap();
        std::fs::write(at("key"), "secret").unwrap();
        std::fs::set_permissions(at("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let authority = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap();
        std::fs::write(at("ca.pem"), authority.cert.pem()).unwrap();
        let text = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n[metrics]\nlisten = \"127.0.0.1:9179\"\n\
             [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"3s\"\nfamilies = [\"ipv4\"]\n\
             [[peer]]\nname = \"r2\"\naddress = \"10.9.9.2\"\nasn = 65000\npassword_file = \"{key}\"\n\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\nflap_damping = false\n[[service.check]]\ntcp = 8080\ninterval = \"100ms\"\n\
             [[service]]\nname = \"file\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\nfile = \"{up}\"\ninterval = \"100ms\"\n\
             [[service]]\nname = \"tls\"\nvips = [\"192.0.2.82\"]\n[[service.check]]\ntls = \"test:8443\"\ninterval = \"100ms\"\n\
             verify = \"require\"\nca_file = \"{ca}\"\non_failure = \"warn\"\n",
            key = at("key").display(),
            up = at("up").display(),
            ca = at("ca.pem").display(),
        );
        let server = Some(Server::start(8080));
        let _tls = Server::start(8443);
        std::fs::create_dir(at("conf.d")).unwrap();
        std::fs::write(at("conf.d/more.toml"), "").unwrap();
        let daemon = Daemon::start(folder, &text);
        daemon.until_status(PATIENCE, "it answers", |_| true);
        until_status(&daemon, PATIENCE, "start", |status| {
            is_announced(status, "www") && status.peers[0].state == "Established"
        });
        std::fs::write(at("state/drain/nonsuch"), "as a test").unwrap();
        Site { daemon, router, server, _tls, folder: folder.to_owned() }
    }
}

// W2, W3, W7, W8: each of these files, when it hung, stopped the whole daemon. The tests have all files.
#[test]
fn a_file_that_is_a_fifo_costs_its_own_purpose_alone() {
    in_new_netns(|folder| each_file_hangs(folder, "FIFO", Hang::by_fifo));
}

#[test]
fn a_file_whose_open_blocks_costs_its_own_purpose_alone() {
    in_new_netns(|folder| each_file_hangs(folder, "open", Hang::by_open));
}

#[test]
fn many_clients_and_a_stop_while_a_file_hangs() {
    in_new_netns(many_clients_and_a_stop);
}

fn each_file_hangs(folder: &Path, way: &str, hang: fn(&Path) -> Hang) {
    let mut site = Site::start(folder);
    let sessions = site.router.sessions.load(Ordering::Relaxed);
    let files = [
        "announcer.toml",
        "conf.d",
        "conf.d/more.toml",
        "state/dsr-setup.json",
        "state/drain/nonsuch",
        "state/drain",
        "key",
        "ca.pem",
        "up",
    ];
    for file in files {
        // A folder cannot be replaced by a FIFO, and a state file that does not exist cannot be opened.
        if (way == "FIFO" && ["state/drain", "conf.d"].contains(&file))
            || (way == "open" && !site.at(file).exists())
        {
            continue;
        }
        let what = format!("{file} hangs by {way}");
        let hanging = hang(&site.at(file));
        let Site { daemon, router, server, .. } = &mut site;
        let keepalives = router.keepalives.load(Ordering::Relaxed);
        // Starts everything that reads a file, without waiting for it.
        let asked = [
            poke(daemon, &Request::Reload { force: false, dry_run: false }),
            poke(daemon, &Request::Recheck { what: Scope::All }),
        ];
        daemon.signal(Signal::SIGHUP);
        if file == "state/dsr-setup.json" {
            // The state file is about VIPs: one is removed, and is put back.
            ip("address delete 192.0.2.80/32 dev lo");
        }
        // A crash is noticed, and so is the return.
        drop(server.take());
        until_status(daemon, AT_ONCE, &what, |status| !is_announced(status, "www"));
        *server = Some(Server::start(8080));
        until_status(daemon, PATIENCE, &what, |status| is_announced(status, "www"));
        assert_until(PATIENCE, &format!("{what}: KEEPALIVEs"), || {
            router.keepalives.load(Ordering::Relaxed) >= keepalives + 3
        });
        assert_eq!(router.sessions.load(Ordering::Relaxed), sessions, "{what}: the session ended");
        assert_eq!(router.ended.load(Ordering::Relaxed), sessions - 1, "{what}: the session ended");
        drop(asked);
        hanging.end();
    }
}

fn many_clients_and_a_stop(folder: &Path) {
    // Each of 1,500 clients needs a descriptor.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let Site { mut daemon, router: _router, server: _server, _tls, .. } = Site::start(folder);
    let config = folder.join("announcer.toml");

    // W8: a scrape reads no file of its own, so no number of them costs the others their access to files.
    let hanging = Hang::by_open(&config);
    for _ in 0..512 {
        scrape();
    }
    assert!(is_announced(&status(&daemon), "file"));
    let targets = Targets { services: vec!["file".to_owned()], ..Targets::default() };
    let drain = Request::Drain(DrainOrder { targets, ..DrainOrder::default() });
    let drained = poke(&daemon, &drain);
    until_status(&daemon, AT_ONCE, "a drain", |status| !is_announced(status, "file"));
    drop(drained);
    hanging.end();

    // W25: clients that send half a request, and wait: half a head, or a head and half a body.
    let halves: [&[u8]; 2] = [
        b"GET /v1/status HT",
        b"POST /v1/drains HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{\"services\"",
    ];
    let slow: Vec<UnixStream> = (0..1_500)
        .map(|number| {
            let mut stream = daemon.connect().unwrap();
            let _ = stream.write_all(halves[number % 2]); // it may already be disconnected
            stream
        })
        .collect();
    status(&daemon);
    drop(slow);

    // A stop also works while the files that it could read hang.
    let hanging = Hang::by_open(&config);
    drop(poke(&daemon, &Request::Reload { force: false, dry_run: false }));
    std::thread::sleep(Duration::from_millis(100)); // the reload is running
    daemon.signal(Signal::SIGTERM);
    daemon.until_ended(PATIENCE); // the stop waits for no file
    hanging.end();
}
