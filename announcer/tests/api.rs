//! The control API of a running daemon: its answers against its description, its rights, its streams, and slow clients. Each test
//! runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use announcer::control::api::OPENAPI;
use announcer::control::http::OPERATIONS;
use daemon::{Daemon, in_new_netns, link_to_router, read_answer, router, text_of_http, write_config};
use serde_json::{Value, json};
use until::until;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(folder: &Path) -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"90s\"\n\
         [[peer]]\nname = \"r2\"\naddress = \"10.9.9.2\"\nasn = 65000\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
        folder.join("up").display()
    )
}

/// The same with a chain, whose other member does not exist. Its key is written too.
fn config_with_chain(folder: &Path) -> String {
    let key = folder.join("chain.key");
    std::fs::write(&key, "the key of the test, 32 octets\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let service = config(folder).replacen("vips =", "ports = [80]\nvips =", 1);
    let key = key.display();
    format!(
        "{service}[chain]\ninterface = \"fe\"\nmembers = [\"10.9.9.11\", \"10.9.9.12\"]\nkey_file = \"{key}\"\n"
    )
}

/// A daemon whose router `r1` has its VIP, and whose router `r2` does not exist.
fn start(folder: &Path) -> Daemon {
    start_with(folder, &config(folder))
}

/// The same, with another configuration.
fn start_with(folder: &Path, config: &str) -> Daemon {
    link_to_router();
    let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
    std::thread::spawn(move || router(listener));
    std::fs::write(folder.join("up"), "").unwrap();
    let daemon = Daemon::start(folder, config);
    daemon.until_status(PATIENCE, "r1 has the VIP", |status| {
        status.peers.first().is_some_and(|r1| r1.announced == 1)
            && status.peers.get(1).is_some_and(|r2| r2.reason.is_some())
    });
    daemon
}

fn request(daemon: &Daemon, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut stream = daemon.connect().unwrap();
    stream.write_all(&text_of_http(method, target, body.as_bytes())).unwrap();
    let (status, body) = read_answer(stream).unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{target}: {error}")))
}

/// Panics if the value is not as the description's schema `name`.
fn assert_valid(value: &Value, name: &str) {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {value:#}:\n{}", errors.join("\n"));
}

/// The name of the schema for a status code of an operation.
fn schema_of(method: &str, path: &str, status: u16) -> String {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let answer = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
    let schema = &answer["content"]["application/json"]["schema"]["$ref"];
    let schema = schema.as_str().unwrap_or_else(|| panic!("{method} {path} {status} is not described"));
    schema.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn answers_are_as_described() {
    in_new_netns(every_answer);
}

fn every_answer(folder: &Path) {
    let daemon = start_with(folder, &config_with_chain(folder));
    let long = "x".repeat(70_000);
    let mut answered = BTreeSet::new();
    for (method, path, target, body, status) in [
        ("GET", "/v1/status", "/v1/status", "", 200),
        ("GET", "/v1/explain/vip/{address}", "/v1/explain/vip/192.0.2.80", "", 200),
        ("GET", "/v1/explain/vip/{address}", "/v1/explain/vip/192.0.2.80?peer=r1", "", 200),
        ("GET", "/v1/explain/vip/{address}", "/v1/explain/vip/192.0.2.81", "", 404),
        ("GET", "/v1/explain/vip/{address}", "/v1/explain/vip/www", "", 400),
        ("GET", "/v1/explain/vip/{address}", "/v1/explain/vip/192.0.2.80?peer=r9", "", 404),
        ("GET", "/v1/explain/peer/{name}", "/v1/explain/peer/r1", "", 200),
        ("GET", "/v1/explain/peer/{name}", "/v1/explain/peer/r2", "", 200),
        ("GET", "/v1/explain/peer/{name}", "/v1/explain/peer/r3", "", 404),
        ("POST", "/v1/drains", "/v1/drains", "{\"services\":[\"ww\"]}", 404),
        ("POST", "/v1/drains", "/v1/drains", "{\"services\":[]}", 400),
        ("POST", "/v1/drains", "/v1/drains", &long, 413),
        ("POST", "/v1/drains", "/v1/drains", "{\"peers\":[\"r1\"]}", 409),
        ("GET", "/v1/waits", "/v1/waits", "", 200),
        ("POST", "/v1/drains", "/v1/drains", "{\"services\":[\"www\"],\"wait_ms\":9000}", 200),
        ("GET", "/v1/status", "/v1/status", "", 200),
        ("POST", "/v1/undrains", "/v1/undrains", "{\"all\":true}", 200),
        ("POST", "/v1/undrains", "/v1/undrains", "{\"services\":[\"www\"]}", 200),
        ("POST", "/v1/recheck", "/v1/recheck", "{\"all\":true}", 200),
        ("POST", "/v1/reload", "/v1/reload", "{\"dry_run\":true}", 200),
        ("POST", "/v1/reload", "/v1/reload", "", 200),
        ("POST", "/v1/upgrade", "/v1/upgrade", "{\"previous\":true}", 409), // no program was kept
        ("POST", "/v1/log", "/v1/log", "{\"filter\":\"debug\",\"seconds\":60}", 200),
        ("POST", "/v1/log", "/v1/log", "{\"filter\":\"inof\",\"seconds\":60}", 400),
        ("GET", "/v1/chain", "/v1/chain", "", 200),
        ("GET", "/v1/chain/vips", "/v1/chain/vips", "", 200),
        ("POST", "/v1/chain", "/v1/chain", "{\"off\":true,\"reason\":\"tests\"}", 200),
        ("GET", "/v1/chain", "/v1/chain", "", 200),
        ("POST", "/v1/chain", "/v1/chain", "{\"off\":true}", 400),
        ("POST", "/v1/chain", "/v1/chain", "{\"off\":false}", 200),
        ("GET", "/v1/history", "/v1/history", "", 200),
        ("GET", "/v1/history", "/v1/history?limit=1", "", 200),
    ] {
        let (got, value) = request(&daemon, method, target, body);
        assert_eq!(got, status, "{method} {target}: {value}");
        assert_valid(&value, &schema_of(method, path, status));
        answered.insert((method, path));
    }
    std::fs::remove_file(folder.join("up")).unwrap();
    daemon.until_all_are(PATIENCE, "not_announced");
    let late = "{\"services\":[\"www\"],\"wait_ms\":0}";
    let (status, value) = request(&daemon, "POST", "/v1/undrains", late);
    assert_eq!((status, &value["error"]["code"]), (504, &json!("timeout")));
    assert_valid(&value, &schema_of("POST", "/v1/undrains", 504));
    std::fs::write(folder.join("up"), "").unwrap();
    daemon.until_all_are(PATIENCE, "announced");
    let (status, document) = request(&daemon, "GET", "/v1/openapi.json", "");
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    answered.extend([("GET", "/v1/openapi.json"), ("GET", "/v1/events")]); // the stream has its own test
    assert_eq!(answered, OPERATIONS.iter().map(|(_, method, path)| (*method, *path)).collect());

    for (method, target, status, code) in
        [("GET", "/v1/nonsuch", 404, "unknown_path"), ("POST", "/v1/status", 405, "wrong_method")]
    {
        let (got, value) = request(&daemon, method, target, "");
        assert_eq!((got, &value["error"]["code"]), (status, &json!(code)));
        assert_valid(&value, "Error");
    }
    write_config(folder, &config(folder));
    assert_eq!(request(&daemon, "POST", "/v1/reload", "").0, 200);
    let (status, value) = request(&daemon, "GET", "/v1/chain", "");
    assert_eq!((status, &value["error"]["code"]), (409, &json!("not_configured")));
    assert_valid(&value, &schema_of("GET", "/v1/chain", 409));
    write_config(folder, "[bgp]\n");
    let (status, value) = request(&daemon, "POST", "/v1/reload", "{}");
    assert_eq!((status, &value["error"]["code"]), (409, &json!("wrong_configuration")));
    write_config(folder, &config(folder).replace("vips = [\"192.0.2.80\"]", "vips = [\"192.0.2.90\"]"));
    let (status, value) = request(&daemon, "POST", "/v1/reload", "{}");
    assert_eq!((status, &value["error"]["code"]), (409, &json!("refused")), "{value}");
    assert_valid(&value, "Error");
}

/// Runs a command with `--json`, and compares its output with the schema.
fn assert_json(folder: &Path, words: &[&str], code: i32, schema: &str) -> Value {
    let config = folder.join("announcer.toml");
    let words = words.iter().map(|word| if *word == "CONFIG" { config.to_str().unwrap() } else { word });
    let words: Vec<&str> = words.chain(["--json"]).collect();
    let output = daemon::command(folder, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {output:?}"));
    assert_valid(&value, schema);
    value
}

#[test]
fn every_command_prints_json_as_described() {
    in_new_netns(every_command);
}

fn every_command(folder: &Path) {
    write_config(folder, &config(folder));
    for words in [
        &["status"][..],
        &["explain", "192.0.2.80"],
        &["explain", "r1"],
        &["history"],
        &["recheck"],
        &["reload"],
    ] {
        let value = assert_json(folder, words, 1, "CommandError");
        assert_eq!(value["error"]["code"], "not_running", "{words:?}");
    }
    assert_json(folder, &["drain", "www", "--config", "CONFIG"], 0, "Notes");
    assert_json(folder, &["undrain", "www", "--config", "CONFIG"], 0, "Notes");
    let value = assert_json(folder, &["drain", "ww", "--config", "CONFIG"], 2, "CommandError");
    assert_eq!(value["error"]["text"], "there is no service `ww`; did you mean `www`?");
    assert_json(folder, &["validate", "CONFIG"], 0, "ValidateOutput");
    assert_json(folder, &["validate", "/nonexistent"], 2, "CommandError");
    assert_json(folder, &["check", "www", "--config", "CONFIG"], 1, "CheckOutput");
    write_config(folder, "[bgp]\nasn = 0\n");
    let value = assert_json(folder, &["validate", "CONFIG"], 2, "ValidateOutput");
    assert!(!value["errors"].as_array().unwrap().is_empty(), "{value}");

    let daemon = start_with(folder, &config_with_chain(folder));
    for (words, code, schema) in [
        (&["status"][..], 0, "Status"),
        (&["status", "--members"], 0, "SiteVips"),
        (&["chain"], 0, "Chain"),
        (&["chain", "off", "--reason", "new switch"], 0, "Notes"),
        (&["explain", "192.0.2.80"], 0, "VipDetails"),
        (&["explain", "www"], 0, "ServiceDetails"),
        (&["explain", "r1"], 0, "PeerDetails"),
        (&["explain", "r9"], 2, "CommandError"),
        (&["history"], 0, "History"),
        (&["recheck"], 0, "Notes"),
        (&["reload"], 0, "Notes"),
        (&["check", "www", "--config", "CONFIG"], 0, "CheckOutput"),
        (&["drain", "www", "--reason", "kernel", "--wait"], 0, "Notes"),
        (&["undrain", "www"], 0, "Notes"),
    ] {
        assert_json(folder, words, code, schema);
    }

    // The order is kept with its reason and its operator, and ends.
    let value = assert_json(folder, &["chain"], 0, "Chain");
    assert_eq!(
        (&value["off"]["reason"], &value["own"]),
        (&json!("new switch"), &json!("10.9.9.11")),
        "{value:#}"
    );
    assert!(value["off"]["by"].as_str().is_some_and(|by| by.starts_with("root")), "{value:#}");
    let states: Vec<&Value> = value["members"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["alive", "unknown"], "{value:#}");
    assert_json(folder, &["chain", "on"], 0, "Notes");
    assert_eq!(assert_json(folder, &["chain"], 0, "Chain")["off"], Value::Null);
    // A drain would be refused now, because no other member announces the VIP.
    let guarded = config_with_chain(folder).replacen("vips =", "min_announcers = 2\nvips =", 1);
    write_config(folder, &guarded);
    assert_json(folder, &["reload"], 0, "Notes");
    assert_json(folder, &["drain", "www"], 2, "CommandError");
    let value = assert_json(folder, &["status", "--members"], 0, "SiteVips");
    let want = json!({"address": "192.0.2.80", "service": "www", "announcers": 1, "min_announcers": 2,
        "states": {"10.9.9.11": "announced"}});
    assert_eq!(value["vips"], json!([want]));
    let output = daemon::command(folder, &["explain", "192.0.2.80"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nThe chain keeps flows to it on TCP port 80; "), "{text}");

    // With `os`, the explanation of a router ends with commands for it.
    write_config(folder, &config(folder).replacen("asn = 65000", "asn = 65000\nos = \"eos\"", 1));
    assert_json(folder, &["reload"], 0, "Notes");
    let value = assert_json(folder, &["explain", "r1"], 0, "PeerDetails");
    let commands = value["router_commands"].as_array().unwrap();
    let shown: Vec<&str> = commands.iter().map(|one| one["shows"].as_str().unwrap()).collect();
    assert_eq!(shown, ["session", "received", "accepted", "fib", "members"], "{value:#}");
    assert_eq!(commands[3]["command"], "show ip route 192.0.2.80/32");
    let output = daemon::command(folder, &["explain", "r1"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nOn the router, Arista EOS shows more:\n"), "{text}");
    assert!(text.ends_with("\n        show bgp ipv4 unicast 192.0.2.80/32\n"), "{text}");
    drop(daemon);
}

/// The events of a stream, as their names and data.
fn events(daemon: &Daemon) -> impl Iterator<Item = (String, Value)> {
    let mut stream = daemon.connect().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&text_of_http("GET", "/v1/events", b"")).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    let _ = lines.find(|line| line.starts_with(": announcer")).expect("the stream begins");
    let mut name = String::new();
    lines.filter_map(move |line| {
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        }
        line.strip_prefix("data: ").map(|data| (name.clone(), serde_json::from_str(data).unwrap()))
    })
}

#[test]
fn changes_are_streamed_with_their_time_to_the_wire() {
    in_new_netns(changes_are_streamed);
}

fn changes_are_streamed(folder: &Path) {
    let daemon = start(folder);
    let mut stream = events(&daemon);
    let body = "{\"services\":[\"www\"],\"reason\":\"kernel\"}";
    assert_eq!(request(&daemon, "POST", "/v1/drains", body).0, 200);
    let (name, first) = stream.next().unwrap();
    assert_eq!(name, "change");
    assert_valid(&first, "StreamedChange");
    let facts = ["kind", "service", "vip", "peer", "before", "after"].map(|key| first[key].clone());
    let want = ["standing", "www", "192.0.2.80"].map(Value::from).into_iter();
    let want: Vec<Value> = want.chain([Value::Null, "announced".into(), "drained".into()]).collect();
    assert_eq!(facts.as_slice(), want);
    assert_eq!(first["reason"]["code"], "drained");
    // The same change again, when r1 was written to.
    let written = if first["wire_ms"].is_null() { stream.next().unwrap().1 } else { first.clone() };
    assert_valid(&written, "StreamedChange");
    assert_eq!(written["id"], first["id"], "{first}\n{written}");
    assert!(written["wire_ms"]["first"].as_f64().is_some_and(|ms| ms < 5_000.0), "{written}");

    // The history has it, and the session with r1, and nothing of r2, which never had a session.
    let (_, history) = request(&daemon, "GET", "/v1/history", "");
    let changes = history["changes"].as_array().unwrap();
    let kept = changes.iter().find(|change| change["id"] == first["id"]).expect("it is kept");
    assert_eq!(kept["wire_ms"], written["wire_ms"]);
    let sessions: Vec<&Value> = changes.iter().filter(|change| change["kind"] == "session").collect();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!((&sessions[0]["peer"], &sessions[0]["after"]), (&json!("r1"), &json!("Established")));

    // A session that ends.
    let r1 =
        "[[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"90s\"\n";
    let without = config(folder).replace(r1, "");
    assert_ne!(without, config(folder));
    write_config(folder, &without);
    assert_eq!(request(&daemon, "POST", "/v1/reload", "{\"force\":true}").0, 200);
    let (_, end) = stream.find(|(_, change)| change["kind"] == "session").unwrap();
    assert_valid(&end, "StreamedChange");
    assert_eq!((&end["peer"], &end["before"]), (&json!("r1"), &json!("Established")));
    assert!(end["reason"]["code"].is_string(), "{end}");

    // Sixteen clients may follow; a place is free again when one ends.
    let others: Vec<_> = (1..16).map(|_| events(&daemon)).collect();
    let (status, value) = request(&daemon, "GET", "/v1/events", "");
    assert_eq!((status, &value["error"]["code"]), (503, &json!("busy")));
    drop((others, stream));
    let freed = until(PATIENCE, || {
        let mut stream = daemon.connect().unwrap();
        stream.write_all(&text_of_http("GET", "/v1/events", b"")).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        if line.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(line) }
    });
    freed.unwrap();
}

#[test]
fn the_group_drains_and_only_root_reloads() {
    in_new_netns(rights);
}

fn rights(folder: &Path) {
    let daemon = start(folder);
    // The socket belongs to root's group here. A member of it is not root; its own copy of the program can be read by everybody.
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.join("announcer");
    std::fs::copy(env!("CARGO_BIN_EXE_announcer"), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let nix_group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(folder.join("socket")).unwrap());
    let member = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", &format!("--regid={nix_group}"), "--clear-groups"]).arg(&program);
        command.args(words).arg("--socket").arg(folder.join("socket"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for words in [&["status"][..], &["recheck"], &["history"], &["drain", "www"], &["undrain", "www"]] {
        assert_eq!(member(words), (Some(0), String::new()), "{words:?}");
    }
    for (words, command) in [
        (&["reload"][..], "`sudo announcer reload`"),
        (&["reload", "--force"], "`sudo announcer reload --force`"),
    ] {
        let refusal = format!("error: only root may do this: write {command}\n");
        assert_eq!(member(words), (Some(2), refusal), "{words:?}");
    }
    assert_eq!(request(&daemon, "POST", "/v1/reload", "").0, 200, "we are root");
}

#[test]
fn clients_that_send_half_a_request_cost_nobody_anything() {
    in_new_netns(half_requests);
}

/// The resident memory of a process, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

fn half_requests(folder: &Path) {
    let daemon = start(folder);
    let before = resident(&daemon);
    let halves: [&[u8]; 2] = [
        b"GET /v1/status HT",
        b"POST /v1/drains HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{\"services\"",
    ];
    let slow: Vec<UnixStream> = (0..1_500)
        .map(|number| {
            let mut stream = daemon.connect().unwrap();
            let _ = stream.write_all(halves[number % 2]); // it may already be disconnected
            stream
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        daemon.status().unwrap();
        slowest = slowest.max(began.elapsed());
    }
    println!("slowest status: {slowest:?}, memory {} KiB, before {before} KiB", resident(&daemon));
    assert!(slowest < Duration::from_secs(2), "{slowest:?}"); // 0.2 s on a host that has time
    assert!(resident(&daemon) < before + 16 * 1024, "{} KiB, before {before} KiB", resident(&daemon));
    drop(slow);
}
