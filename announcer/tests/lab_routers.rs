//! The routers of other vendors in the lab get what `announcer router-config` prints for the lab's own frontends, below a head with
//! what only the lab needs: interfaces, addresses, and the way to the client. `UPDATE_EXPECT=1` writes their files again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::Path;

use announcer::config::parse;
use announcer::router_side::facts;
use expect_test::expect_file;
use router_config::{Frontends, System, configuration};

#[test]
fn the_lab_has_the_printed_configuration_of_each_vendor() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab");
    let name = "nodes/fe1/announcer.toml";
    let config = parse(name, &fs::read_to_string(lab.join(name)).unwrap()).unwrap();
    let r1 = config.peers.iter().find(|peer| peer.name.as_str() == "r1").unwrap();
    let frontends = ["10.1.1.1", "10.1.2.1", "10.1.3.1"].map(|address| address.parse().unwrap());
    let facts = facts(&config, r1, Frontends::Addresses(frontends.to_vec())).unwrap();
    for (system, folder, file, end) in
        [(System::Eos, "ceos", "r1.cfg", "end\n"), (System::Srlinux, "srlinux", "r1.cli", "")]
    {
        let head = fs::read_to_string(lab.join(folder).join("r1.head")).unwrap();
        let whole = format!("{head}{}{end}", configuration(system, &facts));
        expect_file![lab.join(folder).join(file)].assert_eq(&whole);
    }
}
