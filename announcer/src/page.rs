//! The status page: one HTML file, and what it shows as JSON.
//!
//! Pure. [`io`] is its server. The page puts text from outside into the document by `textContent` alone; the policy in its head
//! forbids every other script and style, and everything from other hosts.

mod chain;
pub mod io;
pub mod samples;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use serde::Serialize;

pub use self::chain::PageChain;
use self::samples::Samples;
use crate::control::api::{Change, ErrorCode, Status};
use crate::control::status::{Severity, severity, summary};

/// The page.
pub const HTML: &str = include_str!("page/index.html");

/// How many changes the page shows.
pub const EVENTS: usize = 50;

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageRoute {
    /// The page itself.
    Html,
    /// The state as JSON.
    Status,
    /// The state and the changes from now on, as server-sent events.
    Events,
    /// The explanation of a VIP as JSON.
    Explain(IpAddr),
}

/// What is asked for.
///
/// # Errors
/// The code and a sentence.
pub fn route(path: &str) -> Result<PageRoute, (ErrorCode, String)> {
    match path {
        "/" => Ok(PageRoute::Html),
        "/api/status" => Ok(PageRoute::Status),
        "/api/events" => Ok(PageRoute::Events),
        other => match other.strip_prefix("/api/explain/vip/") {
            // Browsers write the colons of an IPv6 address as `%3A`.
            Some(address) => match address.replace("%3A", ":").replace("%3a", ":").parse() {
                Ok(address) => Ok(PageRoute::Explain(address)),
                Err(_) => Err((ErrorCode::BadRequest, "the last part of the path is not an address".into())),
            },
            None => Err((ErrorCode::UnknownPath, "there is no such path; the page is at `/`".into())),
        },
    }
}

/// The Content-Security-Policy of the page: its own script and style by their digests, and requests to its own server.
pub fn policy() -> String {
    let hash = |tag: &str| {
        let text = element(tag).unwrap_or_default();
        format!("'sha256-{}'", base64(digest(&SHA256, text.as_bytes()).as_ref()))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash("script"),
        hash("style")
    )
}

/// The text of the only element with this tag.
fn element(tag: &str) -> Option<&'static str> {
    let (_, after) = HTML.split_once(&format!("<{tag}>"))?;
    after.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

/// Base64 with padding (RFC 4648 §4).
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or_default();
            text.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// The state as the page gets it: that of the control API, and what the page needs besides.
#[derive(Debug, Serialize)]
pub struct PageStatus<'a> {
    /// The state.
    #[serde(flatten)]
    pub status: &'a Status,
    /// The rest.
    pub page: PageDetails<'a>,
}

/// What the page needs besides the state.
#[derive(Debug, Serialize)]
pub struct PageDetails<'a> {
    /// The one light.
    pub light: Light,
    /// The marks of the routers, by name.
    pub peers: BTreeMap<&'a str, &'static str>,
    /// The marks of the services, by name.
    pub services: BTreeMap<&'a str, &'static str>,
    /// The marks of the VIPs.
    pub vips: BTreeMap<IpAddr, &'static str>,
    /// The last probes.
    pub samples: &'a Samples,
    /// The last changes, the oldest first.
    pub history: Vec<Change>,
    /// The members of the chain; none without a chain.
    pub chain: Option<PageChain>,
}

/// The one light: the worst state of all routers and VIPs.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Light {
    /// The mark, as `status` prints it.
    pub mark: &'static str,
    /// What is wrong, as the head of `status` says it.
    pub text: String,
}

impl<'a> PageStatus<'a> {
    /// Of this state.
    pub fn new(
        status: &'a Status,
        samples: &'a Samples,
        history: Vec<Change>,
        chain: Option<PageChain>,
    ) -> Self {
        let worst = match summary::worst(status) {
            Severity::Fine | Severity::Ordered if !status.differs.is_empty() => Severity::Warning,
            worst @ (Severity::Fine
            | Severity::Ordered
            | Severity::Starting
            | Severity::Warning
            | Severity::Failed) => worst,
        };
        let services = || status.services.iter();
        let vips = services().flat_map(|service| &service.vips);
        PageStatus {
            status,
            page: PageDetails {
                light: Light { mark: worst.mark(), text: summary::sentence(status) },
                peers: (status.peers.iter())
                    .map(|peer| (peer.name.as_str(), severity::router(peer).mark()))
                    .collect(),
                services: services()
                    .map(|service| (service.name.as_str(), severity::service(service).mark()))
                    .collect(),
                vips: vips.map(|vip| (vip.address, severity::vip(vip).mark())).collect(),
                samples,
                history,
                chain,
            },
        }
    }
}
