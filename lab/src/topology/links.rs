//! The links of a topology file.
//!
//! Pure. Both of containerlab's forms of a cable between two nodes are read: `endpoints: ["a:eth1", "b:eth1"]`, and `type: veth`
//! with a map for each end.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Location;

use super::reader::Reader;
use super::tree::{Key, Tree};
use super::{Link, LinkEnd, Network, NodeConfig};

impl Reader<'_> {
    pub(super) fn links(&mut self, tree: Option<&Tree>, nodes: &BTreeMap<String, NodeConfig>) -> Vec<Link> {
        let mut seen = BTreeSet::new();
        let mut links = Vec::new();
        for cable in tree.and_then(Tree::list).unwrap_or_default() {
            let Some(link) = self.link(cable, nodes) else { continue };
            let at = cable.get("endpoints").map_or(cable.at, |endpoints| endpoints.at);
            for end in &link.ends {
                if !seen.insert(end.clone()) {
                    self.refuse(at, format!("`{}:{}` already has a link", end.node, end.interface));
                }
            }
            links.push(link);
        }
        links
    }

    fn link(&mut self, cable: &Tree, nodes: &BTreeMap<String, NodeConfig>) -> Option<Link> {
        for (Key { at, name }, value) in cable.map().unwrap_or_default() {
            match name.as_str() {
                "endpoints" | "mtu" | "labels" | "vars" => {}
                "type" if value.scalar().as_deref() == Some("veth") => {}
                "type" => {
                    let kind = value.scalar().unwrap_or_default();
                    self.unsupported(
                        value.at,
                        &format!("a link of type `{kind}`"),
                        "write a link between two nodes",
                    );
                    return None;
                }
                name => self.unsupported(*at, &format!("`{name}` of a link"), "leave it out"),
            }
        }
        let Some(endpoints) = cable.get("endpoints") else {
            self.refuse(cable.at, "a link has `endpoints`: `[\"a:eth1\", \"b:eth1\"]`".to_string());
            return None;
        };
        let at = endpoints.at;
        let [a, b] = endpoints.list().unwrap_or_default() else {
            let count = endpoints.list().unwrap_or_default().len();
            self.refuse(at, format!("a link has two ends, not {count}: `[\"a:eth1\", \"b:eth1\"]`"));
            return None;
        };
        let ends = [self.end(a, at, nodes)?, self.end(b, at, nodes)?];
        let mtu = self.number(cable.get("mtu")).map(u32::try_from);
        let mtu = match mtu {
            None => None,
            Some(Ok(mtu)) => Some(mtu),
            Some(Err(_)) => {
                self.refuse(at, "this MTU is too large".to_string());
                None
            }
        };
        Some(Link { ends, mtu })
    }

    fn end(&mut self, end: &Tree, at: Location, nodes: &BTreeMap<String, NodeConfig>) -> Option<LinkEnd> {
        let (node, interface) = match end.map() {
            Some(entries) if !entries.is_empty() => {
                for (Key { at, name }, _) in entries {
                    if name != "node" && name != "interface" {
                        self.unsupported(*at, &format!("`{name}` of an end of a link"), "leave it out");
                    }
                }
                let text = |key: &str| end.get(key).and_then(Tree::scalar).unwrap_or_default();
                (text("node"), text("interface"))
            }
            Some(_) | None => {
                let text = end.scalar().unwrap_or_default();
                let Some((node, interface)) = text.split_once(':') else {
                    self.refuse(at, format!("`{text}` is not an end of a link: write `NODE:INTERFACE`"));
                    return None;
                };
                (node.to_string(), interface.to_string())
            }
        };
        match nodes.get(&node).map(|node| &node.network) {
            Some(Network::Own) => {}
            Some(Network::Of(owner)) => {
                self.refuse(
                    at,
                    format!("`{node}` has the network of `{owner}`: write the link at `{owner}`"),
                );
                return None;
            }
            None => {
                self.refuse(at, format!("`{node}:{interface}`: there is no node `{node}`"));
                return None;
            }
        }
        let fine = (1..=15).contains(&interface.len())
            && interface.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
            && !matches!(interface.as_str(), "lo" | "." | "..");
        if !fine {
            let message =
                format!("`{interface}` is not a name for an interface: write at most 15 letters and digits");
            self.refuse(at, message);
            return None;
        }
        Some(LinkEnd { node, interface })
    }
}
