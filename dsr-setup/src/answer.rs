//! Reads which VIPs a running announcer holds on lo.
//!
//! Pure. Only `status.services[].vips[].address` of the answer is used. It does not matter whether a VIP is announced: the daemon
//! puts back every VIP that it holds, also while it is drained.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

/// The request, one line.
pub const REQUEST: &str = "{\"request\":\"status\"}\n";

/// The VIPs in the answer, one line of JSON.
pub fn held(answer: &str) -> Result<BTreeSet<IpAddr>, serde_json::Error> {
    let answer: Answer = serde_json::from_str(answer)?;
    Ok(answer.status.services.into_iter().flat_map(|service| service.vips).map(|vip| vip.address).collect())
}

#[derive(Deserialize)]
struct Answer {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    services: Vec<ServiceStatus>,
}

#[derive(Deserialize)]
struct ServiceStatus {
    vips: Vec<VipStatus>,
}

#[derive(Deserialize)]
struct VipStatus {
    address: IpAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vip_is_held_whatever_its_standing() {
        for standing in ["announced", "last_choice", "not_announced", "drained", "something new"] {
            let answer = format!(
                r#"{{"response":"status","status":{{"since":"x","services":[{{"name":"www","vips":[
                   {{"address":"192.0.2.80","standing":"{standing}","reason":"…"}}]}}]}}}}"#
            );
            assert_eq!(held(&answer).unwrap(), ["192.0.2.80".parse().unwrap()].into(), "{standing}");
        }
    }

    #[test]
    fn another_answer_is_an_error_and_not_an_empty_list() {
        for text in ["", "{}", r#"{"response":"error","message":"no"}"#, r#"{"status":{}}"#] {
            assert!(held(text).is_err(), "{text}");
        }
    }
}
