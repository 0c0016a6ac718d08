//! BFD against a scripted router on a link of its own: what is sent, what is dropped, what follows from silence, and what BGP does.
//! Each test runs in its own network namespaces. Needs root and `ip`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod bfd_router;
mod daemon;
mod store;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Instant;

use announcer::bfd::io::{BfdOrder, InheritedBfd, LEASE, MainTurns, start};
use announcer::bfd::packet::{BfdState, Diagnostic, DropReason, Packet, encode};
use announcer::realtime::io::RealtimeThread;
use bfd_router::{Bfd, MS, Over, PATIENCE, link, says};
use daemon::{Daemon, in_new_netns, ip, router};
use nix::sys::signal::Signal;
use socket2::SockRef;

fn comes_up(over: Over, hops: u8) {
    in_new_netns(move |_| {
        let router = link(over);
        let mut bfd = Bfd::with(&router, over, hops);
        let up = router.come_up();
        assert_eq!((up.desired_min_tx, up.required_min_rx, up.multiplier), (MS * 100, MS * 100, 3));
        router.answer_for(MS * 300);
        let session = bfd.until_session("up", |session| session.state == BfdState::Up);
        assert_eq!(session.detection_time, Some(MS * 300));
        assert_eq!((session.losses, session.flaps), (0, 0));
        // The port is one of RFC 5881, and stays the same.
        let ports: BTreeSet<u16> = (0..3).map(|_| router.packet().1).collect();
        assert!(ports.len() == 1 && ports.iter().all(|port| *port >= 49_152), "{ports:?}");
    });
}

#[test]
fn a_session_comes_up_over_ipv4() {
    comes_up(Over::V4, 1);
}

#[test]
fn a_session_comes_up_over_link_local_addresses() {
    comes_up(Over::LinkLocal, 1);
}

#[test]
fn a_session_over_routers_uses_the_port_of_rfc_5883() {
    comes_up(Over::Multihop, 3);
}

#[test]
fn packets_are_sent_with_ttl_255_and_network_control() {
    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::Ipv4RecvTtl,
    };
    in_new_netns(|_| {
        let router = link(Over::V4);
        setsockopt(&router.receiver, Ipv4RecvTtl, &true).unwrap();
        SockRef::from(&router.receiver).set_recv_tos_v4(true).unwrap();
        let _bfd = Bfd::with(&router, Over::V4, 1);
        let (mut octets, mut control) = ([0; 64], [0; 128]);
        let mut into = [std::io::IoSliceMut::new(&mut octets)];
        let socket = std::os::fd::AsRawFd::as_raw_fd(&router.receiver);
        let message =
            recvmsg::<SockaddrStorage>(socket, &mut into, Some(&mut control), MsgFlags::empty()).unwrap();
        let (mut ttl, mut tos) = (None, None);
        for one in message.cmsgs().unwrap() {
            if let ControlMessageOwned::Ipv4Ttl(value) = one {
                ttl = Some(value);
            } else if let ControlMessageOwned::Ipv4Tos(value) = one {
                tos = Some(value);
            }
        }
        assert_eq!((ttl, tos), (Some(255), Some(0xc0)));
    });
}

#[test]
fn wrong_packets_are_dropped_and_counted_and_a_right_one_still_counts() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        let first = router.until(|packet| packet.state == BfdState::Down);
        let good = says(BfdState::Down, 0);
        router.ttl(254);
        router.send(&good);
        bfd.until_dropped(DropReason::Ttl);
        router.ttl(255);
        router.send(&says(BfdState::Up, first.my_discriminator.wrapping_add(1)));
        bfd.until_dropped(DropReason::NoSession);
        router.send(&says(BfdState::Up, 0));
        bfd.until_dropped(DropReason::YourDiscriminator);
        let with = |at: usize, value: u8| {
            let mut octets = encode(&good);
            octets[at] = value;
            octets
        };
        for (octets, reason) in [
            (with(0, 0), DropReason::Version),
            (with(3, 25), DropReason::Length),
            (with(2, 0), DropReason::Multiplier),
            (with(1, 0x41), DropReason::Multipoint),
            (with(7, 0), DropReason::MyDiscriminator),
        ] {
            router.send_octets(&octets);
            bfd.until_dropped(reason);
        }
        router.send_octets(&[&with(1, 0x44)[..3], &[26], &with(1, 0x44)[4..], &[0, 0]].concat());
        bfd.until_dropped(DropReason::Authentication);
        router.send_octets(&[]);
        let session = bfd.until_session("still down", |session| session.state == BfdState::Down);
        assert_eq!(session.received, 0);
        router.come_up();
    });
}

/// A router may have BFD with two addresses of one host, for example while it is renumbered.
#[test]
fn a_packet_to_another_address_of_the_host_is_for_another_session() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        ip("address add 10.9.9.12/24 dev fe");
        let mut bfd = Bfd::start(InheritedBfd::default());
        bfd.want(&router, Over::V4, 1, 900); // under a second, so that it is agreed by a poll
        router.come_up();
        router.send_to("10.9.9.12", &Packet { my_discriminator: 78, ..says(BfdState::Down, 0) });
        bfd.until_dropped(DropReason::NoSession);
        let session = bfd.until_session("it stays up", |session| session.state == BfdState::Up);
        assert_eq!(session.flaps, 0);
    });
}

/// A session that was ended says so for a detection time. A new one with the same ends must not hear it.
#[test]
fn a_session_that_is_wanted_again_comes_up_once() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let bfd = Bfd::with(&router, Over::V4, 1);
        let old = router.come_up();
        bfd.thread.orders.send(BfdOrder::Sessions(vec![])).unwrap();
        router.until(|packet| packet.state == BfdState::AdminDown);
        bfd.want(&router, Over::V4, 1, 100);
        router.until(|packet| packet.my_discriminator != old.my_discriminator);
        (0..3).for_each(|_| assert_ne!(router.packet().0.my_discriminator, old.my_discriminator));
    });
}

#[test]
fn a_router_that_is_further_away_than_its_hops_is_dropped() {
    in_new_netns(|_| {
        let router = link(Over::Multihop);
        let mut bfd = Bfd::with(&router, Over::Multihop, 3);
        router.packet(); // now it also receives
        router.ttl(252); // three routers on the way, but `hops` allows two
        router.send(&says(BfdState::Down, 0));
        bfd.until_dropped(DropReason::Ttl);
        router.ttl(253);
        router.come_up();
    });
}

#[test]
fn a_poll_is_answered_and_new_intervals_are_polled_for_without_a_down() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        let ours = router.come_up().my_discriminator;
        router.send(&Packet { poll: true, ..says(BfdState::Up, ours) });
        assert!(!router.until(|packet| packet.is_final).poll);
        router.answer_for(MS * 200);
        bfd.want(&router, Over::V4, 1, 400);
        let poll = router.until(|packet| {
            router.send(&says(BfdState::Up, ours));
            packet.poll
        });
        assert_eq!((poll.desired_min_tx, poll.my_discriminator), (MS * 400, ours));
        router.answer_for(MS * 900);
        let session = bfd.until_session("agreed", |session| session.interval == MS * 400);
        assert_eq!((session.state, session.flaps), (BfdState::Up, 0));
    });
}

#[test]
fn silence_takes_a_session_down_as_a_loss_and_admin_down_does_not_count_as_one() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        let ours = router.come_up().my_discriminator;
        bfd.until_session("up", |session| session.state == BfdState::Up);
        let down = router.until(|packet| packet.state == BfdState::Down);
        assert_eq!((down.diag, down.your_discriminator), (Diagnostic::DETECTION_EXPIRED, 0));
        let session = bfd.until_session("lost", |session| session.state == BfdState::Down);
        assert_eq!((session.flaps, session.losses), (1, 1));

        router.come_up();
        router.send(&Packet { diag: Diagnostic::ADMIN_DOWN, ..says(BfdState::AdminDown, ours) });
        let down = router.until(|packet| packet.state == BfdState::Down);
        assert_eq!(down.diag, Diagnostic::NEIGHBOUR_DOWN);
        let session = bfd.until_session("switched off", |session| session.flaps == 2);
        assert_eq!((session.losses, session.remote_state), (1, BfdState::AdminDown));
    });
}

#[test]
fn no_packet_is_sent_while_the_main_thread_does_not_turn() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let turns = MainTurns::new();
        let mut bfd = Bfd {
            thread: start(&RealtimeThread::default(), turns.clone(), InheritedBfd::default()).unwrap(),
            turns,
            last: None,
        };
        bfd.want(&router, Over::V4, 1, 100);
        router.come_up();
        // It was up, and the lease ends.
        bfd.until("withheld", |report| {
            router.send(&says(BfdState::Up, 0)); // dropped: only to keep the link busy
            report.withheld.is_some()
        });
        router.receiver.set_read_timeout(Some(LEASE * 2)).unwrap();
        router.receiver.set_nonblocking(true).unwrap();
        while router.receiver.recv(&mut [0; 64]).is_ok() {}
        router.receiver.set_nonblocking(false).unwrap();
        assert!(router.receiver.recv(&mut [0; 64]).is_err(), "a packet of a daemon that does not turn");
        bfd.turns.turned();
        router.packet();
        bfd.until("sent again", |report| report.withheld.is_none());
    });
}

#[test]
fn a_stop_says_admin_down_and_ends_soon() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        router.come_up();
        bfd.until_session("up", |session| session.state == BfdState::Up);
        bfd.thread.orders.send(BfdOrder::Stop).unwrap();
        let last = router.until(|packet| packet.state == BfdState::AdminDown);
        assert_eq!(last.diag, Diagnostic::ADMIN_DOWN);
        let begin = Instant::now();
        while bfd.thread.reports.blocking_recv().is_some() {}
        assert!(begin.elapsed() < PATIENCE);
    });
}

#[test]
fn another_thread_continues_a_session_and_the_router_sees_one() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        let ours = router.come_up();
        router.answer_for(MS * 300);
        let (_, port) = router.packet();
        let report = bfd.until("up", |report| !report.saved.is_empty() && report.sockets.len() == 2);
        let text = serde_json::to_string(&report.saved).unwrap();
        let sockets = report.sockets.iter().map(|(name, socket)| (name.clone(), socket.try_clone().unwrap()));
        let inherited =
            InheritedBfd { sockets: sockets.collect(), sessions: serde_json::from_str(&text).unwrap() };
        drop((bfd, report));
        router.receiver.set_nonblocking(true).unwrap();
        while router.receiver.recv(&mut [0; 64]).is_ok() {}
        router.receiver.set_nonblocking(false).unwrap();
        let mut next = Bfd::start(inherited);
        let (packet, port_then) = router.packet();
        assert_eq!(
            (packet.state, packet.my_discriminator, port_then),
            (BfdState::Up, ours.my_discriminator, port)
        );
        assert_eq!(packet.your_discriminator, 77);
        next.want(&router, Over::V4, 1, 100);
        router.answer_for(MS * 1000);
        let session = next.until_session("continued", |session| session.state == BfdState::Up);
        assert_eq!(session.flaps, 0);
        assert_eq!(router.packet().0.my_discriminator, ours.my_discriminator);
    });
}

#[test]
fn a_port_of_another_program_is_reported_and_taken_when_it_is_free() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let other = UdpSocket::bind("0.0.0.0:3784").unwrap();
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        let report = bfd.until("closed", |report| !report.closed_ports.is_empty());
        assert_eq!(report.closed_ports["UDP port 3784 for IPv4"], "another program has it");
        drop(other);
        bfd.until("open", |report| report.closed_ports.is_empty());
        router.come_up();
    });
}

#[test]
fn a_flood_of_garbage_does_not_keep_packets_from_leaving() {
    in_new_netns(|_| {
        let router = link(Over::V4);
        let mut bfd = Bfd::with(&router, Over::V4, 1);
        router.come_up();
        let flood = router.sender.try_clone().unwrap();
        let end = Instant::now() + MS * 1500;
        let flooding = std::thread::spawn(move || {
            while Instant::now() < end {
                flood.send_to(&[0; 24], "10.9.9.11:3784").unwrap();
            }
        });
        let mut sent = 0;
        router.receiver.set_read_timeout(Some(MS * 300)).unwrap();
        while Instant::now() < end {
            sent += u32::from(router.receiver.recv(&mut [0; 64]).is_ok());
        }
        flooding.join().unwrap();
        // At 100 ms it sends 15 to 20 packets while it is up, and one or two a second when the flood has taken it down.
        assert!(sent >= 2, "{sent}");
        bfd.until_dropped(DropReason::Version);
        router.receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        router.until(|packet| {
            router.send(&says(BfdState::Down, 0));
            packet.state == BfdState::Init
        });
    });
}

fn config(folder: &std::path::Path, bfd: &str) -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"90s\"\nbfd = {bfd}\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
        folder.join("up").display()
    )
}

#[test]
fn a_router_without_bfd_keeps_its_routes_and_one_that_bfd_has_lost_is_dialled_again() {
    in_new_netns(|folder| {
        let mut link = link(Over::V4);
        let listener = link.listener.take().unwrap();
        std::thread::spawn(move || router(listener));
        std::fs::write(folder.join("up"), "").unwrap();
        let mut daemon = Daemon::start(folder, &config(folder, "{ interval = \"100ms\" }"));
        let warning = "peer `r1`: BFD is not up, so that the hold time alone detects a dead host: no BFD packet of the router has arrived";
        let status = daemon.until_status(PATIENCE, "a VIP without BFD", |status| {
            status.peers[0].announced == 1 && status.warnings.iter().any(|one| one.starts_with(warning))
        });
        assert_eq!(status.peers[0].bfd.as_ref().unwrap().state, "Down");

        link.come_up();
        daemon.until_status(PATIENCE, "BFD is up", |status| {
            link.send(&says(BfdState::Up, link.packet().0.my_discriminator));
            status.peers[0].bfd.as_ref().unwrap().state == "Up"
                && status.warnings.iter().all(|one| !one.contains("`r1`: BFD"))
        });
        // Silence: the session ends, and begins anew at once, without BFD.
        let status =
            daemon.until_status(PATIENCE, "dialled again", |status| status.peers[0].established == 2);
        assert_eq!(status.peers[0].last_end.as_ref().unwrap().code, "liveness");
        daemon.until_status(PATIENCE, "the VIP is back", |status| status.peers[0].announced == 1);

        daemon.signal(Signal::SIGTERM);
        link.until(|packet| packet.state == BfdState::AdminDown);
        assert!(daemon.until_ended(PATIENCE));
    });
}

#[test]
fn a_strict_peer_is_dialled_only_while_bfd_is_up() {
    in_new_netns(|folder| {
        let mut link = link(Over::V4);
        let listener = link.listener.take().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::fs::write(folder.join("up"), "").unwrap();
        let daemon = Daemon::start(folder, &config(folder, "{ interval = \"100ms\", strict = true }"));
        daemon.until_status(PATIENCE, "it waits", |status| {
            status.warnings.iter().any(|one| one.contains("it is not dialled (`strict = true`)"))
                && status.uptime > 1.5
        });
        assert!(listener.accept().is_err(), "it was dialled");
        link.come_up();
        listener.set_nonblocking(false).unwrap();
        std::thread::spawn(move || router(listener));
        daemon.until_status(PATIENCE, "it is dialled", |status| {
            link.send(&says(BfdState::Up, link.packet().0.my_discriminator));
            status.peers[0].announced == 1
        });
    });
}

/// The router sees one BFD session and one BGP session, and no state but Up, over a crash and over an upgrade.
#[test]
fn a_session_outlives_the_daemon() {
    in_new_netns(|folder| {
        let mut link = link(Over::V4);
        let listener = link.listener.take().unwrap();
        std::thread::spawn(move || router(listener));
        std::fs::write(folder.join("up"), "").unwrap();
        std::fs::write(folder.join("announcer.toml"), config(folder, "{ interval = \"100ms\" }")).unwrap();
        let mut store = store::Store::new(folder);
        let mut daemon = store.start();
        let up = link.come_up();
        let (_, port) = link.packet();
        let answers = |what: &str, daemon: &Daemon, how: &str| {
            daemon.until_status(PATIENCE, what, |status| {
                let (packet, from) = link.packet();
                assert_eq!(
                    (packet.my_discriminator, packet.state, from),
                    (up.my_discriminator, BfdState::Up, port),
                    "{what}"
                );
                link.send(&Packet { is_final: packet.poll, ..says(BfdState::Up, packet.my_discriminator) });
                status.start.how == how
                    && status.peers[0].bfd.as_ref().is_some_and(|bfd| bfd.state == "Up")
                    && status.peers[0].announced == 1
            })
        };
        answers("up", &daemon, "cold");
        for _ in 0..2 {
            store.receive();
            store.kill(daemon);
            daemon = store.start();
            answers("after a crash", &daemon, "crash");
        }
        daemon.signal(Signal::SIGUSR2);
        answers("after an upgrade", &daemon, "upgrade");
    });
}
