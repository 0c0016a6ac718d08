//! Runs every decoder on the seeds of the fuzzers, unchanged and damaged: a short version of `make fuzz`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(unreachable_pub, reason = "shared with the fuzz targets")]

#[path = "../fuzz/src/decoders.rs"]
mod decoders;

use std::fs;
use std::path::Path;

/// Typical octets of lengths, types and versions.
const TELLING: [u8; 8] = [0, 1, 2, 4, 19, 23, 0x7f, 0xff];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let mut seeds: Vec<_> =
        files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    seeds.sort();
    assert!(seeds.len() > 1, "{} has no seeds", dir.display());
    seeds
}

/// Decodes each seed, each beginning of it, and this many damaged copies.
fn decode(target: &str, damaged: usize, decode: fn(&[u8])) {
    let seeds = seeds(target);
    let mut luck = fastrand::Rng::with_seed(1);
    for (name, seed) in &seeds {
        println!("{name}");
        (0..=seed.len()).step_by(1 + seed.len() / 64).for_each(|end| decode(&seed[..end]));
        decode(seed);
        for _ in 0..damaged {
            let mut octets = seed.clone();
            for _ in 0..luck.usize(1..4) {
                damage(&mut octets, &seeds[luck.usize(..seeds.len())].1, &mut luck);
            }
            decode(&octets);
        }
    }
}

fn damage(octets: &mut Vec<u8>, other: &[u8], luck: &mut fastrand::Rng) {
    let at = luck.usize(..=octets.len());
    match (luck.u8(..6), octets.get_mut(at)) {
        (0, Some(octet)) => *octet ^= 1 << luck.u8(..8),
        (1 | 2, Some(octet)) => *octet = TELLING[luck.usize(..TELLING.len())],
        (3, _) => octets.truncate(at),
        (4, _) => octets.insert(at, luck.u8(..)),
        _ => {
            octets.truncate(at);
            octets.extend(&other[luck.usize(..=other.len())..]);
        }
    }
}

#[test]
fn whatever_a_peer_sends_is_read_or_refused() {
    decode("wire", 2000, decoders::wire);
}

#[test]
fn whatever_a_neighbour_sends_to_router_discovery_counts_or_is_ignored() {
    decode("discovery", 2000, decoders::discovery);
}

#[test]
fn whatever_a_bfd_session_hears_is_handled_or_dropped() {
    decode("bfd", 2000, decoders::bfd);
}

#[test]
fn whatever_a_member_of_a_chain_hears_counts_or_is_dropped() {
    decode("chain", 2000, decoders::chain);
}

#[test]
fn whatever_a_probed_server_answers_is_judged() {
    decode("answers", 2000, decoders::answers);
}

#[test]
fn whatever_a_configuration_says_is_taken_or_refused() {
    decode("config", 20, decoders::config);
}

#[test]
fn whatever_a_drain_file_says_can_be_shown() {
    decode("drain", 1000, decoders::drain);
}

#[test]
fn whatever_the_control_socket_hears_is_a_request_or_none() {
    decode("control", 1000, decoders::control);
}

#[test]
fn whatever_a_former_process_has_left_is_read_or_refused() {
    decode("state", 1000, decoders::state);
}

#[test]
fn make_fuzz_runs_every_target() {
    let announcer = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = fs::read_to_string(announcer.join("../Makefile")).unwrap();
    let listed = makefile.lines().find_map(|line| line.strip_prefix("FUZZ := ")).unwrap();
    let mut listed: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
    let targets = fs::read_dir(announcer.join("fuzz/fuzz_targets")).unwrap();
    let name = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut targets: Vec<String> = targets.map(|entry| name(entry.unwrap().path())).collect();
    listed.sort();
    targets.sort();
    assert_eq!(listed, targets);
}
