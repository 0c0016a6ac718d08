//! Checks every topology of the lab with containerlab's schema, and with our own reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
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

/// The topologies that only containerlab can deploy, because they need its kinds, its management network, or images of others.
const CONTAINERLAB_ALONE: [&str; 4] = ["srlinux", "ceos", "compose", "telemetry"];

fn of_containerlab_alone() -> Vec<PathBuf> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    CONTAINERLAB_ALONE.iter().map(|name| lab.join(name).join(format!("{name}.clab.yml"))).collect()
}

/// The schema in `CLAB_SCHEMA`, or beside the project's folder.
fn schema() -> Option<serde_json::Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/clab.schema.json");
    let path = std::env::var_os("CLAB_SCHEMA").map_or(beside, PathBuf::from);
    let Ok(text) = fs::read_to_string(&path) else {
        until::skipped(format_args!(
            "containerlab's schema is not at {}; CLAB_SCHEMA names another place",
            path.display()
        ));
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// The lab's image.
const IMAGE: &str = concat!("announcer-lab:", env!("CARGO_PKG_VERSION"));

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
    let others = of_containerlab_alone();
    for path in topologies().into_iter().filter(|path| !others.contains(path)) {
        let folder = path.parent().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let topology = lab::topology::parse(&text, &path.display().to_string(), Unknown::Refused, &|_| None)
            .unwrap()
            .based(folder);
        for (name, node) in &topology.nodes {
            for bind in &node.binds {
                assert!(bind.source.exists(), "{name}: {}", bind.source.display());
            }
            assert_eq!(node.image.as_deref(), Some(IMAGE), "{name} of {}", path.display());
        }
    }
}

/// containerlab itself reads these files. So this test looks only for what it would miss at deploy: files, and names in two places.
#[test]
fn every_topology_of_containerlab_alone_is_named_as_its_folder_and_its_files_are_there() {
    for (path, name) in of_containerlab_alone().iter().zip(CONTAINERLAB_ALONE) {
        let folder = path.parent().unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("image: ${{LAB_IMAGE:={IMAGE}}}\n")), "{name}");
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(value["name"], name);
        let nodes = value["topology"]["nodes"].as_object().unwrap();
        for (node, config) in nodes {
            let binds = config["binds"].as_array().into_iter().flatten();
            let sources = binds.map(|bind| bind.as_str().unwrap().split(':').next().unwrap());
            for source in sources.chain(config["startup-config"].as_str()) {
                assert!(folder.join(source).exists(), "{name}, {node}: {source}");
            }
        }
        for link in value["topology"]["links"].as_array().unwrap() {
            assert_eq!(link["mtu"], 1500, "{name}: {link}");
            for end in link["endpoints"].as_array().unwrap() {
                let node = end.as_str().unwrap().split(':').next().unwrap();
                assert!(nodes.contains_key(node), "{name}: {end}");
            }
        }
    }
}

#[test]
fn the_frontends_that_prometheus_reads_differ_from_the_others_only_in_their_metrics() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    for frontend in ["fe1", "fe2", "fe3"] {
        let plain = fs::read_to_string(lab.join("nodes").join(frontend).join("announcer.toml")).unwrap();
        let telemetry = fs::read_to_string(lab.join("telemetry").join(format!("{frontend}.toml"))).unwrap();
        let metrics = telemetry.strip_prefix(&plain).expect("the frontend's own configuration comes first");
        assert!(metrics.trim_start().starts_with("[metrics]"), "{frontend}: {metrics}");
    }
}

/// `dsr-setup doctor` finds nothing on the frontends of `ecmp`, as the test of that topology shows. What it looks at on a frontend is the
/// same in the topologies that need images of others.
#[test]
fn the_frontends_of_containerlab_alone_have_the_settings_addresses_and_routes_of_ecmp() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(lab.join(format!("{name}/{name}.clab.yml"))).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    };
    let settings = |topology: &serde_json::Value| {
        let places = ["/topology/groups/lab/sysctls", "/topology/kinds/linux/sysctls"];
        places.iter().find_map(|place| topology.pointer(place)).unwrap().clone()
    };
    // `ecmp` has further routes with a higher metric, for interfaces that vanish.
    let addresses_and_routes = |frontend: &serde_json::Value| -> BTreeSet<String> {
        let commands = frontend["exec"].as_array().unwrap().iter();
        let commands = commands.map(|command| command.as_str().unwrap().replace(" replace ", " add "));
        commands.filter(|command| command.starts_with("ip ") && !command.contains(" metric ")).collect()
    };
    let ecmp = read("ecmp");
    for name in CONTAINERLAB_ALONE {
        let topology = read(name);
        assert_eq!(settings(&topology), settings(&ecmp), "{name}");
        for frontend in ["fe1", "fe2", "fe3"] {
            let (here, there) =
                (&topology["topology"]["nodes"][frontend], &ecmp["topology"]["nodes"][frontend]);
            assert_eq!(addresses_and_routes(here), addresses_and_routes(there), "{name}, {frontend}");
            assert_eq!(addresses_and_routes(here).len(), 6, "{name}, {frontend}");
            assert!(here["sysctls"].is_null() && there["sysctls"].is_null(), "{name}, {frontend}");
            assert!(here["exec"].as_array().unwrap().iter().any(|command| command == "dsr-setup apply"));
        }
    }
}

#[test]
fn the_topologies_that_are_written_down_are_the_ones_that_are_generated() {
    for (name, want) in [("scale", lab::generate::scale(8, 4)), ("lan", lab::generate::lan(4, 2))] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}/{name}.clab.yml"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &want).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), want);
    }
}
