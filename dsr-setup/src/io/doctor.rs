//! Takes the snapshot for `dsr-setup doctor`: reads this host, sends probes, and listens.
//!
//! Touches rtnetlink (`routes`), `/proc` (`proc`), sock_diag (`sockets`), `nft`, packet sockets (`neighbours`, `capture`, `frames`),
//! raw sockets (`mtu`), TCP (`tls`) and the clock. Nothing on the host is changed. What is not permitted is left out, with the reason.

mod capture;
mod frames;
mod mtu;
mod neighbours;
mod proc;
mod routes;
mod sockets;
mod tls;
pub mod watched;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Error, Host, chain, permitted, sysctl};
use crate::doctor::nft::Ruleset;
use crate::doctor::observations::{ChosenSource, Observations, Question, Seen, Unseen, anywhere};

/// A port for UDP sockets that send nothing.
const DISCARD: u16 = 9;

impl Host {
    /// Takes the snapshot. With `listen`, it also counts the packets of the VIPs for so long. For VIPs in a VRF, nothing is sent by IP and no
    /// route is asked for: it would be that of another network.
    ///
    /// # Errors
    /// Those of rtnetlink and of `/proc/sys`, without which nothing can be said.
    pub async fn examine(
        &self,
        question: &Question,
        listen: Option<Duration>,
    ) -> Result<Observations, Error> {
        let handle = self.vips.handle();
        let links = routes::links(handle).await?;
        let addresses = routes::addresses(handle, &links).await?;
        let held: BTreeSet<IpAddr> = addresses.iter().map(|address| address.net.addr()).collect();
        let is_outside = question.vrf.is_none();
        let before = proc::counters();
        let listeners = sockets::listeners();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut seen = Observations {
            routes: routes::routes(handle, &links).await?,
            rules: routes::rules(handle).await,
            paths: if is_outside { routes::paths(handle, question, &held).await } else { Vec::new() },
            sources: if is_outside { sources(question) } else { Vec::new() },
            arp: sysctl::read_all()?,
            conf: proc::conf(),
            settings: proc::settings(),
            listeners,
            counters: before.clone().map(|before| (before, before)),
            ruleset: ruleset().await,
            managers: proc::managers(),
            links,
            addresses,
            ..Observations::nothing(i64::try_from(clock).unwrap_or(i64::MAX))
        };
        // All of these wait for packets, so they run at the same time.
        let (answers, mtu, capture, tls) = tokio::join!(
            blocking(&seen, question, neighbours::ask),
            blocking(&seen, question, move |seen, question| {
                if is_outside { mtu::probe(seen, question) } else { Ok(Vec::new()) }
            }),
            blocking(&seen, question, move |seen, question| capture::listen(seen, question, listen)),
            async { if is_outside { tls::handshakes(&seen, question).await } else { Vec::new() } },
        );
        let aborted = || Unseen("the probe was aborted".into());
        let answers = answers.unwrap_or_else(|| Err(aborted()));
        let mtu = mtu.unwrap_or_else(|| Err(aborted()));
        let capture = capture.unwrap_or_else(|| Some(Err(aborted())));
        (seen.answers, seen.mtu, seen.tls, seen.capture) = (answers, mtu, tls, capture);
        seen.conntrack = proc::conntrack();
        seen.counters = before.and_then(|before| Ok((before, proc::counters()?)));
        Ok(seen)
    }
}

/// Runs a probe on a thread where it may block; `None`: the thread has panicked.
async fn blocking<T: Send + 'static>(
    seen: &Observations,
    question: &Question,
    probe: impl FnOnce(&Observations, &Question) -> T + Send + 'static,
) -> Option<T> {
    let (seen, question) = (seen.clone(), question.clone());
    tokio::task::spawn_blocking(move || probe(&seen, &question)).await.ok()
}

/// The reason for an error of a socket that needs a capability.
fn unseen(error: &std::io::Error) -> Unseen {
    Unseen(if error.kind() == std::io::ErrorKind::PermissionDenied {
        "needs CAP_NET_RAW: run it with sudo".into()
    } else {
        format!("a socket for packets cannot be opened: {error}")
    })
}

/// The source that the kernel chooses for packets to this address. Nothing is sent.
fn source_to(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(to, DISCARD)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The sources for clients, routers, directors, and an address that stands for everybody else. A VIP as the destination would be its own
/// source.
fn sources(question: &Question) -> Vec<ChosenSource> {
    let named = question.clients.iter().chain(&question.routers).chain(&question.directors).copied();
    let all = named.chain([anywhere(true), anywhere(false)]).filter(|to| !question.vips.contains(to));
    all.filter_map(|to| Some(ChosenSource { to, source: source_to(to)? })).collect()
}

async fn ruleset() -> Seen<Ruleset> {
    permitted().map_err(|error| Unseen(error.to_string()))?;
    let Some(printed) = chain::list_ruleset().await else {
        return Err(Unseen("needs `nft`, the program of nftables, which is not installed".into()));
    };
    let text = printed.map_err(|error| Unseen(error.to_string()))?;
    Ruleset::read(&text)
        .ok_or_else(|| Unseen("`nft -j list ruleset` printed something that was not understood".into()))
}
