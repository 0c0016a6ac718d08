//! The client of `flows`: one thread, one task for each connection.
//!
//! Touches TCP.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::answer::{self, Answer};
use super::sources::Sources;
use super::{Break, Control, Phase, Plan, Report, micros};
use crate::load;

/// How often new connections are begun.
const TICK: Duration = Duration::from_millis(1);
/// The pause before a connection that could not be opened is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How many ports that are in use are skipped.
const PORT_TRIES: u32 = 100;
/// The most octets that an answer may have.
const LONGEST: usize = 16 * 1024;

/// Runs the client on this thread, in its network namespace, until the plan's time is over or [`Control::stop`] is called, and then
/// until the connections without an answer have ended, for at most their time limit. It lets this process open as many descriptors as
/// it may.
///
/// # Errors
/// When no runtime can be made, or the limit of open descriptors cannot be read or raised.
pub fn run(plan: &Plan, control: &Control) -> io::Result<Report> {
    // Each connection needs a descriptor, and a shell often allows 1,024.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(plan, control));
    Ok(control.report())
}

async fn drive(plan: &Plan, control: &Control) {
    let plan = Rc::new(plan.clone());
    // Somewhere else in each run: the servers may remember the ports of the last one.
    let first = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_micros() as usize);
    let of_flows = Rc::new(Sources::new(&plan.flow_sources, first));
    let of_new = Rc::new(Sources::new(&plan.new_sources, first));
    let mut flows = JoinSet::new();
    for number in 0..plan.flows {
        let (plan, control, sources) = (Rc::clone(&plan), control.clone(), Rc::clone(&of_flows));
        flows.spawn_local(async move {
            // Evenly over the time between two requests.
            sleep(plan.every * number / plan.flows).await;
            loop {
                flow(&plan, &control, &sources).await;
            }
        });
    }
    let start = Instant::now();
    let (mut sent, mut new) = (0, JoinSet::new());
    let most = plan.new.rate as usize * 2;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = start;
    loop {
        tick.tick().await;
        let now = Instant::now();
        let late = micros(now.duration_since(last).saturating_sub(TICK));
        control.at(last, |phase| phase.late_us = phase.late_us.max(late));
        last = now;
        while new.try_join_next().is_some() {}
        let elapsed = now.duration_since(start);
        if control.is_stopped() || elapsed >= plan.new.lasts {
            break;
        }
        let due = micros(elapsed).saturating_mul(u64::from(plan.new.rate)) / 1_000_000;
        while sent < due {
            sent += 1;
            if new.len() >= most {
                control.at(now, |phase| phase.new.skipped += 1);
                continue;
            }
            let (plan, control, sources) = (Rc::clone(&plan), control.clone(), Rc::clone(&of_new));
            new.spawn_local(async move {
                let begun = Instant::now();
                let outcome = load::ask_over(&plan.new, connect(plan.target(), &sources)).await;
                control.ended(begun, begun.elapsed(), &outcome);
            });
        }
    }
    drop(flows); // what it ends is not counted
    while new.join_next().await.is_some() {}
}

/// Opens one flow, and keeps it until it breaks or the server ends it.
async fn flow(plan: &Plan, control: &Control, sources: &Sources) {
    let begun = Instant::now();
    let Ok(Ok(stream)) = timeout(plan.silence, connect(plan.target(), sources)).await else {
        control.at(begun, |phase| phase.flows.not_opened += 1);
        return sleep(AGAIN).await;
    };
    let mut frontend = None;
    keep(plan, control, begun, stream, &mut frontend).await;
    if frontend.is_some() {
        control.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(target: SocketAddr, sources: &Sources) -> io::Result<TcpStream> {
    let mut tries = 0;
    loop {
        let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        match sources.next().map_or(Ok(()), |source| socket.bind(source)) {
            Ok(()) => return socket.connect(target).await,
            // Another connection of this host has that port.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// `opened`: when its SYN was sent. `frontend` is the one that has answered; `None` before the first answer.
async fn keep(
    plan: &Plan,
    control: &Control,
    opened: Instant,
    mut stream: TcpStream,
    frontend: &mut Option<String>,
) {
    let _ = stream.set_nodelay(true); // a request is one segment anyway
    let renewals = control.renewals();
    let mut next = Instant::now();
    loop {
        let asked = Instant::now();
        let result = timeout(plan.silence, exchange(&mut stream, plan.request.as_bytes())).await;
        let known = frontend.as_deref().unwrap_or("?");
        let answer = match result {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => answer,
            Ok(Ok(_)) => return control.broke(opened, asked, Break::Other, known),
            Ok(Err(error)) => return control.broke(opened, asked, way(&error), known),
            Err(_) => {
                // Closed at once, as in `load`: otherwise its segments would be sent for minutes.
                let _ = stream.set_zero_linger();
                return control.broke(opened, asked, Break::Silent, known);
            }
        };
        control.answered(asked, asked.elapsed());
        if frontend.is_none() {
            control.0.open.fetch_add(1, Ordering::Relaxed);
            control.at(asked, |Phase { flows, .. }| flows.opened += 1);
        }
        *frontend = Some(answer.frontend);
        if answer.is_last {
            return control.at(asked, |Phase { flows, .. }| flows.ended += 1);
        }
        next = (next + plan.every).max(Instant::now());
        tokio::select! {
            () = sleep_until(next.into()) => {
                if control.renewals() != renewals {
                    return control.at(next, |Phase { flows, .. }| flows.ended += 1);
                }
            }
            how = end(&stream) => {
                return control.broke(opened, Instant::now(), how, frontend.as_deref().unwrap_or("?"));
            }
        }
    }
}

/// Sends a request, and reads the answer.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request).await?;
    let mut octets = Vec::with_capacity(512);
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut octets) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if let Some(answer) = answer::read(&octets) {
            return Ok(answer);
        }
        if octets.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Waits for the end of a flow that is not asked anything.
async fn end(stream: &TcpStream) -> Break {
    loop {
        if let Err(error) = stream.readable().await {
            return way(&error);
        }
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => return Break::Closed,
            Ok(_) => return Break::Other, // nothing was asked
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return way(&error),
        }
    }
}

fn way(error: &io::Error) -> Break {
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    if is(&[io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]) {
        Break::Reset
    } else if is(&[io::ErrorKind::UnexpectedEof]) {
        Break::Closed
    } else if is(&[io::ErrorKind::TimedOut]) {
        Break::Silent
    } else {
        Break::Other
    }
}
