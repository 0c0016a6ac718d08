use super::*;
use crate::bfd::fsm::BfdSettings;
use crate::bfd::io::own_netns::in_own_netns;
use crate::bfd::status::{Ends, VrfDevice};

fn wanted(name: &str, vrf: Option<&str>) -> Wanted {
    let ends = Ends {
        local: "127.0.0.1".parse().unwrap(),
        peer: "127.0.0.2".parse().unwrap(),
        interface: 1,
        device: vrf.map(str::to_owned),
        vrf: vrf.map(|name| VrfDevice { name: name.to_owned(), index: 1 }),
        hops: 1,
        least_ttl: 255,
    };
    let settings = BfdSettings { interval: Duration::from_secs(1), multiplier: 3 };
    Wanted { name: name.parse().unwrap(), ends, settings }
}

/// The socket is bound to lo in place of a VRF, which not every kernel has. The ports are those of a namespace of the test.
#[test]
fn a_port_that_two_vrfs_share_is_open_to_no_other_program() {
    in_own_netns(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let now = Instant::now();
        let mut thread = Thread::new(Scheduling::RealTime, MainTurns::new(), mpsc::channel(1).0, now);
        for (name, vrf) in [("r1", None), ("r2", Some("lo"))] {
            let before = thread.sessions.iter().map(|session| session.wanted.clone());
            let all = before.chain([wanted(name, vrf)]).collect();
            thread.apply(all, now);
            thread.open_ports(now);
        }
        let keys: Vec<ReceiverKey> = thread.receivers.keys().cloned().collect();
        assert_eq!(keys.len(), 2);
        for key in &keys {
            assert!(matches!(thread.receivers[key], Receiver::Open { .. }), "{key:?}");
            assert!(socket::receiver(key, true).is_err(), "another program has {key:?}");
        }
        thread.share_port(&keys[0], true).unwrap();
        assert!(socket::receiver(&keys[0], true).is_ok(), "the port was refused for another reason");
    });
}
