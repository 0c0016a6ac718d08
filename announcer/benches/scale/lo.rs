//! Measures the start of a whole daemon with 3,000 VIPs that are not on lo yet (case B15).
//!
//! Needs root. The daemon, its web server and its router are in a new network namespace.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use until::until;

use super::daemon::{Daemon, in_new_netns, link_to_router};
use super::routers;

/// A third of them are IPv6.
const VIPS: u32 = 3000;
const SERVICES: u32 = 30;
const PATIENCE: Duration = Duration::from_secs(120);

/// Prints the times from the start of the daemon.
pub(crate) fn measure() {
    in_new_netns(start);
}

fn vip(number: u32) -> IpAddr {
    match number % 3 {
        0 => IpAddr::from(Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0014_0000 + u128::from(number))),
        _ => IpAddr::from(Ipv4Addr::from(0x0a14_0000 + number)),
    }
}

fn config(port: u16) -> String {
    let mut text = format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = {port}\nasn = 65000\nhold_time = \"90s\"\n\
         next_hop_v6 = \"2001:db8:1::11\"\n"
    );
    let each = VIPS / SERVICES;
    for service in 0..SERVICES {
        let vips = (service * each..(service + 1) * each).map(|number| format!("\"{}\"", vip(number)));
        let vips: Vec<String> = vips.collect();
        write!(
            text,
            "[[service]]\nname = \"s{service}\"\nvips = [{}]\n[[service.check]]\ntcp = 8080\nrise = 1\n",
            vips.join(", ")
        )
        .unwrap();
    }
    text
}

/// How many VIPs are on lo, with the two addresses of lo itself.
fn on_lo() -> usize {
    let output = Command::new("ip").args(["-oneline", "address", "show", "dev", "lo"]).output().unwrap();
    output.stdout.iter().filter(|octet| **octet == b'\n').count()
}

fn start(folder: &Path) {
    link_to_router();
    let web = TcpListener::bind("[::]:8080").unwrap(); // IPv4 too
    std::thread::spawn(move || web.incoming().for_each(drop));
    let router = TcpListener::bind("10.9.9.1:0").unwrap();
    let port = router.local_addr().unwrap().port();
    let known = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&known);
    std::thread::spawn(move || {
        routers::router(router.accept().unwrap().0, || false, |now| count.store(now, Ordering::SeqCst));
    });
    let whole = usize::try_from(VIPS).unwrap();
    let text = config(port);
    let began = Instant::now();
    let daemon = Daemon::start(folder, &text);
    // Both are watched at the same time, so that the one does not hide the other.
    let (mut on_lo_after, mut announced_after) = (None, None);
    let result = until(PATIENCE, || {
        if announced_after.is_none() && known.load(Ordering::SeqCst) == whole {
            announced_after = Some(began.elapsed());
        }
        // Not all the time: the kernel has one lock for this question and for the VIPs that are put on lo.
        std::thread::sleep(Duration::from_millis(20));
        if on_lo_after.is_none() && on_lo() == whole + 2 {
            on_lo_after = Some(began.elapsed());
        }
        on_lo_after.zip(announced_after).ok_or_else(|| (on_lo(), known.load(Ordering::SeqCst)))
    });
    let (on_lo, announced) = result.unwrap_or_else(|state| panic!("on lo, announced: {state:?}"));
    let cpu = cpu(&daemon);
    println!(
        "start with {VIPS} VIPs that are not on lo: all are on lo after {on_lo:.1?}, all are announced after {announced:.1?}, CPU {cpu:.1?}"
    );
}

/// The processor time that the daemon's main thread has used.
fn cpu(daemon: &Daemon) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", daemon.pid())).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
