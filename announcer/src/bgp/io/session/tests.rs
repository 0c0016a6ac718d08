//! Tests the change of a key on a live session. The other tests of sessions are outside the crate.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::bgp::fsm::StateName;
use crate::bgp::io::password;
use crate::bgp::io::sockopt::set_key;
use crate::config::PeerAddress;
use crate::model::{Overrides, PeerAsn};

const KEEPALIVE: [u8; 19] =
    [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];

fn write_key(file: &Path, key: &str) {
    fs::write(file, key).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

async fn router_key(socket: &impl AsFd, of: SocketAddr, file: &Path) {
    set_key(socket.as_fd(), of, &password::read(&Files::new(), file).await.unwrap()).unwrap();
}

/// Reads one message, and returns its type.
fn message(router: &mut TcpStream) -> std::io::Result<u8> {
    let mut header = [0; 19];
    router.read_exact(&mut header)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
    router.read_exact(&mut body)?;
    Ok(header[18])
}

/// The same on another thread, because the tested session needs this thread.
async fn hear(router: &TcpStream, within: Duration) -> std::io::Result<u8> {
    let mut router = router.try_clone()?;
    router.set_read_timeout(Some(within))?;
    tokio::task::spawn_blocking(move || message(&mut router)).await.unwrap()
}

/// A router's side of a session up to Established.
fn handshake(listener: &TcpListener) -> TcpStream {
    let (mut router, _) = listener.accept().unwrap();
    router.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(message(&mut router).unwrap(), 1);
    let parameters = [2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8];
    let body = [[4, 0xfd, 0xe8, 0, 9, 10, 9, 9, 9, 16].as_slice(), &parameters].concat();
    router.write_all(&[&KEEPALIVE[..17], &[45, 1], &body].concat()).unwrap();
    assert_eq!(message(&mut router).unwrap(), 4);
    router.write_all(&KEEPALIVE).unwrap();
    router
}

#[tokio::test]
async fn a_changed_key_is_set_on_the_live_socket_and_resets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r1.key");
    write_key(&file, "old");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    router_key(&listener, "127.0.0.1:0".parse().unwrap(), &file).await;
    let peer = Arc::new(PeerConfig {
        vrf: None,
        name: "r1".parse().unwrap(),
        address: PeerAddress::Ip("127.0.0.1".parse().unwrap()),
        port: listener.local_addr().unwrap().port(),
        asn: PeerAsn::External,
        hold_time: Duration::from_secs(9),
        send_hold_time: Duration::from_secs(480),
        families: [Family::V4].into(),
        capabilities: true,
        interface: None,
        default_route: false,
        source_address: None,
        min_hold_time: None,
        tcp_mss: None,
        multihop: 1,
        ttl_security: false,
        password_file: Some(file.clone()),
        os: None,
        hooks: None,
        bfd: None,
        overrides: Overrides::default(),
    });
    let local = Local {
        asn: Asn::try_from(65001).unwrap(),
        router_id: RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 1, 11)).unwrap(),
        graceful_restart: None,
        restarted: false,
        vips: watch::channel(Arc::default()).1,
        network: watch::channel(Arc::default()).1,
        routers: watch::channel(Arc::default()).1,
        files: Files::new(),
        turns: crate::watchdog::Turns::new(Instant::now()),
        continuation: crate::bgp::io::resume::Continuation::none(),
    };
    let (peers, peer_seen) = watch::channel(peer.clone());
    let (rib, ribs) = watch::channel(Arc::new(LocRib::default()));
    let (_liveness, liveness) = watch::channel(Liveness::default());
    let (_order, order) = watch::channel(SessionOrder::Run);
    let (publish, mut status) = watch::channel(SessionReport::new());
    tokio::spawn(run(local, peer_seen, ribs, liveness, order, publish));
    let mut router = tokio::task::spawn_blocking(move || handshake(&listener)).await.unwrap();
    status.wait_for(|status| status.state == StateName::Established).await.unwrap();

    write_key(&file, "new");
    let of = router.peer_addr().unwrap();
    // A reload without a change of the configuration reads the file again.
    peers.send_replace(peer);
    let announce = |generation| {
        let route = ("192.0.2.80/32".parse().unwrap(), Arc::default());
        let routes = if generation == 1 { [route].into() } else { [].into() };
        rib.send_replace(Arc::new(LocRib {
            generation,
            complete: false,
            caused: None,
            routes,
            ..LocRib::default()
        }));
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    announce(1);
    assert!(
        hear(&router, Duration::from_millis(300)).await.is_err(),
        "the router still has the old key, and so hears nothing"
    );
    router_key(&router, of, &file).await;
    assert_eq!(
        hear(&router, Duration::from_secs(5)).await.unwrap(),
        2,
        "with the new one it hears what was sent meanwhile"
    );
    router.write_all(&KEEPALIVE).unwrap();
    status.wait_for(|status| status.acknowledged == 1).await.unwrap();
    announce(2);
    status.wait_for(|status| status.acknowledged == 2).await.unwrap();
    assert_eq!(status.borrow().state, StateName::Established);
    assert_eq!(status.borrow().last_down, None, "the session was never down");
}
