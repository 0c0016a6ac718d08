//! Tests that `status --json` has the negotiated values of a session (case B17), with a router that is part of the test. The test
//! runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod scripted;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use daemon::{Daemon, command, in_new_netns, link_to_router};
use scripted::{ENHANCED, OPEN, keepalive, message, open_body};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// The peer's object in the output of `announcer status --json`.
fn peer(folder: &Path) -> Value {
    let output = command(folder, &["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["peers"][0].clone()
}

/// Accepts the daemon's connection, and makes a session with this OPEN.
fn accept(listener: &TcpListener, open: &[u8]) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&[message(OPEN, open), keepalive()].concat()).unwrap();
    stream
}

#[test]
fn the_negotiated_values_of_a_session_are_in_the_status() {
    in_new_netns(negotiated);
}

fn negotiated(folder: &Path) {
    link_to_router();
    let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
    let config = format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"30s\"\n\
         source_address = \"10.9.9.11\"\nnext_hop_v6 = \"2001:db8:1::11\"\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n\
         [[service.check]]\nfile = \"{}\"\n",
        folder.join("up").display()
    );
    let daemon = Daemon::start(folder, &config);
    let established = |times| {
        daemon.until_status(PATIENCE, "the session", |status| {
            let peer = &status.peers[0];
            peer.state == "Established" && peer.established == times
        });
        peer(folder)
    };
    daemon.until_status(PATIENCE, "the try", |status| status.peers.len() == 1);
    assert_eq!(peer(folder)["session"], Value::Null, "there is no session yet");

    // The router offers IPv4 alone, enhanced route refresh, AS numbers of four octets, and the shorter hold time.
    let router = accept(&listener, &open_body(65000, 12, [10, 9, 9, 9], ENHANCED));
    let mut session = established(1)["session"].take();
    let local = session["local_address"].take();
    assert!(local.as_str().is_some_and(|local| local.starts_with("10.9.9.11:")), "{local}");
    let want = json!({
        "local_address": null,
        "router_id": "10.9.9.9",
        "hold_time": 12,
        "families": ["IPv4"],
        "asn_octets": 4,
        "route_refresh": "enhanced",
        "extended_next_hop": false,
        "next_hops": {"IPv4": "10.9.9.11"},
    });
    assert_eq!(session, want);

    // After the session, its values are gone, and the next session has its own: both families, and the same refresh as all routers.
    drop(router);
    daemon.until_status(PATIENCE, "the end of the session", |status| status.peers[0].session.is_none());
    let _router = accept(&listener, &open_body(65000, 180, [10, 9, 9, 8], scripted::CAPABILITIES));
    let session = established(2)["session"].take();
    assert_eq!(
        (&session["router_id"], &session["hold_time"], &session["route_refresh"]),
        (&json!("10.9.9.8"), &json!(30), &json!("plain"))
    );
    assert_eq!(session["families"], json!(["IPv4", "IPv6"]));
    assert_eq!(session["next_hops"], json!({"IPv4": "10.9.9.11", "IPv6": "2001:db8:1::11"}));
}
