//! The first lines of the output: what was made of the user's files.
//!
//! Pure.

use std::fmt::Write;
use std::path::Path;

use crate::plan::{ConfigFile, Owner, Plan, Port};

/// The lines.
pub(crate) fn header(plan: &Plan, configs: &[ConfigFile], web: Option<&Path>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (index, router) in plan.routers.iter().enumerate() {
        let _ = writeln!(text, "router {}: {}, {}", router.name, router.daemon, router.file);
        ports(&mut text, plan, Owner::Router(index));
    }
    let web = web.map_or("nginx for its checks".to_owned(), |path| format!("nginx with {}", path.display()));
    for (index, (frontend, ConfigFile { config, .. })) in plan.frontends.iter().zip(configs).enumerate() {
        let vips: Vec<String> = config.vips().map(|(vip, _)| vip.to_string()).collect();
        let _ =
            writeln!(text, "frontend {}: {}, VIPs {}, {web}", frontend.name, frontend.file, vips.join(", "));
        ports(&mut text, plan, Owner::Frontend(index));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text + "\n"
}

fn ports(text: &mut String, plan: &Plan, owner: Owner) {
    for segment in &plan.segments {
        let Some(port) = segment.port(owner) else { continue };
        let addresses: Vec<String> = port.addresses().map(|net| net.to_string()).collect();
        let others = segment.ports.iter().filter(|other| other.owner != owner);
        let others: Vec<&str> = others.map(|other: &Port| plan.name(other.owner)).collect();
        let _ = writeln!(text, "  {} {} to {}", port.interface, addresses.join(" "), others.join(", "));
    }
}
