//! Tests that a server that is replaced, or that has no listener of its own, is never withdrawn: reloads, upgrades, dead workers,
//! socket activation, address translation. Each case runs under load for some time, or for the given time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::{FRONTENDS, Scene, VIPS};

use crate::listener::armed;
use crate::support::{ContinuousLoad, configure, not_withdrawn, wait_status, with_own_configuration};

/// How long each kind runs among the other scenarios.
const A_WHILE: Duration = Duration::from_secs(7);
/// How long each kind runs without a break in `make soak`.
const STRETCH: Duration = Duration::from_secs(20);
/// The variable for the number of minutes; the default is one.
const SOAK: &str = "SOAK";

/// The results.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    under_load: Duration,
    rounds: u64,
    sent: u64,
    lost: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.under_load += other.under_load;
        self.rounds += other.rounds;
        self.sent += other.sent;
        self.lost += other.lost;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { under_load, rounds, sent, lost } = self;
        write!(f, "{rounds} times in {:.0} s, {lost} of {sent} requests lost", under_load.as_secs_f64())
    }
}

/// Replaces the server repeatedly for this time, with requests to both VIPs. No frontend may withdraw a VIP.
fn under_load(scene: &Scene, what: &str, lasts: Duration, replace: impl Fn() -> Result<()>) -> Result<Tally> {
    let mark = Mark::now();
    let loads = VIPS.map(|vip| ContinuousLoad::begin(scene, vip, 250));
    let (began, mut tally) = (Instant::now(), Tally::default());
    while began.elapsed() < lasts {
        tally.rounds += 1;
        replace().with_context(|| format!("{what}, time {}", tally.rounds))?;
    }
    tally.under_load = began.elapsed();
    for load in loads {
        let report = load?.report()?;
        tally.sent += report.sent;
        tally.lost += report.total.lost();
    }
    println!("  {what}: {tally}");
    for frontend in FRONTENDS {
        not_withdrawn(scene, mark, frontend, what)?;
    }
    Ok(tally)
}

/// Runs a script, for at most half a minute, because its wait may never end.
fn sh(scene: &Scene, frontend: &str, script: &str) -> Result<()> {
    scene.node(frontend)?.must(&["timeout", "30", "/bin/sh", "-ec", script])?;
    Ok(())
}

pub(crate) fn nginx(scene: &Scene) -> Result<()> {
    nginx_for(scene, A_WHILE).map(drop)
}

pub(crate) fn haproxy(scene: &Scene) -> Result<()> {
    haproxy_for(scene, A_WHILE).map(drop)
}

pub(crate) fn activated(scene: &Scene) -> Result<()> {
    activated_for(scene, A_WHILE).map(drop)
}

pub(crate) fn translated(scene: &Scene) -> Result<()> {
    translated_for(scene, A_WHILE).map(drop)
}

/// Runs all kinds in turns, until they were under load for `SOAK` minutes.
pub(crate) fn soak(scene: &Scene) -> Result<()> {
    let minutes: f64 = std::env::var(SOAK).map_or(Ok(1.0), |said| said.parse()).context(SOAK)?;
    let wanted = Duration::try_from_secs_f64(minutes * 60.0).context(SOAK)?;
    let kinds = [nginx_for, haproxy_for, activated_for, translated_for];
    let mut all = Tally::default();
    for kind in kinds.iter().cycle() {
        let left = wanted.saturating_sub(all.under_load);
        if left.is_zero() {
            break;
        }
        // If the time is shorter than a cycle, each kind still runs once.
        all.add(kind(scene, STRETCH.min(wanted / 7))?);
        scene.mend()?;
    }
    println!("  in all {all}; no withdraw");
    Ok(())
}

/// nginx: reloads, a binary upgrade and a dead worker, with one socket for all workers and with one each.
fn nginx_for(scene: &Scene, lasts: Duration) -> Result<Tally> {
    let sh = |script: &str| sh(scene, "fe1", script);
    let mut all = Tally::default();
    for (what, edit) in [
        ("one socket", "s/worker_processes 1/worker_processes 2/"),
        ("SO_REUSEPORT", "s/worker_processes 1/worker_processes 2/; s/backlog=4096/backlog=4096 reuseport/"),
    ] {
        sh("/lab/web stop")?;
        sh(&format!("sed '{edit}' /etc/nginx/nginx.conf >/run/own.conf; /usr/sbin/nginx -c /run/own.conf"))?;
        scene.all_announced()?;
        wait_status(scene, "fe1", "not armed", armed)?;
        all.add(under_load(scene, &format!("nginx, {what}"), lasts, || {
            sh("/usr/sbin/nginx -c /run/own.conf -s reload")?;
            sleep(Duration::from_millis(500));
            // Kills the worker that accepts now, and one that does not.
            sh("kill -KILL $(pgrep -P $(cat /run/nginx.pid) | head -n 1)")?;
            sleep(Duration::from_millis(300));
            sh("old=$(cat /run/nginx.pid); kill -USR2 $old; until [ -s /run/nginx.pid ] && [ \"$(cat /run/nginx.pid)\" != $old ]; \
                do sleep 0.05; done; sleep 0.2; kill -WINCH $old; sleep 0.3; kill -QUIT $old")?;
            sleep(Duration::from_millis(500));
            Ok(())
        })?);
        wait_status(scene, "fe1", "no more armed", armed)?;
        sh(
            "kill -QUIT $(cat /run/nginx.pid); while pgrep -x nginx >/dev/null; do sleep 0.05; done; /lab/web start",
        )?;
    }
    // It has come back several times by now, so that it would have to stay before it is announced.
    scene.node("fe1")?.must(&["announcer", "undrain", "--all"])?;
    scene.all_announced()?;
    Ok(all)
}

/// HAProxy: `-sf`, the reload of the master process, and `noreuseport`, which stops listening for a moment: some milliseconds,
/// and many more on a busy machine, so the grace is generous.
fn haproxy_for(scene: &Scene, lasts: Duration) -> Result<Tally> {
    const HAND_OVER: &str = "haproxy -D -p /run/haproxy.pid -f /run/own.cfg -sf $(cat /run/haproxy.pid)";
    let node = scene.node("fe3")?;
    let sh = |script: &str| sh(scene, "fe3", script);
    let mut all = Tally::default();
    with_own_configuration(scene, "fe3", || {
        for (what, edit, mode, grace, reload) in [
            ("-sf", "", "-D", "0s", HAND_OVER),
            ("-W", "", "-W -D", "0s", "kill -USR2 $(cat /run/haproxy.pid)"),
            ("noreuseport with grace", "s/^global/global\\n\\tnoreuseport/", "-D", "500ms", HAND_OVER),
        ] {
            let grace = format!("listener_grace = \"{grace}\"\ncommunities = [");
            configure(scene, "fe3", &[("communities = [", &grace)])?;
            node.must(&["announcer", "reload"])?;
            sh(&format!(
                "pkill -KILL -x haproxy || :; sed '{edit}' /etc/haproxy/haproxy.cfg >/run/own.cfg; \
                 haproxy {mode} -p /run/haproxy.pid -f /run/own.cfg"
            ))?;
            node.must(&["announcer", "undrain", "--all"])?;
            scene.all_announced()?;
            wait_status(scene, "fe3", "not armed", armed)?;
            all.add(under_load(scene, &format!("haproxy {what}"), lasts, || {
                sh(reload)?;
                sleep(Duration::from_secs(1));
                Ok(())
            })?);
        }
        sh("pkill -KILL -x haproxy; rm -f /run/haproxy.pid; /lab/web start")
    })?;
    Ok(all)
}

/// Socket activation: another process owns the sockets, and the server starts and ends behind them, by SIGTERM or SIGKILL.
fn activated_for(scene: &Scene, lasts: Duration) -> Result<Tally> {
    let node = scene.node("fe1")?;
    let sh = |script: &str| sh(scene, "fe1", script);
    std::fs::write(node.root().join("run/activator.py"), include_str!("activator.py"))?;
    sh("/lab/web stop; start-stop-daemon --start --background --make-pidfile --pidfile /run/activator.pid \
        --output /var/log/activator.log --startas /usr/bin/python3 -- /run/activator.py")?;
    let played = (|| {
        scene.all_announced()?;
        wait_status(scene, "fe1", "not armed", armed)?;
        let tally = under_load(scene, "socket activation", lasts, || {
            for signal in ["QUIT", "KILL"] {
                // The server ends, and the next client starts another one. One of the processes may already be ending.
                sh(&format!(
                    "old=$(pgrep -x nginx); kill -{signal} $old || :; \
                     until new=$(pgrep -o -x nginx) && ! echo \"$old\" | grep -qx \"$new\"; do sleep 0.02; done"
                ))?;
                sleep(Duration::from_millis(700));
            }
            Ok(())
        })?;
        wait_status(scene, "fe1", "no more armed", armed)?;
        Ok(tally)
    })();
    sh(
        "kill -KILL $(cat /run/activator.pid) || :; pkill -KILL -x nginx || :; rm -f /run/activator.* /run/nginx.pid; /lab/web start",
    )?;
    played
}

/// A listener dies, but the kernel redirects its clients to another server: the probes still pass.
fn translated_for(scene: &Scene, lasts: Duration) -> Result<Tally> {
    let sh = |script: &str| sh(scene, "fe1", script);
    sh(
        "sed 's/:80 /:8080 /; s/listen 80 /listen 8080 /; s,/run/nginx.pid,/run/behind.pid,' /etc/nginx/nginx.conf \
        >/run/behind.conf; /usr/sbin/nginx -c /run/behind.conf",
    )?;
    let played = (|| {
        wait_status(scene, "fe1", "not armed", armed)?;
        sh(
            "nft 'table inet translated { chain in { type nat hook prerouting priority -100; tcp dport 80 redirect to :8080; }; \
            chain out { type nat hook output priority -100; oifname lo tcp dport 80 redirect to :8080; }; }'",
        )?;
        under_load(scene, "DNAT", lasts, || {
            sh("kill -KILL $(cat /run/nginx.pid) $(pgrep -P $(cat /run/nginx.pid))")?;
            let said =
                wait_status(scene, "fe1", "still armed", |said| said.contains("watched only by probes"))?;
            ensure!(said.contains("it answers, and no socket"), "{said}");
            sleep(Duration::from_secs(1)); // ten probes
            sh("nginx -t -q; /usr/sbin/nginx")?; // there is a listener again, so it is watched again
            wait_status(scene, "fe1", "not armed again", armed)?;
            Ok(())
        })
    })();
    sh("nft delete table inet translated || :; kill -QUIT $(cat /run/behind.pid) || :")?;
    played
}
