//! Reads which VIPs a running announcer holds on lo.
//!
//! Pure. Only `services[].vips[].address` of the answer is used. It does not matter whether a VIP is announced: the daemon
//! puts back every VIP that it holds, also while it is drained.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

/// The path of the request.
pub const PATH: &str = "/v1/status";

/// The VIPs in the answer, which is JSON.
pub fn held(answer: &[u8]) -> Result<BTreeSet<IpAddr>, serde_json::Error> {
    let status: Status = serde_json::from_slice(answer)?;
    Ok(status.services.into_iter().flat_map(|service| service.vips).map(|vip| vip.address).collect())
}

/// The text of an answer that is an error; none if it is something else.
pub fn error(answer: &[u8]) -> Option<String> {
    serde_json::from_slice::<Refusal>(answer).ok().map(|refusal| refusal.error.text)
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalText,
}

#[derive(Deserialize)]
struct RefusalText {
    text: String,
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
                r#"{{"schema":1,"since":"x","services":[{{"name":"www","vips":[
                   {{"address":"192.0.2.80","standing":"{standing}","reason":{{"code":"x","text":"…"}}}}]}}]}}"#
            );
            assert_eq!(
                held(answer.as_bytes()).unwrap(),
                ["192.0.2.80".parse().unwrap()].into(),
                "{standing}"
            );
        }
    }

    #[test]
    fn another_answer_is_an_error_and_not_an_empty_list() {
        let refusal = r#"{"schema":1,"error":{"code":"forbidden","text":"no"}}"#;
        for text in ["", "{}", refusal, r#"{"status":{}}"#] {
            assert!(held(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(error(refusal.as_bytes()), Some("no".to_owned()));
        assert_eq!(error(b"{}"), None);
    }
}
