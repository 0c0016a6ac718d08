//! Runs a director: the checks, and the rules in the kernel.
//!
//! Touches TCP, rtnetlink, signals, and `nft`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use netlink_dump::{dump, one};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::Handle;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Health, Host, MacAddress, Plan, hosts, removal, rules, sentence};
use crate::load::{self, Outcome, probe};

/// The most that a run of `nft` may take.
const NFT_LIMIT: Duration = Duration::from_secs(10);

/// A check that has ended: the host, by its position, and how.
type Ended = (usize, Outcome);

/// Checks and forwards until SIGTERM or SIGINT, and then removes the rules. `log` gets a sentence for each change.
///
/// # Errors
/// When the interface does not exist, when `nft` fails, or when the kernel cannot be read.
pub fn run(plan: &Plan, log: impl FnMut(&str)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, drive(plan, log))
}

async fn drive(plan: &Plan, mut log: impl FnMut(&str)) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let (index, own) = interface(&handle, &plan.interface).await?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hosts = hosts(plan);
    let (sender, mut ended) = mpsc::channel(hosts.len().max(1));
    for (position, host) in hosts.iter().enumerate() {
        tokio::task::spawn_local(check(
            position,
            request(plan, host.address)?,
            plan.interval,
            sender.clone(),
        ));
    }
    let mut sentences: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut installed = rules(plan, &hosts, own);
    nft(&installed).await?;
    loop {
        let (position, outcome) = tokio::select! {
            Some(check) = ended.recv() => check,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        };
        let Some(host) = hosts.get_mut(position) else { continue };
        let health = match reason(&outcome) {
            None => Health::Up(mac_address(&handle, index, host.address).await?),
            Some(reason) => Health::Down(reason),
        };
        if health == host.health {
            continue;
        }
        log(&describe(host.address, &health));
        host.health = health;
        // The rules come first, so that a sentence about a VIP says what the kernel does already.
        let wanted = rules(plan, &hosts, own);
        if wanted != installed {
            nft(&wanted).await?;
            installed = wanted;
        }
        say(plan, &hosts, &mut sentences, &mut log);
    }
    nft(&removal(plan.forward)).await
}

/// Logs the sentence of each VIP for which it has changed.
fn say(plan: &Plan, hosts: &[Host], last: &mut BTreeMap<IpAddr, String>, log: &mut impl FnMut(&str)) {
    for vip in &plan.vips {
        let sentence = sentence(hosts, *vip, plan.forward);
        if last.get(vip) != Some(&sentence) {
            log(&sentence);
            last.insert(*vip, sentence);
        }
    }
}

fn describe(address: IpAddr, health: &Health) -> String {
    match health {
        Health::Unknown => format!("{address} is not known yet"),
        Health::Up(Some(mac)) => format!("{address} is up at {mac}"),
        Health::Up(None) => format!("{address} is up, but is no neighbour in this LAN"),
        Health::Down(reason) => format!("{address} is down: {reason}"),
    }
}

/// Why a check has failed; `None` if it has passed.
fn reason(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok(_) => None,
        Outcome::Status(status) => Some(format!("HTTP {status}")),
        Outcome::Refused => Some("connection refused".into()),
        Outcome::Reset => Some("connection reset".into()),
        Outcome::TimedOut => Some("no answer in time".into()),
        Outcome::Other => Some("no route, or another error of the kernel".into()),
    }
}

/// The request of a check.
fn request(plan: &Plan, address: IpAddr) -> io::Result<load::Plan> {
    let url = format!("http://{}{}", SocketAddr::new(address, plan.port), plan.path);
    let mut request = load::Plan::new(&url, 1, plan.interval).map_err(io::Error::other)?;
    request.patience = plan.timeout;
    Ok(request)
}

/// Checks one host, again and again.
async fn check(position: usize, request: load::Plan, every: Duration, ended: mpsc::Sender<Ended>) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if ended.send((position, probe(&request).await)).await.is_err() {
            return; // the director ends
        }
    }
}

/// The index and the MAC address of an interface.
#[allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow
async fn interface(handle: &Handle, name: &str) -> io::Result<(u32, MacAddress)> {
    let link = one(handle.link().get().match_name(name.to_owned())).await;
    let link = link.map_err(netlink)?.ok_or_else(|| io::Error::other(format!("there is no `{name}`")))?;
    let octets = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(octets) => octets.as_slice().try_into().ok(),
        _ => None,
    });
    let octets = octets.ok_or_else(|| io::Error::other(format!("`{name}` has no MAC address")))?;
    Ok((link.header.index, MacAddress(octets)))
}

/// The MAC address of a neighbour. The check that has just passed has asked for it, so the kernel knows it, if the host is in this LAN.
#[allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow
async fn mac_address(handle: &Handle, index: u32, address: IpAddr) -> io::Result<Option<MacAddress>> {
    for entry in dump(|| handle.neighbours().get()).await.map_err(netlink)? {
        let is_host = entry.attributes.iter().any(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => IpAddr::V4(*v4) == address,
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => IpAddr::V6(*v6) == address,
            _ => false,
        });
        let is_lost = matches!(entry.header.state, NeighbourState::Failed | NeighbourState::Incomplete);
        if entry.header.ifindex != index || !is_host || is_lost {
            continue;
        }
        let octets = entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
            _ => None,
        });
        return Ok(octets.map(MacAddress));
    }
    Ok(None)
}

fn netlink(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        return message.to_io();
    }
    io::Error::other(error.to_string())
}

/// Gives `nft` a text to read.
async fn nft(text: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("`nft` cannot be run: {error}")))?;
    let stdin = child.stdin.take();
    let whole = async {
        if let Some(mut stdin) = stdin {
            // If it ends before it has read all, its output says why.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output =
        timeout(NFT_LIMIT, whole).await.map_err(|_| io::Error::other("`nft` did not end in time"))??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("`nft` said: {}", said.lines().next().unwrap_or("nothing"))))
}
