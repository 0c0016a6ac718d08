//! The states of routers, and the expected reasons and hints.

/// The software of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    None,
    Frr,
    Bird,
    Gobgp,
    Openbgpd,
    Exabgp,
}

/// A state of a router. In commands, `@fe`, `@near` and `@far` run the rest of the line in that namespace.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) software: Software,
    /// Whether it runs behind another router.
    pub(crate) far: bool,
    /// Its configuration; `@own` is its address.
    pub(crate) config: &'static str,
    /// Commands before it starts.
    pub(crate) before: &'static str,
    /// Commands after the session is Established; empty: do not wait for it.
    pub(crate) then: &'static str,
    /// Our `[bgp]`.
    pub(crate) bgp: &'static str,
    /// Our `[[peer]]` tables.
    pub(crate) ours: &'static str,
    /// Texts that the reason has to contain; empty: a session without a hint is expected.
    pub(crate) reason: &'static [&'static str],
    /// Texts that the hint has to contain.
    pub(crate) hint: &'static [&'static str],
}

const NEAR: &str = "[[peer]]\nname = \"r\"\naddress = \"10.9.0.2\"\nasn = 65000\n";
const USUAL: Case = Case {
    name: "",
    software: Software::None,
    far: false,
    config: "",
    before: "true",
    then: "",
    bgp: "asn = 65001",
    ours: NEAR,
    reason: &[],
    hint: &[],
};

macro_rules! near {
    ($keys:literal) => {
        concat!("[[peer]]\nname = \"r\"\naddress = \"10.9.0.2\"\nasn = 65000\n", $keys, "\n")
    };
}
macro_rules! far {
    ($keys:literal) => {
        concat!("[[peer]]\nname = \"r\"\naddress = \"10.9.8.2\"\nasn = 65000\n", $keys, "\n")
    };
}

mod bird;
mod filters;
mod frr;
mod others;

/// All of them: filters on the way, and the routers.
pub(crate) const CASES: &[&[Case]] = &[filters::CASES, frr::CASES, bird::CASES, others::CASES];
