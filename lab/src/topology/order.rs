//! The order in which the engine `netns` makes the nodes: each goes through its stages, and a stage may wait for another node's.
//!
//! Pure. The stages are containerlab's. A node's commands (`exec`) run after its stage `configure`, and before it is healthy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Network, NodeConfig};

/// A stage in the start of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its namespaces and its first process.
    Create,
    /// The links whose end it has.
    CreateLinks,
    /// The point after which its commands run.
    Configure,
    /// Its health check has succeeded once.
    Healthy,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Stage; 4] = [Stage::Create, Stage::CreateLinks, Stage::Configure, Stage::Healthy];

    /// Its name in a topology file.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Create => "create",
            Stage::CreateLinks => "create-links",
            Stage::Configure => "configure",
            Stage::Healthy => "healthy",
        }
    }

    /// The stage of this name.
    pub fn named(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    fn before(self) -> Option<Stage> {
        match self {
            Stage::Create => None,
            Stage::CreateLinks => Some(Stage::Create),
            Stage::Configure => Some(Stage::CreateLinks),
            Stage::Healthy => Some(Stage::Configure),
        }
    }
}

/// One stage of one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The node's name.
    pub node: String,
    /// Its stage.
    pub stage: Stage,
}

impl Step {
    /// The stage of the node called `node`.
    pub fn new(node: &str, stage: Stage) -> Step {
        Step { node: node.to_string(), stage }
    }
}

/// Which steps have to be finished before a step begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order(BTreeMap<Step, BTreeSet<Step>>);

impl Order {
    /// The order of these nodes: what the file says, and that a shared network needs its owner. Links need no order: the end of a
    /// node is there when its commands run, also if the other node is made later.
    pub fn of(nodes: &BTreeMap<String, NodeConfig>) -> Order {
        let mut order = Order::default();
        for (name, node) in nodes {
            for stage in Stage::ALL {
                let before = stage.before().map(|before| Step::new(name, before));
                order.0.insert(Step::new(name, stage), before.into_iter().collect());
            }
            if let Network::Of(owner) = &node.network {
                order.put(Step::new(name, Stage::Create), Step::new(owner, Stage::Create));
            }
            for wait in &node.waits {
                order.put(Step::new(name, wait.stage), Step::new(&wait.node, wait.until));
            }
        }
        order
    }

    fn put(&mut self, step: Step, before: Step) {
        self.0.entry(step).or_default().insert(before);
    }

    /// The steps that have to be finished before this one begins.
    pub fn before(&self, step: &Step) -> impl Iterator<Item = &Step> {
        self.0.get(step).into_iter().flatten()
    }

    /// Whether a node waits for this step of another one.
    pub fn is_waited_for(&self, step: &Step) -> bool {
        self.0.values().any(|before| before.contains(step))
    }

    /// Steps that wait for each other in a circle, if there are any; such a lab would never be up.
    pub fn circle(&self) -> Option<Vec<Step>> {
        let mut left = self.0.clone();
        // Remove what can be finished. What remains waits for what remains.
        loop {
            let remaining: BTreeSet<Step> = left.keys().cloned().collect();
            let size = left.len();
            left.retain(|_, before| before.iter().any(|step| remaining.contains(step)));
            if left.is_empty() {
                return None;
            }
            if left.len() == size {
                break;
            }
        }
        let mut path = vec![left.keys().next()?.clone()];
        loop {
            let next = left.get(path.last()?)?.iter().find(|step| left.contains_key(*step))?.clone();
            if let Some(start) = path.iter().position(|step| *step == next) {
                return Some(path.split_off(start));
            }
            path.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Wait;
    use super::*;

    fn node(waits: &[(Stage, &str, Stage)]) -> NodeConfig {
        let wait = |(stage, node, until): &(Stage, &str, Stage)| Wait {
            stage: *stage,
            node: (*node).to_string(),
            until: *until,
        };
        NodeConfig { waits: waits.iter().map(wait).collect(), ..NodeConfig::default() }
    }

    #[test]
    fn a_circle_is_found_also_through_a_shared_network() {
        use Stage::{Configure, Create, CreateLinks, Healthy};
        let circle = |a: NodeConfig, b: NodeConfig| {
            let nodes = BTreeMap::from([("a".to_string(), a), ("b".to_string(), b)]);
            let circle = Order::of(&nodes).circle().unwrap_or_default();
            let steps = circle.iter().map(|step| format!("{} {}", step.node, step.stage.name()));
            steps.collect::<Vec<_>>().join(", ")
        };
        let none = || node(&[]);
        assert_eq!(circle(node(&[(Configure, "b", Healthy)]), none()), "");
        assert_eq!(circle(node(&[(Create, "b", Healthy)]), none()), "");
        assert_eq!(circle(node(&[(Create, "b", CreateLinks)]), node(&[(Healthy, "a", Healthy)])), "");
        assert_eq!(
            circle(node(&[(Create, "b", Create)]), node(&[(Create, "a", Create)])),
            "a create, b create"
        );
        assert_eq!(
            circle(node(&[(Create, "a", Healthy)]), none()),
            "a create, a healthy, a configure, a create-links"
        );
        let shares = NodeConfig { network: Network::Of("b".to_string()), ..none() };
        assert_eq!(circle(shares, node(&[(Create, "a", Create)])), "a create, b create");
    }

    #[test]
    fn a_step_waits_for_what_the_file_says_and_for_its_own_last_stage() {
        let nodes = BTreeMap::from([
            ("a".to_string(), node(&[(Stage::Configure, "b", Stage::Healthy)])),
            ("b".to_string(), node(&[])),
        ]);
        let order = Order::of(&nodes);
        let before: Vec<&Step> = order.before(&Step::new("a", Stage::Configure)).collect();
        assert_eq!(before, [&Step::new("a", Stage::CreateLinks), &Step::new("b", Stage::Healthy)]);
        assert!(order.is_waited_for(&Step::new("b", Stage::Healthy)));
        assert!(!order.is_waited_for(&Step::new("a", Stage::Healthy)));
    }
}
