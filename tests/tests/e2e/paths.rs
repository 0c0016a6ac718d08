//! Tests the ways of packets: the routers' ACL, and replies that leave by the other router.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use scene::{FRONTENDS, PATIENCE, ROUTERS, Scene, VIPS};
use until::until;

use crate::support::json;

/// The result of a connection from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectResult {
    /// The connection was established.
    Answered,
    /// The kernel behind the ACL answered with a reset, because nothing listens.
    Refused,
    /// There was no answer for two seconds.
    Dropped,
}

/// Connects from the client to each of these ports of a VIP at the same time. A port may be given several times.
fn reach(scene: &Scene, vip: IpAddr, ports: &[u16]) -> Result<Vec<(u16, ConnectResult)>> {
    scene.node("client")?.in_netns(|| {
        let one =
            |port: u16| match TcpStream::connect_timeout(&SocketAddr::new(vip, port), Duration::from_secs(2))
            {
                Ok(_) => Ok((port, ConnectResult::Answered)),
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok((port, ConnectResult::Refused)),
                Err(e) if e.kind() == ErrorKind::TimedOut => Ok((port, ConnectResult::Dropped)),
                Err(e) => Err(e),
            };
        thread::scope(|scope| {
            let threads: Vec<_> = ports.iter().map(|port| scope.spawn(|| one(*port))).collect();
            threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(reached) => Ok(reached?),
                    Err(_) => bail!("a thread panicked"),
                })
                .collect::<Result<Vec<_>>>()
        })
    })?
}

/// The client can reach tcp/80 and tcp/443 of a VIP. Twenty other ports do not even answer with a reset.
pub(crate) fn acl(scene: &Scene) -> Result<()> {
    const OTHERS: [u16; 20] =
        [1, 21, 22, 23, 25, 53, 79, 81, 110, 111, 143, 179, 442, 444, 993, 3306, 5432, 8080, 8443, 9179];
    // A server listens on 443, and on two of the other ports, so that without the ACL these would be reached.
    let mut servers = Vec::new();
    for frontend in FRONTENDS {
        for port in ["443", "8080", "8443"] {
            servers.push(scene.node(frontend)?.spawn(&[
                "python3",
                "-m",
                "http.server",
                port,
                "--bind",
                "::",
            ])?);
        }
    }
    let played = (|| {
        for vip in VIPS {
            let vip: IpAddr = vip.parse()?;
            let answered = |(_, reached): &(u16, ConnectResult)| *reached == ConnectResult::Answered;
            // Twelve connections, because each may go to any frontend, and the server has to run on all of them.
            until(PATIENCE, || {
                ensure!(reach(scene, vip, &[443; 12])?.iter().all(answered), "{vip}: tcp/443 is not reached");
                Ok(())
            })?;
            let web = reach(scene, vip, &[80; 12])?;
            ensure!(web.iter().all(answered), "{vip}: {web:?}");
            let others = reach(scene, vip, &OTHERS)?;
            ensure!(
                others.iter().all(|(_, reached)| *reached == ConnectResult::Dropped),
                "{vip}: {others:?}"
            );
        }
        Ok(())
    })();
    for mut server in servers {
        let _ = server.kill(); // if this fails, it has ended already
        let _ = server.wait();
    }
    played
}

/// How many packets a router has forwarded: those to the first VIP, and those from it.
fn forwarded(scene: &Scene, router: &str) -> Result<(u64, u64)> {
    let listed =
        json(&scene.node(router)?.must(&["nft", "-j", "list", "counters", "table", "inet", "seen"])?)?;
    let packets = |name: &str| {
        let counters = listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]);
        let mut named = counters.filter(|counter| counter["name"] == name);
        named
            .next()
            .and_then(|counter| counter["packets"].as_u64())
            .with_context(|| format!("no {name}: {listed}"))
    };
    Ok((packets("requests")?, packets("replies")?))
}

/// Requests arrive only over r1, and replies leave over r2: by the host's routes, and by a rule for packets from the VIP.
pub(crate) fn other_way(scene: &Scene) -> Result<()> {
    let on_each = |script: &dyn Fn(usize) -> String| -> Result<()> {
        for (index, frontend) in FRONTENDS.iter().enumerate() {
            scene.node(frontend)?.must(&["/bin/sh", "-ec", &script(index + 1)])?;
        }
        Ok(())
    };
    let client = |verb: &str| -> Result<()> {
        let line = format!("ip route {verb} {}/32 via 10.1.0.0 src 10.9.0.1", VIPS[0]);
        scene.node("client")?.must(&["/bin/sh", "-ec", &line])?;
        Ok(())
    };
    let by_route = |n: usize| format!("ip route replace 10.9.0.1 via 10.2.{n}.0");
    let by_rule = |n: usize| {
        format!(
            "ip route replace 10.9.0.1 via 10.1.{n}.0; ip route replace default via 10.2.{n}.0 table 100; \
             ip rule add from {} lookup 100",
            VIPS[0]
        )
    };
    client("replace")?;
    let played = (|| {
        for (what, script) in [("routes", &by_route as &dyn Fn(usize) -> String), ("a rule", &by_rule)] {
            on_each(script)?;
            for router in ROUTERS {
                let count = format!(
                    "nft 'add table inet seen; delete table inet seen; table inet seen {{ counter requests {{ }}; counter replies {{ }}; \
                     chain seen {{ type filter hook forward priority 10; ip daddr {0} counter name requests; ip saddr {0} counter name replies; }}; }}'",
                    VIPS[0]
                );
                scene.node(router)?.must(&["/bin/sh", "-ec", &count])?;
            }
            let report = scene.load(VIPS[0], 300, Duration::from_secs(1))?.report()?;
            ensure!(report.total.lost() == 0 && report.total.ok.len() == 3, "{what}: {:?}", report.total);
            let ((in_1, out_1), (in_2, out_2)) = (forwarded(scene, "r1")?, forwarded(scene, "r2")?);
            println!("  by {what}: r1 {in_1} to and {out_1} from the VIP, r2 {in_2} and {out_2}");
            ensure!(in_1 > 1000 && out_2 > 1000 && in_2 == 0 && out_1 == 0, "{what}");
        }
        Ok(())
    })();
    on_each(&|_| {
        format!(
            "ip route del 10.9.0.1 || :; ip rule del from {} lookup 100 || :; ip route flush table 100 || :",
            VIPS[0]
        )
    })?;
    client("del")?;
    for router in ROUTERS {
        scene.node(router)?.must(&["nft", "add table inet seen; delete table inet seen"])?;
    }
    played
}
