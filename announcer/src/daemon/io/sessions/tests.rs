//! Tests with own routers that the steps of the plan are made, in that order.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

const KEEPALIVE: [u8; 19] =
    [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];
const OPEN: u8 = 1;
const NOTIFICATION: u8 = 3;

/// The next message, its type and body; `None` at the end.
async fn message(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 19];
    stream.read_exact(&mut header).await.ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
    stream.read_exact(&mut body).await.ok()?;
    Some((header[18], body))
}

/// A router that holds each session, and reports our identifier of each and each NOTIFICATION.
async fn router(name: &'static str, listener: TcpListener, report: mpsc::UnboundedSender<String>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Some((kind, body)) = message(&mut stream).await {
            if kind == OPEN {
                let parameters = [2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8];
                let body_of_ours = [[4, 0xfd, 0xe8, 0, 90, 10, 9, 9, 9, 16].as_slice(), &parameters].concat();
                let open = [&KEEPALIVE[..17], &[45, OPEN], &body_of_ours].concat();
                let _ = stream.write_all(&[open, KEEPALIVE.to_vec()].concat()).await;
                let _ =
                    report.send(format!("{name} up with {}.{}.{}.{}", body[5], body[6], body[7], body[8]));
            } else if kind == NOTIFICATION {
                let _ = report.send(format!("{name} down by {}/{}", body[0], body[1]));
            }
        }
    }
}

struct SessionsUnderTest {
    configs: watch::Sender<Arc<Config>>,
    ids: watch::Sender<Identity>,
    heard: mpsc::UnboundedReceiver<String>,
    ports: Vec<u16>,
    _stop: watch::Sender<Option<String>>,
    _task: tokio::task::JoinHandle<()>,
}

fn config(ports: &[u16], keys: &str) -> Arc<Config> {
    let mut text = "[bgp]\nasn = 65001\n".to_owned();
    for (index, port) in ports.iter().enumerate() {
        text += &format!(
            "[[peer]]\nname = \"r{index}\"\naddress = \"10.0.1.{}\"\nport = {port}\nasn = 65000\n{keys}\n",
            index + 1
        );
    }
    text += "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n";
    let mut config = config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
    // A configuration file cannot name routers on this host.
    for (peer, last) in config.peers.iter_mut().zip(1..) {
        peer.address = config::PeerAddress::Ip(std::net::Ipv4Addr::new(127, 0, 0, last).into());
    }
    Arc::new(config)
}

fn known(id: &str) -> Identity {
    let id = RouterId::try_from(id.parse::<std::net::Ipv4Addr>().unwrap()).unwrap();
    Identity { id: Some(id), waits: None }
}

impl SessionsUnderTest {
    async fn new(id: Identity) -> SessionsUnderTest {
        let (report, heard) = mpsc::unbounded_channel();
        let mut ports = vec![];
        for (name, address) in [("r0", "127.0.0.1:0"), ("r1", "127.0.0.2:0")] {
            let listener = TcpListener::bind(address).await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            tokio::spawn(router(name, listener, report.clone()));
        }
        let (configs, configs_seen) = watch::channel(config(&ports, ""));
        let (ids, router_ids) = watch::channel(id);
        let (stop, stopped) = watch::channel(None);
        let shared = SessionResources {
            configs: configs_seen,
            router_ids,
            vips: watch::channel(Arc::default()).1,
            network: watch::channel(Arc::default()).1,
            routers: watch::channel(Arc::default()).1,
            files: Files::new(),
            ribs: watch::channel(Arc::default()).1,
            restarted: false,
            bfd: watch::channel(Arc::default()).1,
            joined: watch::channel(true).1,
            stop: stopped,
            continuations: Continuations(Arc::new(|_| Continuation::none())),
        };
        let task = tokio::spawn(async move {
            let (publish, _seen) = watch::channel(Peers::default());
            keep(shared, publish, watch::Sender::new(SessionTurns::new())).await;
        });
        SessionsUnderTest { configs, ids, heard, ports, _stop: stop, _task: task }
    }

    async fn hears(&mut self, count: usize) -> Vec<String> {
        let mut all = vec![];
        while all.len() < count {
            let next = timeout(Duration::from_secs(10), self.heard.recv()).await;
            all.push(next.unwrap_or_else(|_| panic!("only {all:?}")).unwrap());
        }
        all
    }
}

/// W5.
#[tokio::test]
async fn sessions_begin_when_the_router_id_is_known_and_another_one_takes_them_one_after_the_other() {
    let mut stage = SessionsUnderTest::new(Identity::default()).await;
    assert!(timeout(Duration::from_millis(300), stage.heard.recv()).await.is_err(), "no id, no session");
    stage.ids.send_replace(known("10.0.0.1"));
    let mut both = stage.hears(2).await;
    both.sort();
    assert_eq!(both, ["r0 up with 10.0.0.1", "r1 up with 10.0.0.1"]);
    tokio::time::sleep(Duration::from_millis(300)).await; // until both are Established
    stage.ids.send_replace(known("10.0.0.2"));
    let want = ["r0 down by 6/6", "r0 up with 10.0.0.2", "r1 down by 6/6", "r1 up with 10.0.0.2"];
    assert_eq!(stage.hears(4).await, want);
}

#[tokio::test]
async fn a_peer_that_was_changed_begins_anew_and_one_that_was_removed_ends_first() {
    let mut stage = SessionsUnderTest::new(known("10.0.0.1")).await;
    stage.hears(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // until both are Established
    stage.configs.send_replace(config(&stage.ports[..1], "hold_time = \"30s\""));
    assert_eq!(stage.hears(3).await, ["r1 down by 6/3", "r0 down by 6/6", "r0 up with 10.0.0.1"]);
}
