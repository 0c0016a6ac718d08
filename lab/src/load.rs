//! An open-loop HTTP client: it opens a fixed number of connections per second, independent of their results.
//!
//! Touches TCP. Each connection has one GET with `Connection: close`, and is read to its end. The server closes first, so that the
//! client's ports are free again at once. The header `X-Frontend` says which frontend has answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use url::{Host, Url};

/// The header with the name of the frontend.
pub const NAME_HEADER: &str = "x-frontend";
/// How long a bucket is.
pub const BUCKET: Duration = Duration::from_millis(100);

/// The request, its rate and its duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The address to connect to; set by [`Plan::new`].
    target: SocketAddr,
    /// The octets to send.
    request: String,
    /// Connections a second.
    pub rate: u32,
    /// For how long new connections are started.
    pub lasts: Duration,
    /// The timeout of a connection, counted from its SYN.
    pub patience: Duration,
}

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer of 2xx, from the frontend of this name.
    Ok(String),
    /// A complete answer, of another status.
    Status(u16),
    /// RST in answer to SYN, or an ICMP error with the same meaning.
    Refused,
    /// RST later, or an end in the middle of the answer.
    Reset,
    /// No answer within `patience`.
    TimedOut,
    /// No route, or another error of the kernel.
    Other,
}

/// The numbers of requests by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// 2xx, by the frontend's name (`?` if the header is missing).
    pub ok: BTreeMap<String, u64>,
    /// Answers of another status, by status.
    pub status: BTreeMap<u16, u64>,
    /// See [`Outcome::Refused`].
    pub refused: u64,
    /// See [`Outcome::Reset`].
    pub reset: u64,
    /// See [`Outcome::TimedOut`].
    pub timed_out: u64,
    /// See [`Outcome::Other`].
    pub other: u64,
}

/// The requests that ended within one tenth of a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When it begins, in milliseconds since the start.
    pub at_ms: u64,
    /// The numbers of requests by outcome.
    #[serde(flatten)]
    pub counts: Counts,
    /// The slowest 2xx answer, in microseconds since its SYN.
    pub slowest_us: u64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Requests that were started.
    pub sent: u64,
    /// How they ended; the sum is `sent`.
    pub total: Counts,
    /// The slowest 2xx answer, in microseconds since its SYN.
    pub slowest_us: u64,
    /// The same by the time of their end: one bucket for every 100 ms, without gaps.
    pub buckets: Vec<Bucket>,
}

impl Counts {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Ok(name) => *self.ok.entry(name.clone()).or_default() += 1,
            Outcome::Status(status) => *self.status.entry(*status).or_default() += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Reset => self.reset += 1,
            Outcome::TimedOut => self.timed_out += 1,
            Outcome::Other => self.other += 1,
        }
    }

    /// Adds other counts.
    pub fn merge(&mut self, more: &Counts) {
        for (name, count) in &more.ok {
            *self.ok.entry(name.clone()).or_default() += count;
        }
        for (status, count) in &more.status {
            *self.status.entry(*status).or_default() += count;
        }
        self.refused += more.refused;
        self.reset += more.reset;
        self.timed_out += more.timed_out;
        self.other += more.other;
    }

    /// 2xx answers of all frontends.
    pub fn answered(&self) -> u64 {
        self.ok.values().sum()
    }

    /// Everything else.
    pub fn lost(&self) -> u64 {
        self.status.values().sum::<u64>() + self.refused + self.reset + self.timed_out + self.other
    }
}

impl Plan {
    /// A plan for `url`: `http`, and an address as its host. `Err` says what to write instead.
    pub fn new(url: &str, rate: u32, lasts: Duration) -> Result<Plan, String> {
        let parsed = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        if parsed.scheme() != "http" {
            return Err(format!("`{url}`: write `http://ADDRESS/`"));
        }
        let ip = match parsed.host() {
            Some(Host::Ipv4(ip)) => ip.into(),
            Some(Host::Ipv6(ip)) => ip.into(),
            Some(Host::Domain(_)) | None => {
                return Err(format!("`{url}`: nodes have no name resolver, write an address"));
            }
        };
        if rate == 0 {
            return Err("a rate of 0 sends nothing: write at least 1".to_string());
        }
        let target = SocketAddr::new(ip, parsed.port_or_known_default().unwrap_or(80));
        let path = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
        let request = request(&format!("GET {path} HTTP/1.1"), authority);
        Ok(Plan { target, request, rate, lasts, patience: Duration::from_secs(1) })
    }

    /// The same plan, with this name of the server in the requests instead of the address.
    pub fn for_host(self, host: &str) -> Plan {
        let line = self.request.split("\r\n").next().unwrap_or_default();
        Plan { request: request(line, host), ..self }
    }

    /// The address that is connected to.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// The octets of a request after which the connection stays open.
    pub(crate) fn keep_alive(&self) -> String {
        self.request.replace("Connection: close\r\n", "")
    }
}

/// The octets of a request with this first line.
fn request(line: &str, host: &str) -> String {
    format!("{line}\r\nHost: {host}\r\nUser-Agent: lab\r\nConnection: close\r\n\r\n")
}

/// Runs a plan, on this thread, in its network namespace. `live` is called with each bucket as soon as it is full; when it returns
/// [`ControlFlow::Break`], no more requests are started, and the running ones are waited for.
pub fn run(plan: &Plan, live: impl FnMut(&Bucket) -> ControlFlow<()>) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, drive(plan, live)))
}

async fn drive(plan: &Plan, mut live: impl FnMut(&Bucket) -> ControlFlow<()>) -> Report {
    let start = Instant::now();
    let mut lasts = plan.lasts;
    let filling = Rc::new(RefCell::new(Bucket::default()));
    let (mut report, mut running) = (Report::default(), JoinSet::new());
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end_of = |bucket: &Bucket| Duration::from_millis(bucket.at_ms) + BUCKET;
    loop {
        tick.tick().await;
        let now = start.elapsed();
        while now >= end_of(&filling.borrow()) {
            let next = Bucket { at_ms: filling.borrow().at_ms + 100, ..Bucket::default() };
            let full = filling.replace(next);
            if live(&full).is_break() {
                lasts = lasts.min(now);
            }
            report.take(full);
        }
        while running.try_join_next().is_some() {}
        let due = due(plan.rate, now.min(lasts));
        if now >= lasts && report.sent >= due && running.is_empty() {
            break;
        }
        while report.sent < due {
            report.sent += 1;
            let (plan, filling) = (plan.clone(), Rc::clone(&filling));
            running.spawn_local(async move {
                let begun = Instant::now();
                let outcome = probe(&plan).await;
                let mut bucket = filling.borrow_mut();
                bucket.counts.add(&outcome);
                if matches!(outcome, Outcome::Ok(_)) {
                    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    bucket.slowest_us = bucket.slowest_us.max(took);
                }
            });
        }
    }
    let last = filling.take();
    if last.counts != Counts::default() {
        let _ = live(&last); // the load is over anyway
        report.take(last);
    }
    report
}

/// How many requests have to be started by this time.
fn due(rate: u32, now: Duration) -> u64 {
    let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    (micros.saturating_mul(u64::from(rate)) / 1_000_000).max(u64::from(!now.is_zero()))
}

impl Report {
    fn take(&mut self, bucket: Bucket) {
        self.total.merge(&bucket.counts);
        self.slowest_us = self.slowest_us.max(bucket.slowest_us);
        self.buckets.push(bucket);
    }
}

/// Opens one connection, sends the request, and reads the answer to its end.
pub(crate) async fn probe(plan: &Plan) -> Outcome {
    ask_over(plan, TcpStream::connect(plan.target)).await
}

/// Opens one connection by `connect`, sends the request, and reads the answer to its end.
pub(crate) async fn ask_over(plan: &Plan, connect: impl Future<Output = io::Result<TcpStream>>) -> Outcome {
    let (mut stream, mut answer) = (None, Vec::new());
    match timeout(plan.patience, exchange(plan, connect, &mut stream, &mut answer)).await {
        Ok(Ok(())) => understand(&answer),
        Ok(Err(error)) => {
            let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
            if is(&[io::ErrorKind::ConnectionRefused]) {
                Outcome::Refused
            } else if is(&[io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]) {
                Outcome::Reset
            } else if is(&[io::ErrorKind::TimedOut]) {
                Outcome::TimedOut
            } else {
                Outcome::Other
            }
        }
        Err(_) => {
            // A connection that timed out is closed at once. Otherwise the kernel would send SYNs to a dead next hop for minutes.
            if let Some(stream) = stream {
                let _ = stream.set_zero_linger();
            }
            Outcome::TimedOut
        }
    }
}

async fn exchange(
    plan: &Plan,
    connect: impl Future<Output = io::Result<TcpStream>>,
    open: &mut Option<TcpStream>,
    answer: &mut Vec<u8>,
) -> io::Result<()> {
    let stream = open.insert(connect.await?);
    stream.write_all(plan.request.as_bytes()).await?;
    stream.read_to_end(answer).await?;
    Ok(())
}

fn understand(answer: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Outcome::Reset };
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse::<u16>().ok());
    let header = |name: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("content-length")
        .and_then(|value| value.parse().ok())
        .is_some_and(|length: usize| body.len() < length)
    {
        return Outcome::Reset;
    }
    match status {
        Some(200..=299) => Outcome::Ok(header(NAME_HEADER).unwrap_or("?").to_string()),
        Some(status) => Outcome::Status(status),
        None => Outcome::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each connection with the next of `answers`, again from the start after the last; for an empty answer
    /// it closes at once.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers.iter().cycle() {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        address
    }

    fn plan(address: SocketAddr) -> Plan {
        Plan::new(&format!("http://{address}/x?y"), 200, Duration::from_millis(250)).unwrap()
    }

    #[test]
    fn each_ending_is_counted_once_and_the_buckets_add_up() {
        let address = server(&[
            "HTTP/1.1 200 OK\r\nX-Frontend: fe1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 204 No Content\r\nx-frontend: fe2\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nab",
            "HTTP/1.1 200",
        ]);
        let mut live = 0;
        let report = run(&plan(address), |_| {
            live += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(report.sent, 50);
        assert_eq!(report.total.ok, BTreeMap::from([("fe1".to_string(), 10), ("fe2".to_string(), 10)]));
        assert_eq!(report.total.status, BTreeMap::from([(503, 10)]));
        assert_eq!(report.total.reset, 20);
        assert_eq!(report.total.answered() + report.total.lost(), report.sent);
        assert_eq!(live, report.buckets.len());
        assert_eq!(report.buckets.iter().map(|b| b.counts.answered()).sum::<u64>(), 20);
        assert!(report.slowest_us > 0);
    }

    #[test]
    fn nobody_listening_is_refused_and_silence_is_a_timeout() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = run(&plan(closed), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((report.sent, report.total.refused), (50, 50));

        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = plan(silent.local_addr().unwrap());
        plan.patience = Duration::from_millis(100);
        let report = run(&plan, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((report.sent, report.total.timed_out), (50, 50));
    }

    #[test]
    fn a_break_ends_it_early_and_what_was_sent_is_still_counted() {
        let address = server(&["HTTP/1.1 204 No Content\r\n\r\n"]);
        let report = run(&plan(address), |_| ControlFlow::Break(())).unwrap();
        assert!((20..=30).contains(&report.sent), "{}", report.sent); // 200 a second, for one bucket
        assert_eq!(report.total.answered(), report.sent);
    }

    #[test]
    fn a_plan_needs_an_address_and_says_so() {
        let second = Duration::from_secs(1);
        let plan = Plan::new("http://[2001:db8::80]:8080/a?b#c", 1, second).unwrap();
        assert_eq!(plan.target, "[2001:db8::80]:8080".parse().unwrap());
        assert!(
            plan.request.starts_with("GET /a?b HTTP/1.1\r\nHost: [2001:db8::80]:8080\r\n"),
            "{}",
            plan.request
        );
        let named = plan.for_host("www.example.com");
        assert_eq!(named.target, "[2001:db8::80]:8080".parse().unwrap());
        assert!(
            named.request.starts_with("GET /a?b HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: lab\r\n"),
            "{}",
            named.request
        );
        for (url, rate) in [
            ("http://example.com/", 1),
            ("https://192.0.2.80/", 1),
            ("192.0.2.80", 1),
            ("http://192.0.2.80/", 0),
        ] {
            assert!(Plan::new(url, rate, second).is_err(), "{url}");
        }
    }
}
