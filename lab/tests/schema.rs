//! Checks every topology of the lab with containerlab's schema, and with our own reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lab::topology::Unknown;

fn topologies() -> Vec<PathBuf> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = folders(lab)
        .chain([lab.join("tests/pair")])
        .filter(|path| path.is_dir())
        .flat_map(|folder| folders(&folder))
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".clab.yml")))
        .collect();
    found.sort();
    assert!(found.len() > 6, "{found:?}");
    found
}

/// The schema in `CLAB_SCHEMA`, or beside the project's folder.
fn schema() -> Option<serde_json::Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/clab.schema.json");
    let path = std::env::var_os("CLAB_SCHEMA").map_or(beside, PathBuf::from);
    let Ok(text) = fs::read_to_string(&path) else {
        // This does not use `eprintln!`, because the test harness captures it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: containerlab's schema is not at {}; CLAB_SCHEMA names another place",
            path.display()
        );
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn containerlab_would_take_every_topology() {
    let Some(schema) = schema() else { return };
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in topologies() {
        let text = fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}:\n{}", path.display(), errors.join("\n"));
    }
    assert!(!validator.is_valid(
        &serde_json::json!({ "name": "x", "topology": { "nodes": { "a": { "kind": "pigeon" } } } })
    ));
}

#[test]
fn every_topology_can_be_read_and_every_file_it_binds_is_there() {
    for path in topologies() {
        let folder = path.parent().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let topology = lab::topology::parse(&text, &path.display().to_string(), Unknown::Refused, &|_| None)
            .unwrap()
            .based(folder);
        let built = folder.join("../../target");
        for (name, node) in &topology.nodes {
            for bind in node.binds.iter().filter(|bind| !bind.source.starts_with(&built)) {
                assert!(bind.source.exists(), "{name}: {}", bind.source.display());
            }
        }
    }
}

#[test]
fn the_scale_that_is_written_down_is_the_one_that_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scale/scale.clab.yml");
    let want = lab::generate::scale(8, 4);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &want).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), want);
}
