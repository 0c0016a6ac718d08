//! Which VIPs a running announcer says that it announces.
//!
//! Pure. Read leniently: of its answer only `status.services[].vips[]` with `address` and `standing` matters. A
//! standing that is unknown here counts as announced, since taking a VIP that is in use away does the harm.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

/// The request, one line.
pub const REQUEST: &str = "{\"request\":\"status\"}\n";

/// The announced VIPs in the answer, one line of JSON.
pub fn announced(answer: &str) -> Result<BTreeSet<IpAddr>, serde_json::Error> {
    let answer: Answer = serde_json::from_str(answer)?;
    let vips = answer.status.services.into_iter().flat_map(|service| service.vips);
    Ok(vips.filter(Vip::is_announced).map(|vip| vip.address).collect())
}

#[derive(Deserialize)]
struct Answer {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    vips: Vec<Vip>,
}

#[derive(Deserialize)]
struct Vip {
    address: IpAddr,
    #[serde(default)]
    standing: serde_json::Value,
}

impl Vip {
    fn is_announced(&self) -> bool {
        !matches!(self.standing.as_str(), Some("withheld" | "draining"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(standing: &str) -> String {
        format!(
            r#"{{"response":"status","status":{{"since":"x","services":[{{"name":"www","vips":[
               {{"address":"192.0.2.80","standing":{standing},"reason":"…"}}]}}]}}}}"#
        )
    }

    #[test]
    fn only_withheld_and_draining_count_as_not_announced() {
        for (standing, is_announced) in [
            (r#""announced""#, true),
            (r#""depreferred""#, true),
            (r#""something new""#, true),
            (r#"{"kind":"withheld"}"#, true),
            (r#""withheld""#, false),
            (r#""draining""#, false),
        ] {
            let vips = announced(&answer(standing)).unwrap();
            assert_eq!(vips.contains(&"192.0.2.80".parse().unwrap()), is_announced, "{standing}");
        }
    }

    #[test]
    fn another_answer_is_an_error_and_not_an_empty_list() {
        for text in ["", "{}", r#"{"response":"error","message":"no"}"#, r#"{"status":{}}"#] {
            assert!(announced(text).is_err(), "{text}");
        }
    }
}
