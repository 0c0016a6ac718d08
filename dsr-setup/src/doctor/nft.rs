//! The rules of the packet filter, read from `nft -j list ruleset` (libnftables-json(5)), and what they do with one packet.
//!
//! Pure. `iptables-nft` writes the same rules. A match that is not understood is unknown: then nothing is claimed about the packet,
//! unless a rule before it decides. So a drop that is found is certain, as far as the rules decide.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use self::field::{Field, field};

mod field;

/// How deep jumps are followed; the kernel allows 16.
const DEEPEST: usize = 16;

/// The rules of the host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ruleset {
    chains: Vec<Chain>,
    sets: BTreeMap<Place, Vec<Value>>,
}

impl Eq for Ruleset {} // the numbers in rules are integers

/// The family, table and name of a chain or a set.
type Place = (String, String, String);

#[derive(Debug, Clone, PartialEq)]
struct Chain {
    place: Place,
    /// The hook, its priority, the device and whether the policy is `drop`; `None`: only jumps lead here.
    base: Option<Base>,
    rules: Vec<Vec<Value>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Base {
    hook: usize,
    priority: i64,
    device: Option<String>,
    drops: bool,
}

/// The hooks that a packet to this host passes, in order.
const HOOKS: [&str; 3] = ["ingress", "prerouting", "input"];

/// The kind of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// A TCP SYN to this port.
    Syn(u16),
    /// The ICMP error on which path MTU discovery depends: fragmentation needed (RFC 1191), or packet too big (RFC 4443).
    TooBig,
    /// A TCP packet to this port that belongs to no connection that the host knows.
    Invalid(u16),
}

/// A packet that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arriving<'a> {
    /// Its destination, an address of this host.
    pub to: IpAddr,
    /// What it is.
    pub kind: PacketKind,
    /// The interface by which it arrives.
    pub interface: &'a str,
}

/// What the rules do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It passes, or a rule that is not understood may decide.
    NotDropped,
    /// It is dropped or rejected, by this rule or policy.
    Dropped(String),
}

/// Whether a match applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

/// The result of a chain.
enum Outcome {
    Accept,
    Drop(String),
    Return,
    /// A rule that is not understood may accept the packet.
    Doubt,
}

impl Ruleset {
    /// Reads the text of `nft -j list ruleset`; `None`: it is no such text.
    pub fn read(text: &str) -> Option<Ruleset> {
        let all: Value = serde_json::from_str(text).ok()?;
        let mut ruleset = Ruleset::default();
        for object in all.get("nftables")?.as_array()? {
            if let Some(chain) = object.get("chain") {
                ruleset.chains.push(Chain {
                    place: place(chain, "name")?,
                    base: base(chain),
                    rules: Vec::new(),
                });
            } else if let Some(rule) = object.get("rule") {
                let of = place(rule, "chain")?;
                let expressions = rule.get("expr")?.as_array()?.clone();
                ruleset.chains.iter_mut().find(|chain| chain.place == of)?.rules.push(expressions);
            } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
                let elements = set.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
                ruleset.sets.insert(place(set, "name")?, elements);
            }
        }
        ruleset.chains.sort_by_key(|chain| chain.base.as_ref().map(|base| (base.hook, base.priority)));
        Some(ruleset)
    }

    /// What happens to a packet. The chains of all tables are passed, in the order of hooks and priorities, until one drops it.
    pub fn fate(&self, packet: Arriving<'_>) -> Fate {
        for chain in &self.chains {
            let Some(base) = &chain.base else { continue };
            let family = chain.place.0.as_str();
            let fits = match family {
                "ip" => packet.to.is_ipv4(),
                "ip6" => packet.to.is_ipv6(),
                "inet" => true,
                "netdev" => base.device.as_deref() == Some(packet.interface),
                _bridge => false,
            };
            if !fits {
                continue;
            }
            match self.walk(chain, packet, 0) {
                Outcome::Drop(rule) => return Fate::Dropped(rule),
                Outcome::Return if base.drops => {
                    let (family, table, name) = &chain.place;
                    return Fate::Dropped(format!("the policy of chain `{family} {table} {name}`"));
                }
                // After a doubt the packet is either dropped here, or the next chain decides.
                Outcome::Accept | Outcome::Return | Outcome::Doubt => {}
            }
        }
        Fate::NotDropped
    }

    fn walk(&self, chain: &Chain, packet: Arriving<'_>, depth: usize) -> Outcome {
        let mut in_doubt = false;
        for rule in &chain.rules {
            let mut is_sure = true;
            for expression in rule {
                match self.expression(chain, expression, packet, depth) {
                    Effect::Match(Truth::No) => break,
                    Effect::Match(Truth::Unknown) => is_sure = false,
                    Effect::Match(Truth::Yes) => {}
                    Effect::End(Outcome::Drop(_)) if !is_sure => break,
                    Effect::End(Outcome::Doubt) => {
                        in_doubt = true;
                        break;
                    }
                    Effect::End(Outcome::Accept | Outcome::Return) if !is_sure => {
                        in_doubt = true;
                        break;
                    }
                    Effect::End(Outcome::Drop(_) | Outcome::Return) if in_doubt => return Outcome::Doubt,
                    Effect::End(outcome) => return outcome,
                    Effect::JumpReturned => break,
                }
            }
        }
        if in_doubt { Outcome::Doubt } else { Outcome::Return }
    }

    fn expression(&self, chain: &Chain, expression: &Value, packet: Arriving<'_>, depth: usize) -> Effect {
        let Some((name, value)) = expression.as_object().and_then(|object| object.iter().next()) else {
            return Effect::Match(Truth::Unknown);
        };
        match name.as_str() {
            "match" => Effect::Match(self.matches(chain, value, packet)),
            "accept" => Effect::End(Outcome::Accept),
            "return" => Effect::End(Outcome::Return),
            "drop" | "reject" => Effect::End(Outcome::Drop(named(chain, expression))),
            "jump" | "goto" => self.jump(chain, value, packet, depth, name == "goto"),
            "vmap" => self.verdict_map(chain, value, packet, depth),
            "counter" | "log" | "mangle" | "notrack" => Effect::Match(Truth::Yes),
            _not_understood => Effect::Match(Truth::Unknown),
        }
    }

    fn jump(
        &self,
        chain: &Chain,
        value: &Value,
        packet: Arriving<'_>,
        depth: usize,
        is_goto: bool,
    ) -> Effect {
        let target = value.get("target").and_then(Value::as_str).unwrap_or_default();
        let (family, table, _) = &chain.place;
        let to = self.chains.iter().find(|to| to.place == (family.clone(), table.clone(), target.to_owned()));
        let Some(to) = to.filter(|_| depth < DEEPEST) else { return Effect::End(Outcome::Doubt) };
        match self.walk(to, packet, depth + 1) {
            Outcome::Return if is_goto => Effect::End(Outcome::Return),
            Outcome::Return => Effect::JumpReturned,
            end @ (Outcome::Accept | Outcome::Drop(_) | Outcome::Doubt) => Effect::End(end),
        }
    }

    fn verdict_map(&self, chain: &Chain, value: &Value, packet: Arriving<'_>, depth: usize) -> Effect {
        let (Some(key), Some(data)) = (value.get("key"), value.get("data")) else {
            return Effect::Match(Truth::Unknown);
        };
        let Some(own) = field(key, packet) else { return Effect::End(Outcome::Doubt) };
        let elements = match data.as_str() {
            Some(name) => self.set(chain, name).cloned(),
            None => data.get("set").and_then(Value::as_array).cloned(),
        };
        let Some(elements) = elements else { return Effect::End(Outcome::Doubt) };
        for element in &elements {
            let Some([of, verdict]) = element.as_array().map(Vec::as_slice) else {
                return Effect::End(Outcome::Doubt);
            };
            match self.equals(chain, &own, of) {
                Truth::Yes => return self.expression(chain, verdict, packet, depth),
                Truth::No => {}
                Truth::Unknown => return Effect::End(Outcome::Doubt),
            }
        }
        Effect::Match(Truth::No)
    }

    fn matches(&self, chain: &Chain, value: &Value, packet: Arriving<'_>) -> Truth {
        let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
            return Truth::Unknown;
        };
        let Some(own) = field(left, packet) else { return Truth::Unknown };
        let equal = self.equals(chain, &own, right);
        match (value.get("op").and_then(Value::as_str), equal) {
            (Some("==" | "in") | None, equal) => equal,
            (Some("!="), Truth::Yes) => Truth::No,
            (Some("!="), Truth::No) => Truth::Yes,
            (Some(_), _) => Truth::Unknown,
        }
    }

    /// Whether the packet's value is `right`, or in it.
    fn equals(&self, chain: &Chain, own: &Field, right: &Value) -> Truth {
        let any = |elements: &[Value]| {
            let mut truth = Truth::No;
            for element in elements {
                match self.equals(chain, own, element) {
                    Truth::Yes => return Truth::Yes,
                    Truth::Unknown => truth = Truth::Unknown,
                    Truth::No => {}
                }
            }
            truth
        };
        if matches!(own, Field::None) {
            return Truth::No;
        }
        match right {
            Value::String(text) if text.starts_with('@') => {
                self.set(chain, text).map_or(Truth::Unknown, |elements| any(elements))
            }
            Value::String(text) => own.is_text(text),
            Value::Number(number) => own.is_number(number.as_u64()),
            Value::Array(elements) => any(elements),
            Value::Object(object) => {
                if let Some(elements) = object.get("set").and_then(Value::as_array) {
                    any(elements)
                } else if let Some(element) = object.get("elem").and_then(|element| element.get("val")) {
                    self.equals(chain, own, element)
                } else if let Some(prefix) = object.get("prefix") {
                    own.is_in_prefix(prefix)
                } else if let Some([first, last]) =
                    object.get("range").and_then(Value::as_array).map(Vec::as_slice)
                {
                    own.is_in_range(first, last)
                } else {
                    Truth::Unknown
                }
            }
            Value::Null | Value::Bool(_) => Truth::Unknown,
        }
    }

    fn set(&self, chain: &Chain, name: &str) -> Option<&Vec<Value>> {
        let (family, table, _) = &chain.place;
        self.sets.get(&(family.clone(), table.clone(), name.trim_start_matches('@').to_owned()))
    }
}

/// What one expression does.
enum Effect {
    Match(Truth),
    End(Outcome),
    /// The packet came back from a chain, and the next rule follows.
    JumpReturned,
}

fn place(object: &Value, name: &str) -> Option<Place> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((text("family")?, text("table")?, text(name)?))
}

fn base(chain: &Value) -> Option<Base> {
    let text = |key: &str| chain.get(key).and_then(Value::as_str);
    let hook = HOOKS.iter().position(|hook| Some(*hook) == text("hook"))?;
    (text("type") == Some("filter")).then(|| Base {
        hook,
        priority: chain.get("prio").and_then(Value::as_i64).unwrap_or(0),
        device: text("dev").map(str::to_owned),
        drops: text("policy") == Some("drop"),
    })
}

/// The name of a rule that ends in this verdict.
fn named(chain: &Chain, verdict: &Value) -> String {
    let (family, table, name) = &chain.place;
    let word = verdict.as_object().and_then(|object| object.keys().next()).map_or("drop", String::as_str);
    let rule =
        chain.rules.iter().find(|rule| rule.iter().any(|expression| std::ptr::eq(expression, verdict)));
    let matches: Vec<String> = rule.into_iter().flatten().filter_map(shown).collect();
    let matches = if matches.is_empty() { String::new() } else { format!("{} ", matches.join(" ")) };
    format!("the rule `{matches}{word}` of chain `{family} {table} {name}`")
}

/// A match in the words of nft(8), as far as it is simple.
fn shown(expression: &Value) -> Option<String> {
    let value = expression.get("match")?;
    let (name, of) = value.get("left")?.as_object()?.iter().next()?;
    let word = |key: &str| of.get(key).and_then(Value::as_str);
    let left = match (name.as_str(), word("key"), word("protocol"), word("field")) {
        ("payload", _, Some(protocol), Some(field)) => format!("{protocol} {field}"),
        (name, Some(key), _, _) => format!("{name} {key}"),
        (name, None, _, _) => name.to_owned(),
    };
    let op = match value.get("op").and_then(Value::as_str) {
        Some("!=") => "!= ",
        Some(_) | None => "",
    };
    Some(format!("{left} {op}{}", written(value.get("right")?)))
}

fn written(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(written).collect::<Vec<_>>().join(", ");
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => list(values),
        Value::Object(object) => match (object.get("set"), object.get("prefix"), object.get("range")) {
            (Some(Value::Array(values)), _, _) => format!("{{ {} }}", list(values)),
            (_, Some(prefix), _) => {
                let part = |key: &str| prefix.get(key).map(written).unwrap_or_default();
                format!("{}/{}", part("addr"), part("len"))
            }
            (_, _, Some(Value::Array(values))) => values.iter().map(written).collect::<Vec<_>>().join("-"),
            (_, _, _) => "…".into(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
