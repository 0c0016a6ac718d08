//! What a command changes in the drain folder: the files that it writes and removes, and the orders that it must not end.
//!
//! Pure.

use std::time::{Duration, SystemTime};

use super::order::{Drain, Operator, Until};
use super::orders::{Drains, Order};
use super::target::DrainTarget;

/// The change of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainChange {
    /// Each of these targets gets an order of the owner. The owner's earlier order of the same target is replaced, and no other.
    Drain {
        /// At least one.
        targets: Vec<DrainTarget>,
        /// Who orders it.
        owner: Operator,
        /// The contents of each file.
        drain: Drain,
        /// How long the VIPs are the last choice before they are withdrawn.
        prepare: Duration,
    },
    /// The preparation of the operator's orders of these targets ends: their VIPs are withdrawn.
    Withdraw {
        /// At least one.
        targets: Vec<DrainTarget>,
        /// Who has ordered it.
        owner: Operator,
    },
    /// The orders of each of these targets end: those of the owner and those without an owner.
    Undrain {
        /// At least one.
        targets: Vec<DrainTarget>,
        /// Who orders it.
        owner: Operator,
        /// Whether orders of other people end too.
        force: bool,
    },
    /// The orders of each of these targets that end by time end later: those of the operator and those without an owner.
    Extend {
        /// At least one.
        targets: Vec<DrainTarget>,
        /// Who orders it.
        owner: Operator,
        /// How much later they end. An order whose end has come ends this time from now on.
        by: Duration,
        /// The wall clock's time.
        now: SystemTime,
        /// Whether orders of other people are extended too.
        force: bool,
    },
}

/// Why a change is refused. It is not made at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrainRefusal {
    /// The only orders of the target are those of other people.
    #[error(
        "{} was drained by another person, and stays drained{}; `{command} {} --force` {effect}",
        .order.target, .order.drain, .order.target.arguments()
    )]
    OfAnother {
        /// The first of these orders.
        order: Box<Order>,
        /// The command that does it anyway.
        command: &'static str,
        /// What this command does.
        effect: &'static str,
    },
    /// No order of the target has an end.
    #[error("{0} has no drain with an end; `announcer drain {arguments} --for 1h` makes one", arguments = .0.arguments())]
    NoEnd(DrainTarget),
    /// The new end cannot be written.
    #[error("the end of the drain of {0} would be after the year 9999; `announcer drain {arguments}` makes one without an end", arguments = .0.arguments())]
    TooLong(DrainTarget),
}

impl DrainChange {
    /// Who orders it.
    pub fn owner(&self) -> &Operator {
        match self {
            DrainChange::Drain { owner, .. }
            | DrainChange::Withdraw { owner, .. }
            | DrainChange::Undrain { owner, .. }
            | DrainChange::Extend { owner, .. } => owner,
        }
    }

    /// Its targets.
    pub fn targets(&self) -> &[DrainTarget] {
        match self {
            DrainChange::Drain { targets, .. }
            | DrainChange::Withdraw { targets, .. }
            | DrainChange::Undrain { targets, .. }
            | DrainChange::Extend { targets, .. } => targets,
        }
    }

    /// The VIPs whose flaps are forgotten with this change.
    pub fn forgiven(&self) -> Vec<DrainTarget> {
        match self {
            DrainChange::Drain { .. } | DrainChange::Withdraw { .. } | DrainChange::Extend { .. } => {
                Vec::new()
            }
            DrainChange::Undrain { targets, .. } => targets.clone(),
        }
    }
}

/// One change of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStep {
    /// Make or replace a file.
    Write(String, Drain),
    /// Remove a file.
    Remove(String),
}

/// The effect of a [`DrainChange`] on the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangePlan {
    /// In this order.
    pub steps: Vec<FileStep>,
    /// The files whose preparation ends.
    pub withdrawn: Vec<String>,
    /// The targets of an undrain that had no order.
    pub absent: Vec<DrainTarget>,
    /// The orders of other people, which stay.
    pub kept: Vec<Order>,
}

impl ChangePlan {
    /// A refusal, if there is nothing to change and orders of other people are the reason.
    fn refusal(&self, command: &'static str, effect: &'static str) -> Result<(), DrainRefusal> {
        match self.kept.first().filter(|_| self.steps.is_empty()) {
            Some(order) => Err(DrainRefusal::OfAnother { order: Box::new(order.clone()), command, effect }),
            None => Ok(()),
        }
    }
}

impl Drains {
    /// The effect of a change.
    ///
    /// # Errors
    /// The refusal, if no order may be changed.
    pub fn plan(&self, change: &DrainChange) -> Result<ChangePlan, DrainRefusal> {
        let mut plan = ChangePlan::default();
        match change {
            DrainChange::Drain { targets, owner, drain, prepare: _ } => {
                let write = |target| FileStep::Write(self.file_for(target, owner), drain.clone());
                plan.steps.extend(targets.iter().map(write));
            }
            DrainChange::Withdraw { targets, owner } => {
                let orders = targets.iter().flat_map(|target| self.of(target));
                let own = orders.filter(|order| owner.owns(&order.drain));
                plan.withdrawn.extend(own.map(|order| order.file.clone()));
            }
            DrainChange::Undrain { targets, owner, force } => {
                plan.absent.extend(targets.iter().filter(|target| self.of(target).is_empty()).cloned());
                for order in targets.iter().flat_map(|target| self.of(target)) {
                    if *force || owner.may_change(&order.drain) {
                        plan.steps.push(FileStep::Remove(order.file.clone()));
                    } else {
                        plan.kept.push(order.clone());
                    }
                }
                plan.refusal("announcer undrain", "ends that")?;
            }
            DrainChange::Extend { targets, owner, by, now, force } => {
                for target in targets {
                    let mut timed =
                        self.of(target).iter().filter_map(|order| Some((order, order.end()?))).peekable();
                    if timed.peek().is_none() {
                        return Err(DrainRefusal::NoEnd(target.clone()));
                    }
                    for (order, end) in timed {
                        if *force || owner.may_change(&order.drain) {
                            let until = Until::after(end.max(*now), *by);
                            let until = Some(until.ok_or_else(|| DrainRefusal::TooLong(target.clone()))?);
                            let drain = Drain { until, ..order.drain.clone() };
                            plan.steps.push(FileStep::Write(order.file.clone(), drain));
                        } else {
                            plan.kept.push(order.clone());
                        }
                    }
                }
                plan.refusal("announcer drain --extend TIME", "extends it")?;
            }
        }
        Ok(plan)
    }

    /// The file for an order: that of the owner's order of this target, or a name that no other order has.
    fn file_for(&self, target: &DrainTarget, owner: &Operator) -> String {
        let orders = self.of(target);
        if let Some(own) = orders.iter().find(|order| owner.owns(&order.drain)) {
            return own.file.clone();
        }
        let name = format!("{}@{}", target.file(), owner.file());
        let is_free = |name: &String| orders.iter().all(|order| order.file != *name);
        let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
        std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn drains(files: &BTreeMap<String, String>) -> Drains {
        Drains::from_files(files.iter().map(|(name, text)| (name.clone(), Ok(text.clone()))))
    }

    fn operator(uid: u32, user: &str, said: Option<&str>) -> Operator {
        Operator::new(uid, Some(user.into()), said.map(str::to_owned))
    }

    fn by(owner: &Operator) -> Drain {
        Drain { by: Some(owner.to_string()), uid: Some(owner.uid), ..Drain::default() }
    }

    fn removed(plan: &ChangePlan) -> Vec<&str> {
        fn removed(step: &FileStep) -> Option<&str> {
            match step {
                FileStep::Remove(file) => Some(file.as_str()),
                FileStep::Write(..) => None,
            }
        }
        plan.steps.iter().filter_map(removed).collect()
    }

    #[test]
    fn no_order_replaces_or_ends_that_of_another_person() {
        let (ann, bob) = (operator(1000, "ann", None), operator(1001, "bob", None));
        let (slash, line) = (operator(0, "root", Some("a/b")), operator(0, "root", Some("a_b")));
        let www = DrainTarget::Service("www".into());
        let mut files = BTreeMap::from([("www".to_owned(), "by hand".to_owned())]);
        for (owner, want) in [
            (&ann, "www@ann"),
            (&bob, "www@bob"),
            (&ann, "www@ann"),
            (&slash, "www@root-a_b"),
            (&line, "www@root-a_b-2"),
            (&slash, "www@root-a_b"),
            (&line, "www@root-a_b-2"),
        ] {
            let change = DrainChange::Drain {
                targets: vec![www.clone()],
                owner: owner.clone(),
                drain: by(owner),
                prepare: Duration::ZERO,
            };
            let plan = drains(&files).plan(&change).unwrap();
            assert_eq!(plan.steps, [FileStep::Write(want.into(), by(owner))]);
            assert_eq!(plan.absent, []);
            files.insert(want.into(), by(owner).to_file());
        }
        let drains = drains(&files);
        let undrain = |targets: &[&DrainTarget], owner: &Operator, force| {
            let targets = targets.iter().map(|target| (*target).clone()).collect();
            drains.plan(&DrainChange::Undrain { targets, owner: owner.clone(), force }).unwrap()
        };
        let plan = undrain(&[&www, &DrainTarget::All], &ann, false);
        assert_eq!(removed(&plan), ["www", "www@ann"]);
        assert_eq!(plan.absent, [DrainTarget::All]);
        assert_eq!(
            plan.kept.iter().map(|order| order.file.as_str()).collect::<Vec<_>>(),
            ["www@bob", "www@root-a_b", "www@root-a_b-2"]
        );
        let plan = undrain(&[&www], &ann, true);
        assert_eq!((removed(&plan).len(), plan.kept.len()), (5, 0));
    }

    #[test]
    fn a_change_that_would_only_touch_orders_of_others_is_refused_and_says_whose() {
        let (ann, bob) = (operator(1000, "ann", None), operator(1001, "bob", None));
        let end = humantime::parse_rfc3339("2026-01-31T14:00:00Z").unwrap();
        let hour = Duration::from_secs(3600);
        let timed = Drain { until: Some(Until::At(end)), ..by(&bob) };
        let drains = drains(&BTreeMap::from([
            ("www@bob".to_owned(), timed.to_file()),
            ("mail@ann".to_owned(), by(&ann).to_file()),
        ]));
        let target = |name: &str| vec![DrainTarget::Service(name.into())];
        let undrain = |name, owner: &Operator, force| {
            drains.plan(&DrainChange::Undrain { targets: target(name), owner: owner.clone(), force })
        };
        let extend = |name, owner: &Operator, now, force| {
            let owner = owner.clone();
            drains.plan(&DrainChange::Extend { targets: target(name), owner, by: hour, now, force })
        };
        let drained = "www was drained by another person, and stays drained by bob until 2026-01-31T14:00:00Z, no reason given";
        for (plan, want) in [
            (
                undrain("www", &ann, false),
                Err(format!("{drained}; `announcer undrain www --force` ends that")),
            ),
            (undrain("www", &ann, true), Ok("- www@bob".into())),
            (undrain("www", &bob, false), Ok("- www@bob".into())),
            (undrain("nonsuch", &ann, false), Ok(String::new())),
            (
                extend("www", &ann, end - hour, false),
                Err(format!("{drained}; `announcer drain --extend TIME www --force` extends it")),
            ),
            (extend("www", &ann, end - hour, true), Ok("+ www@bob 2026-01-31T15:00:00Z".into())),
            (extend("www", &bob, end - hour, false), Ok("+ www@bob 2026-01-31T15:00:00Z".into())),
            (extend("www", &bob, end + hour, false), Ok("+ www@bob 2026-01-31T16:00:00Z".into())),
            (
                extend("www", &bob, end + hour * 100_000_000, false),
                Err("the end of the drain of www would be after the year 9999; `announcer drain www` makes one without an end"
                    .into()),
            ),
            (
                extend("mail", &ann, end, false),
                Err("mail has no drain with an end; `announcer drain mail --for 1h` makes one".into()),
            ),
        ] {
            let step = |step: &FileStep| match step {
                FileStep::Remove(file) => format!("- {file}"),
                FileStep::Write(file, drain) => format!("+ {file} {}", drain.until.as_ref().unwrap()),
            };
            let plan = plan.map(|plan| plan.steps.iter().map(step).collect::<String>());
            assert_eq!(plan.map_err(|refusal| refusal.to_string()), want);
        }
    }
}
