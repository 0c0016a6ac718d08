//! What `announcer status --members` prints: the VIPs of the whole site by member.
//!
//! Pure.
//!
//! ```text
//! 2 VIPs on 3 members, 1 VIP announced by fewer members than `min_announcers`
//!                          10.0.1.11  10.0.1.12  10.0.1.13
//!                          this host  alive      dead
//!        www  192.0.2.80   announced  announced  -
//!   FEW  api  192.0.2.81   drained    announced  -          1 of 2 announce it
//! ```

use super::text::{aligned, vips};
use crate::control::api::{SiteMember, SiteReport, SiteVip};
use crate::control::status::columns;

/// The mark of a VIP that too few members announce.
const FEW: &str = "FEW";
/// The explanation of the letters.
const LETTERS: &str = "A announced, L last choice, D drained, S starting, N not announced, - not known";

/// How the columns of members are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The address and the state above each column, and words in it.
    Words,
    /// A number above each column, and letters in it.
    Letters,
}

/// The text, without a line feed at its end. If the table with words is wider than `width` columns, the members have numbers, and a
/// list says which member has which number. No line is cut: a member must not be missing.
pub fn table(site: &SiteReport, width: Option<usize>) -> String {
    if site.members.is_empty() {
        return "the chain does not work here, so nothing is known of the other members: `announcer chain` says why"
            .to_owned();
    }
    let mut lines = vec![head(site)];
    let words = body(site, Form::Words);
    if width.is_none_or(|width| words.iter().all(|line| columns(line) <= width)) {
        lines.extend(words);
    } else {
        let numbered = (1..).zip(&site.members);
        let list = numbered.map(|(number, member)| {
            vec![number.to_string(), member.address.to_string(), state(member).to_owned()]
        });
        lines.extend(aligned(&list.collect::<Vec<_>>(), &[0]));
        lines.push(LETTERS.to_owned());
        lines.extend(body(site, Form::Letters));
    }
    lines.join("\n")
}

fn head(site: &SiteReport) -> String {
    let few = site.vips.iter().filter(|vip| vip.lacks_announcers()).count();
    let members = site.members.len();
    let few = match few {
        0 => String::new(),
        few => format!(", {} announced by fewer members than `min_announcers`", vips(few)),
    };
    format!("{} on {members} members{few}", vips(site.vips.len()))
}

/// The state of a member.
fn state(member: &SiteMember) -> &str {
    if member.this_host { "this host" } else { &member.state }
}

/// The titles of the columns, and a row for each VIP.
fn body(site: &SiteReport, form: Form) -> Vec<String> {
    let blank = || vec![String::new(); 3].into_iter();
    let mut rows: Vec<Vec<String>> = match form {
        Form::Words => vec![
            blank().chain(site.members.iter().map(|member| member.address.to_string())).collect(),
            blank().chain(site.members.iter().map(|member| state(member).to_owned())).collect(),
        ],
        Form::Letters => {
            vec![blank().chain((1..=site.members.len()).map(|number| number.to_string())).collect()]
        }
    };
    rows.extend(site.vips.iter().map(|vip| row(site, vip, form)));
    aligned(&rows, &[])
}

fn row(site: &SiteReport, vip: &SiteVip, form: Form) -> Vec<String> {
    let cell = |member: &SiteMember| match (vip.states.get(&member.address), form) {
        (None, _) => "-".to_owned(),
        (Some(word), Form::Words) => word.replace('_', " "),
        (Some(word), Form::Letters) => word.chars().take(1).collect::<String>().to_uppercase(),
    };
    let mark = if vip.lacks_announcers() { FEW } else { "" };
    let service = vip.service.clone().unwrap_or_else(|| "(not configured here)".to_owned());
    let note = match vip.min_announcers.filter(|_| vip.lacks_announcers()) {
        Some(least) => format!("{} of {least} announce it", vip.announcers),
        None => String::new(),
    };
    [mark.to_owned(), service, vip.address.to_string()]
        .into_iter()
        .chain(site.members.iter().map(cell))
        .chain([note])
        .collect()
}
