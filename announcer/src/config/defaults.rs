//! `[defaults.service]`, `[defaults.check]` and `[defaults.peer]`: the values of keys that a service, a check or a peer does not have.
//!
//! Pure. Which keys can be there is said where a key is declared ([`Key::own`](super::keys::Key::own)), so that there is no second
//! list of keys. The [`reader`](super::reader) takes a value from here before it takes the built-in default. So a key of one kind of
//! check is read only for the checks of this kind, and what does not fit to the other keys of a check is taken back by its kind
//! (`fit`).

use super::keys::{Key, Need, Section};
use super::reader::Table;
use super::{check, peer, service};

pub(super) const SECTION: Section = Section {
    header: "[defaults]",
    doc: "Values of keys for all services, checks and peers.",
    keys: &[&[&[
        Key {
            name: "service",
            need: Need::Defaults(&service::SECTION),
            doc: "`[defaults.service]`: the keys of `[[service]]` that every service has unless it writes its own, also `[defaults.service.deprefer]`; not `name`, `vips` and `prefix`",
            own: None,
        },
        Key {
            name: "check",
            need: Need::Defaults(&check::SECTION),
            doc: "`[defaults.check]`: the same for `[[service.check]]`; not `name` and the kind. A key of some kinds is for the checks of these kinds",
            own: None,
        },
        Key {
            name: "peer",
            need: Need::Defaults(&peer::SECTION),
            doc: "`[defaults.peer]`: the same for `[[peer]]`; not `name` and `address`",
            own: None,
        },
    ]]],
};

/// Checks `[defaults]`.
pub(super) fn read(table: &mut Table<'_>) {
    table.defaults("service", "[defaults.service]", service::Written::read);
    table.defaults("check", "[defaults.check]", check::Written::read);
    table.defaults("peer", "[defaults.peer]", peer::read);
}
