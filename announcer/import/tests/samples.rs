//! Public configurations of the other systems, with other names and addresses, and what they become.
//!
//! `UPDATE_EXPECT=1` records the results again. `announcer/tests/import.rs` checks that announcer accepts them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

use import::{Files, Given, Imported, Input, Router};

/// The folder with the samples.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

/// The files of one sample, with names relative to its folder.
struct Folder(PathBuf);

impl Folder {
    fn input(&self, name: &str) -> Input {
        Input { name: name.into(), text: fs::read_to_string(self.0.join(name)).unwrap() }
    }
}

impl Files for Folder {
    fn read(&self, path: &str, _named_in: &str) -> Result<Vec<Input>, String> {
        // The configurations name files in /etc.
        let path = path.strip_prefix("/etc/exabgp/").unwrap_or(path);
        match path.strip_suffix("*.conf") {
            Some(folder) => {
                let mut names: Vec<String> = fs::read_dir(self.0.join(folder))
                    .map_err(|error| error.to_string())?
                    .map(|entry| format!("{folder}{}", entry.unwrap().file_name().to_str().unwrap()))
                    .collect();
                names.sort();
                Ok(names.iter().map(|name| self.input(name)).collect())
            }
            None if self.0.join(path).exists() => Ok(vec![self.input(path)]),
            None => Err("No such file or directory".into()),
        }
    }
}

fn given() -> Given {
    let router = |name: &str, address: &str| Router {
        name: name.into(),
        address: address.parse().unwrap(),
        asn: 65000,
    };
    Given {
        asn: Some(65001),
        routers: vec![router("r1", "10.0.1.1"), router("r2", "2001:db8:1::1")],
        local: vec!["10.0.1.11".parse().unwrap()],
        vips: Vec::new(),
    }
}

/// Translates a sample.
fn translate(name: &str) -> Imported {
    let folder = Folder(samples().join(name));
    let none = Given::default();
    let done = match name {
        "exabgp-options" => {
            let inputs = [folder.input("www.conf"), folder.input("pool.conf")];
            import::exabgp::import(&inputs, &folder, &given())
        }
        "exabgp-example" => {
            let vips = ["203.0.113.80", "203.0.113.81"].map(|vip| vip.parse().unwrap()).to_vec();
            let given = Given { vips: vec![("nginx".into(), vips)], ..none };
            import::exabgp::import(&[folder.input("exabgp.conf")], &folder, &given)
        }
        _ if name.starts_with("exabgp-") => {
            import::exabgp::import(&[folder.input("exabgp.conf")], &folder, &none)
        }
        "healthchecker-readme" => {
            let inputs =
                ["anycast-healthchecker.conf", "foo.conf", "foo6.conf"].map(|file| folder.input(file));
            import::anycast_healthchecker::import(&inputs, &[], &given())
        }
        "healthchecker-bird" => {
            let inputs = [folder.input("anycast-healthchecker.conf")];
            import::anycast_healthchecker::import(&inputs, &[folder.input("bird.conf")], &none)
        }
        "anycastd-sample" => import::anycastd::import(&folder.input("anycastd.yaml"), &none),
        "anycastd-json" => import::anycastd::import(&folder.input("anycastd.json"), &none),
        _ => import::keepalived::import(&folder.input("keepalived.conf"), &folder, &given()),
    };
    done.unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_sample_becomes_what_was_recorded() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut names: Vec<String> = fs::read_dir(samples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    let mut wrong = Vec::new();
    for name in names {
        let imported = translate(&name);
        let notes: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
        for (file, text) in [("announcer.toml", &imported.toml), ("notes.txt", &notes)] {
            let path = samples().join(&name).join(file);
            if update {
                fs::write(&path, text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != *text {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "UPDATE_EXPECT=1 writes them: {wrong:#?}");
}
