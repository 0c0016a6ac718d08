//! Eight routers in a separate process. They read, count prefixes, and report the counts by pipe.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::PEERS;

/// The speaker's handle of the process.
pub(crate) struct Routers {
    pub(crate) ports: Vec<u16>,
    process: Child,
    orders: ChildStdin,
    known: watch::Receiver<Vec<usize>>,
}

impl Routers {
    pub(crate) fn spawn() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("routers")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let ports = first.split(' ').map(|port| port.parse().unwrap()).collect();
        let (tell, known) = watch::channel(vec![0; PEERS]);
        std::thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let (peer, count) = line.split_once(' ').unwrap();
                let (peer, count) = (peer.parse::<usize>().unwrap(), count.parse().unwrap());
                tell.send_modify(|known| known[peer] = count);
            }
        });
        let orders = process.stdin.take().unwrap();
        Routers { ports, process, orders, known }
    }

    /// Waits until every router except the first `but` has `want` prefixes.
    pub(crate) async fn until(&mut self, want: usize, but: usize) {
        let all = |known: &Vec<usize>| known[but..].iter().all(|count| *count == want);
        let waited = tokio::time::timeout(Duration::from_secs(120), self.known.wait_for(all)).await;
        waited.expect("within two minutes").unwrap();
    }

    /// `stop`: the first router stops reading. `go`: it reads again.
    pub(crate) fn order(&mut self, word: &str) {
        writeln!(self.orders, "{word}").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
    }
}

static STOPPED: AtomicBool = AtomicBool::new(false);
static OUT: Mutex<()> = Mutex::new(());

/// The process itself. It ends when its standard input ends.
pub(crate) fn serve() {
    let listeners: Vec<TcpListener> =
        (1..=PEERS).map(|n| TcpListener::bind(format!("127.0.0.{n}:0")).unwrap()).collect();
    let ports: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().port().to_string()).collect();
    println!("{}", ports.join(" "));
    for (number, listener) in listeners.into_iter().enumerate() {
        std::thread::spawn(move || {
            let is_stopped = || number == 0 && STOPPED.load(Ordering::SeqCst);
            router(listener.accept().unwrap().0, is_stopped, |count| {
                let _one = OUT.lock().unwrap();
                println!("{number} {count}");
            });
        });
    }
    for order in std::io::stdin().lines() {
        STOPPED.store(order.unwrap() == "stop", Ordering::SeqCst);
    }
}

/// A router that calls `report` with the number of prefixes that it knows, and reads nothing while it is stopped.
pub(crate) fn router(mut stream: TcpStream, is_stopped: impl Fn() -> bool, report: impl Fn(usize)) {
    stream.set_nodelay(true).unwrap();
    let open = [
        &[4, 0xfd, 0xe8, 0, 90, 10, 9, 9, 9, 24][..],
        &[2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8],
    ];
    say(&mut stream, 1, &open.concat());
    let mut known = HashSet::new();
    let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone().unwrap());
    loop {
        while is_stopped() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut header = [0; 19];
        if reader.read_exact(&mut header).is_err() {
            return;
        }
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
        reader.read_exact(&mut body).unwrap();
        match header[18] {
            1 | 4 => say(&mut stream, 4, &[]),
            2 => update(&mut known, &body),
            other => panic!("message of type {other}"),
        }
        // One report for everything that was read together.
        if reader.buffer().is_empty() {
            report(known.len());
        }
    }
}

fn say(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    let length = u16::try_from(19 + body.len()).unwrap();
    stream.write_all(&[&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()).unwrap();
}

/// Reads the NLRI as octets, and ignores the attributes.
fn update(known: &mut HashSet<Vec<u8>>, body: &[u8]) {
    let counted = |octets: &[u8]| usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    let (withdrawn, rest) = body[2..].split_at(counted(body));
    let (attributes, nlri) = rest[2..].split_at(counted(rest));
    each(withdrawn, |prefix| _ = known.remove(prefix));
    each(nlri, |prefix| _ = known.insert(prefix.to_vec()));
    let mut rest = attributes;
    while let [flags, kind, after @ ..] = rest {
        let long = flags & 0x10 != 0;
        let (value, later) = match long {
            true => after[2..].split_at(counted(after)),
            false => after[1..].split_at(usize::from(after[0])),
        };
        match kind {
            14 => each(&value[5 + usize::from(value[3])..], |prefix| _ = known.insert(prefix.to_vec())),
            15 => each(&value[3..], |prefix| _ = known.remove(prefix)),
            _ => {}
        }
        rest = later;
    }
}

fn each(mut octets: &[u8], mut act: impl FnMut(&[u8])) {
    while let [length, ..] = octets {
        let (prefix, later) = octets.split_at(1 + usize::from(length.div_ceil(8)));
        act(prefix);
        octets = later;
    }
}
