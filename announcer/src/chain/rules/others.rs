//! Finds the chains of other tables that can drop packets of the chain, in the output of `nft -j list ruleset`.
//!
//! Pure. The format is of libnftables-json(5). What is found is a hint and no proof: whether a rule drops our packets depends on what it
//! matches. `iptables-nft` keeps its rules in tables that are listed too; those of `iptables-legacy` are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::TABLE;

/// The hooks that packets of the chain pass.
const HOOKS: [&str; 5] = ["ingress", "prerouting", "input", "output", "postrouting"];

/// A chain that can drop packets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DroppingChain {
    /// The family and the name of its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Its hook.
    pub hook: String,
    /// Whether it drops what no rule accepts; otherwise one of its rules drops.
    pub by_policy: bool,
}

impl fmt::Display for DroppingChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DroppingChain { table, chain, hook, by_policy } = self;
        let how = if *by_policy { "its policy drops" } else { "a rule of it drops" };
        write!(f, "chain `{chain}` of table `{table}` (hook {hook}, {how})")
    }
}

/// Everything that nft prints.
#[derive(Deserialize)]
struct PrintedRuleSet {
    nftables: Vec<RuleSetItem>,
}

/// One item of it; only chains and rules are of interest.
#[derive(Deserialize)]
struct RuleSetItem {
    chain: Option<PrintedChain>,
    rule: Option<PrintedRule>,
}

#[derive(Deserialize)]
struct PrintedChain {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct PrintedRule {
    family: String,
    table: String,
    chain: String,
    #[serde(default)]
    expr: Vec<Value>,
}

/// A chain, by family, table and name.
type ChainKey = (String, String, String);

/// What the rules of a chain do.
#[derive(Default)]
struct Effect {
    drops: bool,
    /// The chains that it goes or jumps to.
    next: BTreeSet<String>,
}

/// The chains of other tables that can drop, in a fixed order.
///
/// # Errors
/// If the text is no such output.
pub fn dropping_chains(text: &str) -> Result<Vec<DroppingChain>, serde_json::Error> {
    let items = serde_json::from_str::<PrintedRuleSet>(text)?.nftables;
    let mut effects: BTreeMap<ChainKey, Effect> = BTreeMap::new();
    let mut bases = Vec::new();
    for RuleSetItem { chain, rule } in items {
        if let Some(PrintedRule { family, table, chain, expr }) = rule {
            let effect = effects.entry((family, table, chain)).or_default();
            expr.iter().for_each(|expression| collect(expression, effect));
        }
        bases.extend(chain.filter(|chain| {
            let ours = chain.table == TABLE && ["ip", "ip6"].contains(&&*chain.family);
            !ours && chain.hook.as_deref().is_some_and(|hook| HOOKS.contains(&hook))
        }));
    }
    let mut found: Vec<DroppingChain> = bases
        .into_iter()
        .filter_map(|base| {
            let by_policy = base.policy.as_deref() == Some("drop");
            let drops = by_policy || reaches_drop(&effects, &base);
            drops.then(|| DroppingChain {
                table: format!("{} {}", base.family, base.table),
                chain: base.name,
                hook: base.hook.unwrap_or_default(),
                by_policy,
            })
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Whether a rule of a chain, or of one that it leads to, drops.
fn reaches_drop(effects: &BTreeMap<ChainKey, Effect>, base: &PrintedChain) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![base.name.clone()];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some(effect) = effects.get(&(base.family.clone(), base.table.clone(), name)) else { continue };
        if effect.drops {
            return true;
        }
        waiting.extend(effect.next.iter().cloned());
    }
    false
}

/// Collects the verdicts of an expression, also those within a verdict map.
fn collect(expression: &Value, effect: &mut Effect) {
    if let Some(fields) = expression.as_object() {
        effect.drops |= fields.contains_key("drop") || fields.contains_key("reject");
        let targets =
            ["jump", "goto"].iter().filter_map(|verdict| fields.get(*verdict)?.get("target")?.as_str());
        effect.next.extend(targets.map(str::to_owned));
        fields.values().for_each(|value| collect(value, effect));
    } else if let Some(list) = expression.as_array() {
        list.iter().for_each(|value| collect(value, effect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, rest: &str) -> String {
        let (family, table) = table.split_once(' ').unwrap();
        format!(
            r#"{{"chain": {{"family": "{family}", "table": "{table}", "name": "{name}", "handle": 1{rest}}}}}"#
        )
    }

    fn rule(table: &str, chain: &str, expr: &str) -> String {
        let (family, table) = table.split_once(' ').unwrap();
        format!(
            r#"{{"rule": {{"family": "{family}", "table": "{table}", "chain": "{chain}", "handle": 2, "expr": [{expr}]}}}}"#
        )
    }

    fn base(hook: &str, policy: &str) -> String {
        format!(r#", "type": "filter", "hook": "{hook}", "prio": 0, "policy": "{policy}""#)
    }

    fn found(items: &[String]) -> Vec<String> {
        let text =
            format!(r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}}, {}]}}"#, items.join(", "));
        dropping_chains(&text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_with_a_policy_or_a_rule_that_drops_is_found() {
        let accept = base("input", "accept");
        for (items, want) in [
            (vec![chain("inet filter", "in", &accept)], None),
            (
                vec![chain("inet filter", "in", &base("input", "drop"))],
                Some("chain `in` of table `inet filter` (hook input, its policy drops)"),
            ),
            // Packets of the chain are never forwarded by the host.
            (vec![chain("inet filter", "fw", &base("forward", "drop"))], None),
            (
                vec![
                    chain("ip filter", "INPUT", &accept),
                    rule("ip filter", "INPUT", r#"{"xt": null}, {"drop": null}"#),
                ],
                Some("chain `INPUT` of table `ip filter` (hook input, a rule of it drops)"),
            ),
            // A rule of another chain, or of a chain with the same name in another table.
            (vec![chain("ip a", "in", &accept), rule("ip a", "other", r#"{"drop": null}"#)], None),
            (vec![chain("ip a", "in", &accept), rule("ip b", "in", r#"{"drop": null}"#)], None),
            // By way of other chains, which go round.
            (
                vec![
                    chain("ip a", "in", &accept),
                    rule("ip a", "in", r#"{"jump": {"target": "x"}}"#),
                    rule(
                        "ip a",
                        "x",
                        r#"{"vmap": {"key": {"meta": {"key": "l4proto"}}, "data": {"set": [["udp", {"goto": {"target": "y"}}]]}}}"#,
                    ),
                    rule("ip a", "y", r#"{"goto": {"target": "x"}}"#),
                    rule("ip a", "y", r#"{"reject": {"type": "tcp reset"}}"#),
                ],
                Some("chain `in` of table `ip a` (hook input, a rule of it drops)"),
            ),
            // Our own table.
            (
                vec![chain("ip announcer", "in", &accept), rule("ip announcer", "in", r#"{"drop": null}"#)],
                None,
            ),
            (
                vec![chain("netdev announcer", "in", &base("ingress", "drop"))],
                Some("chain `in` of table `netdev announcer` (hook ingress, its policy drops)"),
            ),
        ] {
            assert_eq!(found(&items), want.into_iter().collect::<Vec<_>>(), "{items:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_rules_is_an_error() {
        for text in ["", "[]", r#"{"nftables": [{"chain": {"family": "ip"}}]}"#] {
            assert!(dropping_chains(text).is_err(), "{text}");
        }
        assert_eq!(dropping_chains(r#"{"nftables": []}"#).unwrap(), []);
    }
}
