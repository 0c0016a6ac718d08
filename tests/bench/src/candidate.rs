//! The programs that are compared.
//!
//! Pure.

use serde::{Deserialize, Serialize};

/// A way to announce a VIP while its server is healthy. Its configuration is in its folder below `tests/bench/peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Candidate {
    /// This project.
    Announcer,
    /// ExaBGP and its healthcheck.
    Exabgp,
    /// anycast_healthchecker and BIRD.
    AnycastHealthchecker,
    /// A loop of curl and vtysh, and FRR.
    Frr,
    /// A loop of curl and gobgp, and gobgpd.
    Gobgp,
}

impl Candidate {
    /// All of them, in the order of the tables' columns.
    pub(crate) const ALL: [Candidate; 5] = [
        Candidate::Announcer,
        Candidate::Exabgp,
        Candidate::AnycastHealthchecker,
        Candidate::Frr,
        Candidate::Gobgp,
    ];

    /// The name of its folder below `tests/bench/peers`, and on the command line.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Candidate::Announcer => "announcer",
            Candidate::Exabgp => "exabgp",
            Candidate::AnycastHealthchecker => "anycast_healthchecker",
            Candidate::Frr => "frr",
            Candidate::Gobgp => "gobgp",
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Candidate::Announcer => "announcer",
            Candidate::Exabgp => "ExaBGP healthcheck",
            Candidate::AnycastHealthchecker => "anycast_healthchecker, BIRD",
            Candidate::Frr => "vtysh loop, FRR",
            Candidate::Gobgp => "gobgp loop, GoBGP",
        }
    }
}

impl std::str::FromStr for Candidate {
    type Err = String;

    fn from_str(word: &str) -> Result<Candidate, String> {
        Candidate::ALL.into_iter().find(|one| one.folder() == word).ok_or_else(|| {
            format!("`{word}` is none of: {}", Candidate::ALL.map(Candidate::folder).join(", "))
        })
    }
}
