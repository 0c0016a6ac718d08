//! `[service.deprefer]`.
//!
//! Pure.

use super::error::Fault;
use super::keys::Section;
use super::reader::Table;
use super::table::table;
use super::value::{med, prepend, word};
use super::writer::TomlWriter;
use super::written::{all, list, nowhere, one};
use crate::model::{Community, Deprefer};

pub(super) const SECTION: Section = Section {
    header: "[service.deprefer]",
    doc: "How a VIP is announced as the last choice.",
    keys: &[&[DepreferKeys::KEYS]],
};

/// The most communities that are added to those of a service, which has at most 255.
const COMMUNITIES: usize = 16;

table! {
    struct DepreferKeys {
        prepend: one u8, default "3", prepend, "on eBGP, how many more times our AS is prepended; 0 to 10";
        local_pref: one u32, default "0", med, "on iBGP, the preference that replaces the service's; 0 to 4294967295";
        med: one u32, optional "200", med, "the MED that replaces the service's; routers do not compare it between ASes";
        communities: set Community, optional "[\"65001:666\"]", word, "communities that are added; at most 16";
    }
}

/// The table as written; `None`: it is wrong as a whole, and an error was recorded.
#[derive(Debug)]
pub(super) struct Written(Option<DepreferKeys>);

impl Written {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Written(table.table("deprefer", DepreferKeys::read))
    }

    pub(super) fn used(&self) -> Option<Deprefer> {
        let DepreferKeys { prepend, local_pref, med, communities } = self.0.as_ref()?;
        Some(Deprefer {
            prepend: one(prepend)?,
            local_pref: one(local_pref),
            med: one(med),
            communities: all(communities),
        })
    }

    pub(super) fn write(&self, out: &mut TomlWriter) {
        out.header(SECTION.header);
        self.0.iter().for_each(|keys| keys.write(out));
    }
}

impl From<&Deprefer> for Written {
    fn from(Deprefer { prepend, local_pref, med, communities }: &Deprefer) -> Self {
        Written(Some(DepreferKeys {
            prepend: Some(nowhere(*prepend)),
            local_pref: local_pref.map(nowhere),
            med: med.map(nowhere),
            communities: list(communities),
        }))
    }
}

/// Checks that the message has room for VIPs.
pub(super) fn judge(Written(keys): &Written, faults: &mut Vec<Fault>) {
    let added = keys.as_ref().and_then(|keys| keys.communities.as_ref());
    if let Some(added) = added.filter(|all| all.get_ref().len() > COMMUNITIES) {
        let message = format!("{} communities are too many", added.get_ref().len());
        let help = format!("write at most {COMMUNITIES}; they are added to those of the service");
        faults.push(Fault::new(added.span(), message, help));
    }
}
