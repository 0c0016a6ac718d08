//! The main job, end to end: the daemon against real routers, real web servers, real clients.
//!
//! One lab for all scenarios, one scenario after the other; each begins with everything mended.

#[path = "e2e/bgp.rs"]
mod bgp;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::scene::{FRONTENDS, PATIENCE, ROUTERS, Scene, VIPS, address, server, topology};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use serde_json::Value;

#[path = "e2e/listener.rs"]
mod listener;

type Scenario = fn(&Scene) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("announce", announce),
    ("announced_octets_are_what_the_rfc_says", octets),
    ("ecmp_spreads_over_all_three", ecmp),
    ("crash_is_withdrawn_and_return_announced", crash_and_return),
    ("hang_is_withdrawn", hang),
    ("http_503_is_withdrawn", unhealthy),
    ("drain_by_command_and_undrain", drain_by_command),
    ("drain_by_file", drain_by_file),
    ("drain_outlives_a_restart", drain_over_restart),
    ("a_drain_of_nothing_is_a_usage_error", drain_usage),
    ("sigterm_withdraws_then_ceases_and_leaves_the_vips", sigterm),
    ("a_stop_before_the_web_server_loses_no_request", stop_under_load),
    ("daemon_killed_and_started_again", daemon_killed),
    ("one_daemon_a_host", one_daemon),
    ("a_vip_removed_by_hand_is_put_back", vip_removed),
    ("a_vip_removed_again_and_again_has_to_stay", listener::vip_removed),
    ("a_crash_is_withdrawn_within_milliseconds_whatever_the_interval", listener::crashes),
    ("nginx_reloads_upgrades_and_loses_workers_without_a_withdraw", listener::nginx),
    ("haproxy_reloads_without_a_withdraw", listener::haproxy),
    ("a_listener_that_dies_before_a_translated_server_is_no_crash", listener::translated),
    ("a_link_that_is_cut_ends_its_session_alone", listener::link_down),
    ("a_vip_without_a_service_is_removed_if_ours", vip_without_service),
    ("the_acl_lets_the_web_through_alone", acl),
    ("reload_changes_what_changed_and_nothing_else", reload),
    ("a_reload_that_is_wrong_or_too_much_changes_nothing", reload_refused),
    ("each_key_reloaded_under_load_withdraws_nothing", reload_under_load),
    ("a_key_rotated_router_by_router_never_takes_the_vip_away", key_rotation),
    ("ttl_security_against_an_unmodified_router_is_hinted_at", ttl_security),
    ("a_router_mended_under_ttl_security_is_seen_soon", bgp::ttl_security_mended),
    ("rfc_8950_ipv4_goes_over_an_ipv6_session", bgp::ipv4_over_ipv6),
    ("rfc_4724_a_daemon_back_in_time_is_never_missed", bgp::graceful_restart),
    ("router_restart", router_restart),
    ("dsr_setup_is_idempotent_and_refuses_while_announced", dsr_setup),
    ("power_off_of_a_router_is_survived", router_power_off), // the last: the router stays off
];

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let wanted = |name: &str| {
        let fits =
            |filter: &String| if arguments.exact { name == filter } else { name.contains(filter.as_str()) };
        arguments.filter.as_ref().is_none_or(fits)
    };
    let any = SCENARIOS.iter().any(|(name, _)| wanted(name));
    if arguments.list || !any {
        return run(&arguments, None);
    }
    match Scene::up() {
        Err(e) => {
            eprintln!("the lab did not come up: {e:#}");
            ExitCode::FAILURE
        }
        Ok(scene) => {
            let scene = Arc::new(scene);
            let code = run(&arguments, Some(scene.clone()));
            let down = Arc::into_inner(scene).context("a scenario still holds the lab").and_then(Scene::down);
            match down {
                Ok(()) => code,
                Err(e) => {
                    eprintln!("the lab did not end: {e:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn run(arguments: &Arguments, scene: Option<Arc<Scene>>) -> ExitCode {
    let trial = |(name, scenario): &(&'static str, Scenario)| {
        let (name, scenario, scene) = (*name, *scenario, scene.clone());
        Trial::test(name, move || {
            let scene = scene.ok_or_else(|| Failed::from("no lab"))?;
            let played = scene.mend().context("before it").and_then(|()| scenario(&scene));
            played.map_err(|e| Failed::from(format!("{e:#}")))
        })
    };
    libtest_mimic::run(arguments, SCENARIOS.iter().map(trial).collect()).exit_code()
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

/// What a frontend's daemon says of its VIPs and peers.
fn status(scene: &Scene, frontend: &str) -> Result<Value> {
    json(&scene.node(frontend)?.must(&["announcer", "status", "--json"])?)
}

fn reason(status: &Value, vip: &str) -> String {
    let vips = status["services"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|s| s["vips"].as_array().into_iter().flatten());
    let found = vips
        .filter(|known| known["address"] == vip)
        .map(|known| known["reason"].as_str().unwrap_or_default());
    found.collect::<Vec<_>>().join("; ")
}

fn announce(scene: &Scene) -> Result<()> {
    for (index, router) in ROUTERS.iter().enumerate() {
        for (vip, family) in VIPS.iter().zip(["ipv4", "ipv6"]) {
            let shown = scene.node(router)?.must(&[
                "vtysh",
                "-c",
                &format!("show bgp {family} unicast {vip} json"),
            ])?;
            let paths = json(&shown)?["paths"].as_array().cloned().unwrap_or_default();
            ensure!(paths.len() == 3, "{router} has {} paths to {vip}", paths.len());
            for path in &paths {
                ensure!(
                    path["aspath"]["segments"]
                        == serde_json::json!([{"type": "as-sequence", "list": [65001]}]),
                    "{path}"
                );
                ensure!(path["community"]["string"] == "65001:80", "{path}");
                ensure!(path["origin"] == "IGP" && path["valid"] == true, "{path}");
                ensure!(!path["multipath"].is_null(), "a path is left out of ECMP: {path}");
            }
            for frontend in FRONTENDS {
                let hop = address(index, frontend, vip).to_string();
                let with_hop = |path: &Value| {
                    path["nexthops"].as_array().is_some_and(|n| n.iter().any(|n| n["ip"] == hop.as_str()))
                };
                ensure!(paths.iter().any(with_hop), "{router} has no path to {vip} by {frontend}");
            }
        }
        let config = scene.node(router)?.must(&["vtysh", "-c", "show running-config"])?;
        ensure!(config.contains("bgp reject-as-sets"), "the router would take an AS_SET");
    }
    let status = status(scene, "fe1")?;
    ensure!(reason(&status, VIPS[0]) == "announced", "{status}");
    ensure!(
        status["peers"]
            .as_array()
            .is_some_and(|peers| peers.iter().all(|peer| peer["state"] == "Established")),
        "{status}"
    );
    Ok(())
}

fn octets(scene: &Scene) -> Result<()> {
    let mark = scene.mark();
    scene.node("fe1")?.must(&["/lab/announcer", "stop"])?;
    scene.node("fe1")?.must(&["/lab/announcer", "start"])?;
    scene.announced(&mark, SystemTime::UNIX_EPOCH, "fe1", VIPS[0])?;
    let from = address(0, "fe1", VIPS[0]);
    let vip = VIPS[0].parse()?;
    let said =
        scene.routers[0].wire.wait(0, PATIENCE, |message| message.from == from && message.announces(vip));
    let said = said.context("the announcement was not captured")?;
    ensure!(said.ttl == 255, "TTL {}", said.ttl);
    // AS_PATH: well-known, type 2, one AS_SEQUENCE (2) of one 4-octet AS (RFC 4271 section 4.3, RFC 6793).
    let path = [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    let extended = [0x50, 2, 0, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    let has = |needle: &[u8]| said.octets.windows(needle.len()).any(|window| window == needle);
    ensure!(has(&path) || has(&extended), "no AS_SEQUENCE in {:02x?}", said.octets);
    ensure!(
        has(&[192, 0, 2, 80]) && has(&[0, 1, 0xfd, 0xe9]) || has(&[0xfd, 0xe9, 0, 80]),
        "{:02x?}",
        said.octets
    );
    for message in scene.routers[0].wire.since(0).iter().filter(|message| message.from == from) {
        ensure!(
            message.parsed.is_ok(),
            "an independent parser refuses {:02x?}: {:?}",
            message.octets,
            message.parsed
        );
    }
    Ok(())
}

fn ecmp(scene: &Scene) -> Result<()> {
    for vip in VIPS {
        let report = scene.load(vip, 1000, Duration::from_secs(3))?.report()?;
        ensure!(report.total.lost() == 0, "{} of {} lost at {vip}", report.total.lost(), report.sent);
        ensure!(report.sent >= 2900, "{} sent", report.sent);
        for frontend in FRONTENDS {
            let share = report.total.ok.get(frontend).copied().unwrap_or(0) * 100 / report.total.answered();
            println!("  {vip}: {frontend} {share} %");
            ensure!((23..=43).contains(&share), "{frontend} got {share} % of {vip}");
        }
    }
    Ok(())
}

/// Breaks one frontend's web server and checks that both VIPs leave both routers, and no other frontend's do.
fn fault(
    scene: &Scene,
    frontend: &str,
    what: &str,
    fault: impl FnOnce() -> Result<SystemTime>,
) -> Result<()> {
    let mark = scene.mark();
    let at = fault()?;
    for vip in VIPS {
        let figures = scene.withdrawn(&mark, at, frontend, vip)?;
        println!("  {what}: {vip}: {figures}");
        let others: Vec<&str> = FRONTENDS.into_iter().filter(|other| *other != frontend).collect();
        scene.wait_next_hops(vip, &others)?;
    }
    Ok(())
}

fn crash_and_return(scene: &Scene) -> Result<()> {
    for frontend in ["fe1", "fe3"] {
        fault(scene, frontend, "crash", || {
            let at = SystemTime::now();
            ensure!(
                scene.node(frontend)?.kill(server(frontend), Signal::SIGKILL) > 0,
                "no server was killed"
            );
            Ok(at)
        })?;
        let why = reason(&status(scene, frontend)?, VIPS[0]);
        ensure!(why.contains("nothing listens any more") || why.contains("refused"), "{why}");
        let mark = scene.mark();
        let at = SystemTime::now();
        scene.node(frontend)?.must(&["/lab/web", "start"])?;
        println!("  return: {}", scene.announced(&mark, at, frontend, VIPS[0])?);
        scene.all_announced()?;
    }
    Ok(())
}

fn hang(scene: &Scene) -> Result<()> {
    fault(scene, "fe1", "hang", || {
        let at = SystemTime::now();
        ensure!(scene.node("fe1")?.kill("nginx", Signal::SIGSTOP) > 0, "no server was stopped");
        Ok(at)
    })?;
    ensure!(scene.node("fe1")?.kill("nginx", Signal::SIGCONT) > 0, "no server goes on");
    scene.all_announced()
}

fn unhealthy(scene: &Scene) -> Result<()> {
    fault(scene, "fe2", "503", || {
        let at = SystemTime::now();
        scene.node("fe2")?.must(&["/lab/web", "unhealthy"])?;
        Ok(at)
    })?;
    let why = reason(&status(scene, "fe2")?, VIPS[1]);
    ensure!(why.contains("HTTP 503"), "{why}");
    scene.node("fe2")?.must(&["/lab/web", "healthy"])?;
    scene.all_announced()
}

fn drain_by_command(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    fault(scene, "fe1", "drain", || {
        let at = SystemTime::now();
        node.must(&["announcer", "drain", "www", "--reason", "kernel upgrade"])?;
        Ok(at)
    })?;
    let why = reason(&status(scene, "fe1")?, VIPS[0]);
    ensure!(why.contains("drained by root") && why.contains("kernel upgrade"), "{why}");
    node.must(&["announcer", "undrain", "www"])?;
    scene.all_announced()?;

    // With --wait it returns when the routers have acknowledged it and their FIBs had time to follow.
    node.must(&["announcer", "drain", "--all", "--wait"])?;
    for (index, router) in ROUTERS.iter().enumerate() {
        let left = scene.next_hops(router, VIPS[0])?;
        ensure!(!left.contains(&address(index, "fe1", VIPS[0])), "{router} still has fe1 after drain --wait");
    }
    let note = node.must(&["announcer", "undrain", "www"])?;
    ensure!(note.contains("undrain --all"), "nobody said that --all still drains: {note}");
    node.must(&["announcer", "undrain", "--all"])?;
    scene.all_announced()?;

    let late = node.exec(&["announcer", "drain", "www", "--wait", "--timeout", "1ms"])?;
    ensure!(late.code == 1, "exit {} {}", late.code, late.stderr);
    node.must(&["announcer", "undrain", "www"])?;
    scene.all_announced()
}

fn drain_by_file(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    fault(scene, "fe2", "drain by file", || {
        let at = SystemTime::now();
        node.must(&["touch", "/var/lib/announcer/drain/www"])?;
        Ok(at)
    })?;
    node.must(&["rm", "/var/lib/announcer/drain/www"])?;
    scene.all_announced()
}

fn drain_over_restart(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    node.must(&["announcer", "drain", "www", "--reason", "disk", "--wait"])?;
    node.must(&["/lab/announcer", "stop"])?;
    let mark = scene.mark();
    node.must(&["/lab/announcer", "start"])?;
    // Established and End-of-RIB said: whatever was to be announced has been by then.
    let from = address(0, "fe3", VIPS[0]);
    let end_of_rib = |message: &e2e::wire::Message| {
        message.from == from && message.octets.len() == 23 && message.octets[18] == 2
    };
    let router = &scene.routers[0];
    router.wire.wait(mark.wire(0), PATIENCE, end_of_rib).context("no End-of-RIB from a drained frontend")?;
    for vip in VIPS {
        let vip = vip.parse()?;
        ensure!(
            !router.wire.since(mark.wire(0)).iter().any(|m| m.from == from && m.announces(vip)),
            "announced though drained"
        );
    }
    let why = reason(&status(scene, "fe3")?, VIPS[0]);
    ensure!(why.contains("disk"), "{why}");
    node.must(&["announcer", "undrain", "www"])?;
    scene.all_announced()
}

fn drain_usage(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    for words in [&["announcer", "drain"][..], &["announcer", "undrain"], &["announcer", "drain", "nosuch"]] {
        let output = node.exec(words)?;
        ensure!(output.code == 2, "{words:?}: exit {} {}", output.code, output.stderr);
    }
    scene.all_announced()
}

fn sigterm(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let mark = scene.mark();
    let at = SystemTime::now();
    node.must(&["/lab/announcer", "stop"])?;
    println!("  stop: {}", scene.withdrawn(&mark, at, "fe1", VIPS[0])?);
    for (index, router) in scene.routers.iter().enumerate() {
        let from = address(index, "fe1", VIPS[0]);
        let said = |m: &e2e::wire::Message| m.from == from && m.notification().is_some();
        let cease = router.wire.wait(mark.wire(index), PATIENCE, said).context("no NOTIFICATION")?;
        let (code, subcode, data) = cease.notification().context("no NOTIFICATION")?;
        ensure!((code, subcode) == (6, 2), "{code}/{subcode}");
        ensure!(data.len() > 1 && usize::from(data[0]) == data.len() - 1, "no shutdown text: {data:02x?}");
        let mut withdrawn = router.wire.since(mark.wire(index)).into_iter();
        let vip = VIPS[0].parse()?;
        let withdraw = withdrawn.find(|m| m.from == from && m.withdraws(vip)).context("no withdraw")?;
        let settled = e2e::wire::between(withdraw.at, cease.at);
        ensure!(settled >= Duration::from_millis(990), "Cease came {settled:?} after the withdraw");
    }
    let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
    ensure!(VIPS.iter().all(|vip| lo.contains(vip)), "a VIP went with the daemon: {lo}");
    let log = node.must(&["tail", "-n", "1", "/var/log/announcer.log"])?;
    ensure!(log.contains("announcer ended"), "{log}");
    Ok(())
}

fn stop_under_load(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let load = scene.load(VIPS[0], 2000, Duration::from_secs(4))?;
    std::thread::sleep(Duration::from_secs(1)); // requests flow before anything is stopped
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/web", "stop"])?;
    let report = load.report()?;
    println!(
        "  {} sent, {} refused, {} reset, {} timed out",
        report.sent, report.total.refused, report.total.reset, report.total.timed_out
    );
    ensure!(report.sent > 7000 && report.total.ok.len() == 3, "the load was none: {:?}", report.total);
    ensure!(report.total.refused == 0, "{} refused", report.total.refused);
    Ok(())
}

fn daemon_killed(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    let mark = scene.mark();
    node.must(&["/lab/announcer", "kill"])?;
    scene.wait_next_hops(VIPS[0], &["fe1", "fe3"])?;
    let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
    ensure!(VIPS.iter().all(|vip| lo.contains(vip)), "a VIP went with the daemon: {lo}");
    node.must(&["/lab/announcer", "start"])?; // beside the stale socket and lock of the one killed
    scene.announced(&mark, SystemTime::UNIX_EPOCH, "fe2", VIPS[1])?;
    scene.all_announced()
}

fn one_daemon(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let second = node.exec(&["announcer", "run"])?;
    let pid = node.must(&["cat", "/run/announcer.pid"])?;
    ensure!(second.code == 1, "exit {}", second.code);
    ensure!(second.stderr.contains(&format!("pid {}", pid.trim())), "{}", second.stderr);
    scene.all_announced()
}

fn vip_removed(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    for (vip, length) in VIPS.iter().zip([32, 128]) {
        node.must(&["ip", "address", "del", &format!("{vip}/{length}"), "dev", "lo"])?;
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
        if VIPS.iter().all(|vip| lo.contains(vip)) {
            return scene.all_announced();
        }
        ensure!(std::time::Instant::now() < deadline, "not put back: {lo}");
    }
}

fn vip_without_service(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["ip", "address", "add", "192.0.2.99/32", "dev", "lo"])?; // somebody's
    node.must(&["dsr-setup", "apply", "--vip", "192.0.2.98"])?; // ours, of an older configuration
    node.must(&["/lab/announcer", "start"])?;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
        ensure!(lo.contains("192.0.2.99") && lo.contains(VIPS[0]), "removed what it should not: {lo}");
        if !lo.contains("192.0.2.98") {
            node.must(&["ip", "address", "del", "192.0.2.99/32", "dev", "lo"])?;
            return scene.all_announced();
        }
        ensure!(std::time::Instant::now() < deadline, "not removed: {lo}");
        std::thread::sleep(Duration::from_millis(50)); // between looks
    }
}

fn acl(scene: &Scene) -> Result<()> {
    let client = scene.node("client")?;
    let node = scene.node("fe1")?;
    // Something that would answer, were it let through.
    let mut server = node.spawn(&["python3", "-m", "http.server", "8080"])?;
    let reach = |port: &str| {
        client.exec(&[
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "--connect-timeout",
            "1",
            &format!("http://192.0.2.80:{port}/"),
        ])
    };
    let closed: Vec<u8> =
        ["22", "179", "8080"].iter().map(|port| Ok(reach(port)?.code)).collect::<Result<_>>()?;
    let web = reach("80")?.code;
    let _ = server.kill();
    let _ = server.wait();
    ensure!(web == 0, "the web is not reached: {web}");
    ensure!(closed == [28, 28, 28], "not dropped, but {closed:?} (28 is a timeout)");
    Ok(())
}

/// Writes a frontend's configuration, of the lab's with the given replacements, to where its daemon reads it.
fn configure(scene: &Scene, frontend: &str, changes: &[(&str, &str)]) -> Result<()> {
    let original =
        std::fs::read_to_string(topology("ecmp").with_file_name(format!("nodes/{frontend}/announcer.toml")))?;
    let text = changes.iter().try_fold(original, |text, (from, to)| {
        ensure!(text.contains(from), "the lab's configuration has no `{from}`");
        Ok(text.replace(from, to))
    })?;
    Ok(std::fs::write(scene.node(frontend)?.root().join("run/reload.toml"), text)?)
}

/// Runs `frontend`'s daemon on a configuration that can be written to, plays, and restores.
fn with_own_configuration(scene: &Scene, frontend: &str, play: impl FnOnce() -> Result<()>) -> Result<()> {
    let node = scene.node(frontend)?;
    configure(scene, frontend, &[])?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/announcer", "start", "--config", "/run/reload.toml"])?;
    scene.all_announced()?;
    let played = play();
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/announcer", "start"])?;
    played?;
    scene.all_announced()
}

fn reload(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        let (mark, vip) = (scene.mark(), VIPS[0].parse()?);
        let from = address(0, "fe1", VIPS[0]);
        let said = |what: fn(&e2e::wire::Message, std::net::IpAddr) -> bool| {
            scene.routers[0].wire.since(mark.wire(0)).iter().any(|m| m.from == from && what(m, vip))
        };
        // Every key of the check, and its name: nothing is said to the routers.
        for changes in [
            &[("100ms", "200ms")][..],
            &[("rise = 2", "rise = 5"), ("fall = 3", "fall = 2")],
            &[("/healthz", "/")],
            &[("name = \"www\"", "name = \"web\"")],
        ] {
            configure(scene, "fe1", changes)?;
            let warned = node.must(&["announcer", "status"])?;
            ensure!(warned.contains("announcer reload"), "the changed file is not told of: {warned}");
            let notes = node.must(&["announcer", "reload"])?;
            ensure!(notes.contains("service"), "{notes}");
            ensure!(reason(&status(scene, "fe1")?, VIPS[0]) == "announced", "{changes:?} withdrew");
        }
        ensure!(
            !said(e2e::wire::Message::withdraws) && !said(e2e::wire::Message::announces),
            "said for nothing"
        );
        // An attribute is announced again, without a withdraw; by SIGHUP.
        configure(scene, "fe1", &[("\"65001:80\"", "\"65001:81\"")])?;
        ensure!(node.kill("announcer", Signal::SIGHUP) == 1, "no daemon");
        let again =
            scene.routers[0].wire.wait(mark.wire(0), PATIENCE, |m| m.from == from && m.announces(vip));
        ensure!(again.is_some() && !said(e2e::wire::Message::withdraws), "no announcement, or a withdraw");
        // A VIP more, and one less: withdrawn, and later off lo.
        configure(scene, "fe1", &[("\"192.0.2.80\"", "\"192.0.2.80\", \"192.0.2.81\"")])?;
        node.must(&["announcer", "reload"])?;
        scene.wait_next_hops("192.0.2.81", &["fe1"])?;
        configure(scene, "fe1", &[])?;
        let mark = scene.mark();
        node.must(&["announcer", "reload"])?;
        let gone = "192.0.2.81".parse()?;
        let withdraw =
            scene.routers[0].wire.wait(mark.wire(0), PATIENCE, |m| m.from == from && m.withdraws(gone));
        ensure!(withdraw.is_some(), "192.0.2.81 was not withdrawn");
        let on_lo = || {
            Ok::<_, anyhow::Error>(
                node.must(&["ip", "-o", "address", "show", "dev", "lo"])?.contains("192.0.2.81/"),
            )
        };
        ensure!(on_lo()?, "the VIP left lo together with the route");
        let deadline = std::time::Instant::now() + PATIENCE;
        while on_lo()? {
            ensure!(std::time::Instant::now() < deadline, "192.0.2.81 stays on lo");
            std::thread::sleep(Duration::from_millis(50)); // between looks
        }
        let opened =
            scene.routers[0].wire.since(mark.wire(0)).iter().any(|m| m.from == from && m.octets[18] == 1);
        ensure!(!opened, "a session was begun anew");
        Ok(())
    })
}

fn reload_refused(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    with_own_configuration(scene, "fe2", || {
        let (mark, from) = (scene.mark(), address(0, "fe2", VIPS[0]));
        let refuse = |changes: &[(&str, &str)], why: &str| -> Result<()> {
            configure(scene, "fe2", changes)?;
            let output = node.exec(&["announcer", "reload"])?;
            ensure!(output.code == 2 && output.stderr.contains(why), "{output:?}");
            Ok(())
        };
        refuse(&[("rise = 2", "rise = \"two\""), ("asn = 65001", "asn = 0")], "error: AS 0 is reserved")?;
        let warned = node.must(&["announcer", "status"])?;
        ensure!(warned.contains("2 errors"), "{warned}");
        refuse(&[("192.0.2.80", "192.0.2.83"), ("2001:db8::80", "2001:db8::83")], "--force")?;
        refuse(&[("asn = 65000", "asn = 65000\nhold_time = \"6s\"")], "--force")?;
        ensure!(node.kill("announcer", Signal::SIGHUP) == 1, "no daemon");
        node.must(&["announcer", "status"])?;
        let quiet = |m: &e2e::wire::Message| m.from == from && matches!(m.octets[18], 1..=3);
        ensure!(
            !scene.routers[0].wire.since(mark.wire(0)).iter().any(quiet),
            "something was said to the router"
        );
        // Forced: one session after the other, so that one router always has the way.
        node.must(&["announcer", "reload", "--force"])?;
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe2", VIPS[0]);
            let again = scene.routers[index]
                .wire
                .wait(mark.wire(index), PATIENCE, |m| m.from == from && m.octets[18] == 1);
            ensure!(again.is_some(), "{} saw no new session", router.name);
        }
        scene.all_announced()?;
        let cease = |index: usize| {
            let from = address(index, "fe2", VIPS[0]);
            let seen = scene.routers[index].wire.since(mark.wire(index));
            seen.into_iter()
                .find(move |m| m.from == from && m.notification().is_some_and(|(c, s, _)| (c, s) == (6, 6)))
        };
        let back = |index: usize| {
            let (from, vip) = (address(index, "fe2", VIPS[0]), VIPS[0].parse()?);
            let seen = scene.routers[index].wire.since(mark.wire(index));
            Ok::<_, anyhow::Error>(seen.into_iter().find(|m| m.from == from && m.announces(vip)))
        };
        let (first, second) =
            (back(0)?.context("r1 was not told again")?, cease(1).context("no Cease 6/6 at r2")?);
        ensure!(cease(0).is_some() && first.at < second.at, "both sessions were away at once");
        Ok(())
    })
}

fn reload_under_load(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        let mark = scene.mark();
        let load = scene.load(VIPS[0], 500, Duration::from_secs(6))?;
        let service = |line: &str| format!("communities = [\"65001:80\"]\n{line}");
        for (from, to) in [
            ("100ms\" #", "150ms\" #".to_owned()),
            ("timeout = \"100ms\"", "timeout = \"90ms\"".into()),
            ("rise = 2", "rise = 3".into()),
            ("fall = 3", "fall = 4".into()),
            ("example.com/healthz", "example.com/".into()),
            ("65001:80", "65001:81".into()),
            ("communities = [\"65001:80\"]", service("med = 5")),
            ("communities = [\"65001:80\"]", service("origin = \"egp\"")),
            ("communities = [\"65001:80\"]", service("prepend = 2")),
            ("communities = [\"65001:80\"]", service("local_pref = 50")),
            ("communities = [\"65001:80\"]", service("extended_communities = [\"rt:65001:80\"]")),
            ("communities = [\"65001:80\"]", service("large_communities = [\"65001:1:2\"]")),
            ("communities = [\"65001:80\"]", service("announce_delay = \"5s\"")),
            ("communities = [\"65001:80\"]", service("flap_damping = false")),
            ("name = \"r1\"", "name = \"r1\"\nmed = 6".into()),
            ("name = \"r2\"", "name = \"r2\"\nprepend = 1".into()),
        ] {
            configure(scene, "fe1", &[(from, &to)])?;
            node.must(&["announcer", "reload"]).with_context(|| to.clone())?;
            std::thread::sleep(Duration::from_millis(300)); // three probes under each
        }
        configure(scene, "fe1", &[])?;
        node.must(&["announcer", "reload"])?;
        let report = load.report()?;
        ensure!(report.sent > 2900 && report.total.refused == 0, "{:?}", report.total);
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe1", VIPS[0]);
            let said: Vec<_> =
                router.wire.since(mark.wire(index)).into_iter().filter(|m| m.from == from).collect();
            for vip in VIPS {
                let vip = vip.parse()?;
                ensure!(!said.iter().any(|m| m.withdraws(vip)), "{vip} was withdrawn from {}", router.name);
                ensure!(
                    said.iter().any(|m| m.announces(vip)),
                    "no attribute of {vip} reached {}",
                    router.name
                );
            }
            ensure!(
                !said.iter().any(|m| matches!(m.octets[18], 1 | 3)),
                "the session with {} was reset",
                router.name
            );
        }
        Ok(())
    })
}

/// Says something to a router's BGP configuration.
fn route(scene: &Scene, router: &str, line: &str) -> Result<()> {
    scene.node(router)?.must(&["vtysh", "-c", "configure terminal", "-c", "router bgp 65000", "-c", line])?;
    Ok(())
}

/// Waits for the state of a session, as the frontend's daemon has it.
fn until_peer(
    scene: &Scene,
    frontend: &str,
    peer: usize,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = status(scene, frontend)?;
        if fits(&status["peers"][peer]) {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "not {what}: {}", status["peers"][peer]);
        std::thread::sleep(Duration::from_millis(50)); // between looks
    }
}

fn established(peer: &Value) -> bool {
    peer["state"] == "Established"
}

fn key_rotation(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let key = |router: &str, key: &str| -> Result<()> {
        let file = format!("/run/key-{router}");
        node.must(&["/bin/sh", "-c", &format!("umask 077 && echo {key} > {file}")])?;
        Ok(())
    };
    let played = with_own_configuration(scene, "fe1", || {
        let with_keys = |name: &str| {
            (format!("name = \"{name}\""), format!("name = \"{name}\"\npassword_file = \"/run/key-{name}\""))
        };
        let (r1, r2) = (with_keys("r1"), with_keys("r2"));
        let both = [(r1.0.as_str(), r1.1.as_str()), (r2.0.as_str(), r2.1.as_str())];
        // One router after the other gets a key at all.
        for (index, router) in ROUTERS.iter().enumerate() {
            key(router, "first")?;
            configure(scene, "fe1", &both[..=index])?;
            node.must(&["announcer", "reload"])?;
            until_peer(scene, "fe1", index, "told of the key", |peer| {
                peer["hint"].as_str().is_some_and(|hint| hint.contains("password"))
            })?;
            route(scene, router, &format!("neighbor {} password first", address(index, "fe1", VIPS[0])))?;
            until_peer(scene, "fe1", index, "back with a key", established)?;
        }
        scene.all_announced()?;
        let mark = scene.mark();
        for (index, router) in ROUTERS.iter().enumerate() {
            key(router, "second")?;
            node.must(&["announcer", "reload"])?;
            route(scene, router, &format!("neighbor {} password second", address(index, "fe1", VIPS[0])))?;
            until_peer(scene, "fe1", index, "back with the second key", established)?;
            scene.all_announced()?;
        }
        for (index, router) in scene.routers.iter().enumerate() {
            for vip in VIPS {
                let vip: std::net::IpAddr = vip.parse()?;
                let changes: Vec<_> = router
                    .fib
                    .since(mark.fib(index))
                    .into_iter()
                    .filter(|c| c.prefix.addr() == vip)
                    .collect();
                // An IPv6 route of several next hops is replaced by taking it out and putting it in.
                let replaced = |at: SystemTime| {
                    let back = |c: &&e2e::fib::Change| c.at >= at && !c.next_hops.is_empty();
                    changes
                        .iter()
                        .find(back)
                        .is_some_and(|c| e2e::wire::between(at, c.at) < Duration::from_millis(10))
                };
                let gone = changes.iter().find(|c| c.next_hops.is_empty() && !replaced(c.at));
                ensure!(gone.is_none(), "{vip} left {}: {gone:?}", router.name);
            }
            let from = address(index, "fe1", VIPS[0]);
            let ours = |m: &e2e::wire::Message| m.from == from && m.notification().is_some();
            ensure!(
                !router.wire.since(mark.wire(index)).iter().any(ours),
                "we ended the session with {}",
                router.name
            );
        }
        for (index, router) in ROUTERS.iter().enumerate() {
            route(scene, router, &format!("no neighbor {} password", address(index, "fe1", VIPS[0])))?;
        }
        Ok(())
    });
    for (index, router) in ROUTERS.iter().enumerate() {
        // Where it failed half-way; where it did not there is none left.
        let _ = route(scene, router, &format!("no neighbor {} password", address(index, "fe1", VIPS[0])));
    }
    played
}

fn ttl_security(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let neighbor = address(0, "fe1", VIPS[0]);
    let demand = |yes: bool| -> Result<()> {
        let change = [("name = \"r1\"", "name = \"r1\"\nttl_security = true")];
        configure(scene, "fe1", if yes { &change } else { &[] })?;
        node.must(&["announcer", "reload"])?;
        Ok(())
    };
    let played = with_own_configuration(scene, "fe1", || {
        demand(true)?;
        until_peer(scene, "fe1", 0, "told of the TTL", |peer| {
            !established(peer) && peer["hint"].as_str().is_some_and(|hint| hint.contains("TTL"))
        })?;
        demand(false)?;
        until_peer(scene, "fe1", 0, "up without GTSM", established)?;
        route(scene, "r1", &format!("neighbor {neighbor} ttl-security hops 1"))?;
        let cleared = scene.mark();
        scene.node("r1")?.must(&["vtysh", "-c", &format!("clear bgp {neighbor}")])?;
        let vip = VIPS[0].parse()?;
        let again = |m: &e2e::wire::Message| m.from == neighbor && m.announces(vip);
        scene.routers[0]
            .wire
            .wait(cleared.wire(0), PATIENCE, again)
            .context("no GTSM at the router alone")?;
        demand(true)?;
        until_peer(scene, "fe1", 0, "up with GTSM on both sides", established)
    });
    // Where it failed before, there is none to remove.
    let _ = route(scene, "r1", &format!("no neighbor {neighbor} ttl-security hops 1"));
    played
}

fn router_restart(scene: &Scene) -> Result<()> {
    scene.node("r1")?.must(&["/usr/lib/frr/frrinit.sh", "restart"])?;
    scene.all_announced().context("after the restart")
}

fn dsr_setup(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    node.must(&["dsr-setup", "apply"])?;
    let again = node.exec(&["dsr-setup", "apply"])?;
    ensure!(again.code == 0 && again.stdout.is_empty() && again.stderr.is_empty(), "{again:?}");
    for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        let found = node.must(&["cat", &format!("/proc/sys/net/ipv4/conf/all/{key}")])?;
        ensure!(found.trim() == value, "{key} is {found}");
    }
    let refused = node.exec(&["dsr-setup", "remove"])?;
    ensure!(refused.code == 1 && refused.stderr.contains(VIPS[0]), "{refused:?}");
    scene.all_announced()
}

fn router_power_off(scene: &Scene) -> Result<()> {
    let load = scene.load(VIPS[0], 500, Duration::from_secs(4))?;
    std::thread::sleep(Duration::from_secs(1)); // requests flow before it
    scene.node("r2")?.power_off()?;
    let report = load.report()?;
    println!("  {} sent, {} lost", report.sent, report.total.lost());
    let last_second: u64 =
        report.buckets.iter().rev().take(10).map(|bucket| bucket.counts.ok.values().sum::<u64>()).sum();
    ensure!(last_second > 400, "{last_second} answers in the last second");
    Ok(())
}
