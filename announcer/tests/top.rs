//! `announcer top` and `announcer status` in a pseudo-terminal: what they show of a real daemon, and that the terminal is restored at
//! every end of `top`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use announcer::top::io::FullScreen;
use daemon::{Daemon, FIXTURE, in_new_netns, ip, link_to_router};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use until::{assert_until, until};

const PATIENCE: Duration = Duration::from_secs(20);
const ALTERNATE_SCREEN: &str = "\u{1b}[?1049h";
const USUAL_SCREEN: &str = "\u{1b}[?1049l";

/// The two sides of a new terminal. No program that is started at the same time inherits them.
fn terminal() -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = File::options().read(true).write(true).open(ptsname_r(&master).unwrap()).unwrap();
    (File::from(master.as_fd().try_clone_to_owned().unwrap()), slave)
}

fn set_size(slave: &File, columns: u16, rows: u16) {
    let words = ["cols", &columns.to_string(), "rows", &rows.to_string()].map(str::to_owned);
    let stty = Command::new("stty").args(words).stdin(slave.try_clone().unwrap()).status().unwrap();
    assert!(stty.success());
}

/// What a terminal shows after these octets. It knows what the view sends: characters, the place of the cursor, and clearing.
fn shown(written: &str) -> String {
    let blank = || vec![vec![' '; 200]; 60];
    let (mut cells, mut row, mut column) = (blank(), 0, 0);
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            if let Some(cell) = cells.get_mut(row).and_then(|row: &mut Vec<char>| row.get_mut(column)) {
                *cell = char;
            }
            column += 1;
            continue;
        }
        if chars.next() != Some('[') {
            continue;
        }
        let mut code = String::new();
        for char in chars.by_ref() {
            code.push(char);
            if char.is_ascii_alphabetic() {
                break;
            }
        }
        let (parameters, last) = code.split_at(code.len().saturating_sub(1));
        match last {
            "H" => {
                let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1) - 1);
                (row, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            "J" => cells = blank(),
            "h" if parameters == "?1049" => cells = blank(),
            _ => {}
        }
    }
    let lines = cells.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// A program in a terminal, of 80 columns and 24 rows unless the test says otherwise.
struct InTerminal {
    child: Child,
    /// The side of the person; none after the terminal was lost.
    master: Option<File>,
    /// The side of the program, as a shell keeps it.
    slave: Option<File>,
    before: Termios,
    /// What the program has written.
    written: Arc<Mutex<String>>,
    /// Stops the thread that reads what it writes.
    stop: Arc<AtomicBool>,
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl InTerminal {
    fn start(command: &mut Command) -> Self {
        InTerminal::start_with(command, 80)
    }

    fn start_with(command: &mut Command, columns: u16) -> Self {
        let (master, slave_file) = terminal();
        set_size(&slave_file, columns, 24);
        let slave = || slave_file.try_clone().unwrap();
        let before = tcgetattr(&slave_file).unwrap();
        assert!(before.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        let written = Arc::new(Mutex::new(String::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (mut reader, text, end) = (master.try_clone().unwrap(), written.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(size @ 1..) = reader.read(&mut octets) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&octets[..size]));
                if end.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        InTerminal { child, master: Some(master), slave: Some(slave_file), before, written, stop }
    }

    fn press(&self, keys: &str) {
        self.master.as_ref().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    fn shown(&self) -> String {
        shown(&self.written())
    }

    fn until_written(&self, words: &str) {
        let held = until(PATIENCE, || if self.written().contains(words) { Ok(()) } else { Err(()) });
        assert!(held.is_ok(), "no `{words}` in {:?}", self.written());
    }

    fn until_shown(&self, words: &str) {
        let held = until(PATIENCE, || if self.shown().contains(words) { Ok(()) } else { Err(()) });
        assert!(held.is_ok(), "no `{words}` in\n{}", self.shown().trim_end());
    }

    /// Closes all that the test has of the terminal.
    fn hang_up(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.press("?"); // the reader reads what this shows, and ends
        assert_until(PATIENCE, "the reader ends", || Arc::strong_count(&self.written) == 1);
        (self.slave, self.master) = (None, None);
    }

    /// Closes the program's side, and waits until everything that it has written was read.
    fn hang_up_quietly(&mut self) {
        self.slave = None;
        assert_until(PATIENCE, "the reader ends", || Arc::strong_count(&self.written) == 1);
    }

    fn until_ended(&mut self) -> ExitStatus {
        until(PATIENCE, || self.child.try_wait().unwrap().ok_or(())).expect("the program ends")
    }

    /// Whether the terminal has the modes that it had before, and the screen that it showed before.
    fn check_restored(&self) {
        assert_eq!(tcgetattr(self.slave.as_ref().unwrap()).unwrap(), self.before);
        self.until_written(USUAL_SCREEN);
        self.until_written("\u{1b}[?25h"); // the cursor
    }
}

fn top(folder: &Path) -> Command {
    let mut command = daemon::command(folder, &["top"]);
    command.env_remove("NO_COLOR");
    command
}

/// A daemon whose router does not exist, with a healthy service `www` and a service `mail` without a server.
fn daemon(folder: &Path) -> Daemon {
    std::fs::write(folder.join("up"), "").unwrap();
    let service = |name: &str, vip: &str, file: &str| {
        let file = folder.join(file).display().to_string();
        format!(
            "[[service]]\nname = \"{name}\"\nvips = [\"{vip}\"]\n\
             [[service.check]]\nfile = \"{file}\"\ninterval = \"50ms\"\n"
        )
    };
    let services = service("www", "192.0.2.80", "up") + &service("mail", "192.0.2.25", "down");
    let daemon = Daemon::start(folder, &format!("{FIXTURE}{services}"));
    daemon.until_status(PATIENCE, "verdicts", |status| {
        let standing = |service: usize| status.services[service].vips[0].standing.as_str();
        standing(0) == "announced" && standing(1) == "not_announced"
    });
    daemon
}

#[test]
fn services_are_shown_filtered_and_explained_and_q_ends() {
    in_new_netns(|folder| {
        let _daemon = daemon(folder);
        let mut top = InTerminal::start(&mut top(folder));
        top.until_written(ALTERNATE_SCREEN);
        for words in [
            "FAIL   mail",
            "FAIL   www",
            "ready, but sent to no router",
            "EVENT",
            "192.0.2.80: starting -> announced",
            "q quit",
        ] {
            top.until_shown(words);
        }
        let modes = tcgetattr(top.slave.as_ref().unwrap()).unwrap();
        assert!(!modes.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
        top.press("/mai");
        top.until_shown("/mai");
        assert!(!top.shown().contains("www"), "{}", top.shown());
        top.press("\r\r");
        for words in ["EXPLAIN mail 192.0.2.25", "Check `", "Escape back"] {
            top.until_shown(words);
        }
        top.press("\u{1b}");
        top.until_shown("filter `mai`");
        top.press("\u{1b}");
        top.until_shown("www");
        top.press("q");
        assert_eq!(top.until_ended().code(), Some(0));
        top.check_restored();
    });
}

#[test]
fn a_restart_of_the_daemon_is_shown_and_signals_restore_the_terminal() {
    in_new_netns(|folder| {
        let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let mut tops: Vec<InTerminal> = ends.iter().map(|_| InTerminal::start(&mut top(folder))).collect();
        tops.iter().for_each(|top| top.until_shown("announcer is not running"));
        let started = daemon(folder);
        tops.iter().for_each(|top| top.until_shown("FAIL   www"));
        assert!(!tops[0].shown().contains("announcer is not running"));
        drop(started);
        tops.iter().for_each(|top| top.until_shown("s old: announcer is not running"));
        assert!(tops[0].shown().contains("FAIL   www"), "what was seen last stays");
        let again = daemon(folder);
        tops.iter().for_each(|top| top.until_shown("\nversion 0."));
        drop(again);
        for (top, signal) in tops.iter_mut().zip(ends) {
            kill(Pid::from_raw(i32::try_from(top.child.id()).unwrap()), signal).unwrap();
            assert_eq!(top.until_ended().code(), Some(0), "{signal}");
            top.check_restored();
        }
    });
}

#[test]
fn a_daemon_that_does_not_answer_freezes_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut top = InTerminal::start(&mut top(folder.path()));
    top.until_shown("announcer top");
    top.press("?");
    top.until_shown("HELP");
    top.press("\u{3}");
    assert_eq!(top.until_ended().code(), Some(0));
    top.check_restored();
}

#[test]
fn no_color_is_respected() {
    in_new_netns(|folder| {
        let _daemon = daemon(folder);
        for (value, coloured) in [(None, true), (Some("1"), false)] {
            let mut top = InTerminal::start(top(folder).envs(value.map(|value| ("NO_COLOR", value))));
            top.until_shown("mail");
            top.press("q");
            top.until_ended();
            top.check_restored();
            let written = top.written();
            let has_colour = (written.split("\u{1b}[").skip(1))
                .any(|code| code.starts_with("38;5;") || code.starts_with("31m"));
            assert_eq!(has_colour, coloured, "{written:?}");
        }
    });
}

#[test]
fn a_lost_terminal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut top = InTerminal::start(&mut top(folder.path()));
    top.until_shown("announcer top");
    top.hang_up();
    assert_eq!(top.until_ended().code(), Some(1), "it ended without a panic");
}

#[test]
fn without_a_terminal_it_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (_master, slave) = terminal();
    let terminal = || Stdio::from(slave.try_clone().unwrap());
    for (stdin, stdout) in
        [(Stdio::null(), Stdio::piped()), (terminal(), Stdio::piped()), (Stdio::null(), terminal())]
    {
        let ended = top(folder.path()).stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let ended = ended.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0));
        assert_eq!(
            String::from_utf8(ended.stderr).unwrap(),
            "error: `announcer top` needs a terminal as its standard input and output; `announcer status` prints to a file \
             or a pipe\n"
        );
    }
}

/// Makes this program, which the next test starts again in a terminal, panic while it has taken the terminal.
const PANICS: &str = "ANNOUNCER_TEST_PANICS";

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = FullScreen::take().unwrap();
        panic!("a test of the terminal");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_panic_restores_the_terminal_before_its_message", "--nocapture"]);
    let mut program = InTerminal::start(command.env(PANICS, "1"));
    assert_eq!(program.until_ended().code(), Some(101));
    program.check_restored();
    program.until_written("a test of the terminal");
    let written = program.written();
    assert!(written.contains(ALTERNATE_SCREEN), "{written:?}");
    assert!(written.find(USUAL_SCREEN) < written.find("a test of the terminal"), "{written:?}");
}

#[test]
fn the_size_of_the_terminal_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let mut top = InTerminal::start(&mut top(folder.path()));
    top.until_shown("q quit");
    for (index, (columns, rows)) in [(1, 1), (100, 30)].into_iter().enumerate() {
        set_size(top.slave.as_ref().unwrap(), columns, rows);
        // The first clearing is that of the start.
        let cleared = || top.written().matches("\u{1b}[2J").count();
        assert_until(PATIENCE, "it is drawn anew", || cleared() == index + 2);
    }
    top.until_shown("announcer is not running");
    top.press("q");
    assert_eq!(top.until_ended().code(), Some(0));
    top.check_restored();
}

/// 12 services with 32 VIPs, of which 8 fail for three reasons, and 3 routers, of which one is down.
fn scene(folder: &Path) -> Daemon {
    link_to_router();
    ip("address add 10.9.9.2/24 dev router");
    for address in ["10.9.9.1:1179", "10.9.9.2:1179"] {
        let listener = std::net::TcpListener::bind(address).unwrap();
        std::thread::spawn(|| daemon::router(listener));
    }
    std::fs::write(folder.join("up"), "").unwrap();
    let mut config = "[bgp]\nasn = 65001\nrouter_id = \"10.9.9.11\"\n".to_owned();
    for router in 1..=3 {
        config += &format!(
            "[[peer]]\nname = \"r{router}\"\naddress = \"10.9.9.{router}\"\nport = 1179\nasn = 65000\n"
        );
    }
    let sick = [("api-public", 4, "api"), ("shop", 2, "shop"), ("cdn", 2, "cdn")];
    let names = ["www", "mail", "images", "login", "search", "static", "video", "wiki", "blog"];
    let healthy = names.into_iter().zip([4, 4, 4, 2, 2, 2, 2, 2, 2]).map(|(name, vips)| (name, vips, "up"));
    for (number, (name, vips, file)) in healthy.chain(sick).enumerate() {
        let vips: Vec<String> = (1..=vips).map(|vip| format!("198.18.{number}.{vip}")).collect();
        let file = folder.join(file);
        config += &format!(
            "[[service]]\nname = \"{name}\"\nvips = {vips:?}\n[[service.check]]\nfile = {file:?}\ninterval = \"100ms\"\n"
        );
    }
    let daemon = Daemon::start(folder, &config);
    daemon.until_status(PATIENCE, "24 VIPs of 32, sent to two routers", |status| {
        let vips = || status.services.iter().flat_map(|service| service.vips.iter());
        let is = |standing: &str| vips().filter(|vip| vip.standing == standing).count();
        let sent = vips().filter(|vip| vip.routers.acknowledged == 2).count();
        (is("announced"), is("not_announced"), sent) == (24, 8, 24)
            && status.peers.iter().all(|peer| peer.session.is_some() || peer.reason.is_some())
    });
    daemon
}

/// The lines that a program has written to a terminal, without colours.
fn lines(written: &str) -> Vec<String> {
    let mut parts = written.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once('m').map_or("", |(_, rest)| rest);
    }
    text.lines().map(str::to_owned).collect()
}

#[test]
fn status_shows_what_is_wrong_first_in_at_most_24_lines_at_each_width() {
    in_new_netns(|folder| {
        let _daemon = scene(folder);
        for columns in [60, 80, 120] {
            let mut command = daemon::command(folder, &["status"]);
            let mut shown = InTerminal::start_with(command.env_remove("NO_COLOR"), columns);
            drop(command); // it has the program's side of the terminal
            assert!(shown.until_ended().success());
            shown.until_written("9 services");
            shown.hang_up_quietly();
            let lines = lines(&shown.written());
            let text = lines.join("\n");
            assert!(lines.len() <= 24, "{} lines at {columns} columns:\n{text}", lines.len());
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= usize::from(columns), "{widest} of {columns} columns:\n{text}");
            let place = |words: &str| {
                let found = lines.iter().position(|line| line.contains(words));
                found.unwrap_or_else(|| panic!("no `{words}` at {columns} columns:\n{text}"))
            };
            let order = ["8 of 32", "r3", "r1", "0/4", "0/2", "9 services"].map(place);
            assert!(order.is_sorted(), "{order:?} at {columns} columns:\n{text}");
            assert_eq!(order[0], 0, "the first line says what is wrong:\n{text}");
        }
    });
}
