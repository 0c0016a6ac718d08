use std::collections::BTreeSet;

use super::*;
use crate::takeover::successor::Successor;

fn refused(method: &str, target: &str, body: &str) -> (u16, String) {
    let error = route(method, target, body.as_bytes()).expect_err(target);
    (error.code.status(), error.text)
}

#[test]
fn each_request_is_read_as_it_was_sent() {
    let scopes = [Scope::All, Scope::Services(vec!["www".into(), "ü/ ?".into()])];
    let mut requests = vec![
        Request::Status,
        Request::Explain { vip: "192.0.2.80".parse().unwrap(), peer: None },
        Request::Explain { vip: "2001:db8::80".parse().unwrap(), peer: Some("r 1&x=ü".into()) },
        Request::ExplainPeer { peer: "a/b?c%20".into() },
        Request::Reload { force: true, dry_run: false },
        Request::Reload { force: false, dry_run: true },
        Request::Log { filter: "debug".into(), seconds: 600 },
        Request::Upgrade { successor: Successor::Previous, force: true },
        Request::Upgrade { successor: Successor::Installed, force: false },
        Request::History { limit: None },
        Request::History { limit: Some(7) },
        Request::Events,
        Request::OpenApi,
        Request::Waits,
        Request::Chain,
        Request::Site,
        Request::SwitchChain(ChainOrder {
            off: true,
            reason: Some("new switch".into()),
            by: Some("ann".into()),
        }),
        Request::SwitchChain(ChainOrder::default()),
        Request::Undrain(UndrainOrder { force: true, wait_ms: Some(u64::MAX), ..UndrainOrder::default() }),
        Request::Drain(DrainOrder {
            reason: Some("kernel".into()),
            for_ms: Some(7),
            ..DrainOrder::default()
        }),
    ];
    for what in scopes {
        requests.push(Request::Recheck { what: what.clone() });
    }
    let mut operations = BTreeSet::new();
    for request in requests {
        let HttpCall { method, target, body } = call(&request);
        assert_eq!(route(method, &target, &body), Ok(request), "{target}");
        let path = target.split('?').next().unwrap_or_default();
        operations.extend(
            OPERATIONS.iter().position(|(_, with, template)| *with == method && fits(template, path)),
        );
    }
    assert_eq!(operations.len(), OPERATIONS.len(), "an operation has no request");
}

#[test]
fn a_wrong_request_says_what_to_write() {
    for (method, target, body, status, text) in [
        ("GET", "/", "", 404, "there is no `/`; `/v1/openapi.json` lists the paths"),
        ("GET", "/v1/status/", "", 404, "there is no `/v1/status/`; `/v1/openapi.json` lists the paths"),
        (
            "GET",
            "/v1/explain/vip/",
            "",
            404,
            "there is no `/v1/explain/vip/`; `/v1/openapi.json` lists the paths",
        ),
        ("POST", "/v1/status", "", 405, "`/v1/status` is only for GET"),
        ("GET", "/v1/reload", "", 405, "`/v1/reload` is only for POST"),
        ("GET", "/v1/explain/vip/www", "", 400, "`www` is not an address"),
        ("GET", "/v1/explain/peer/%ff", "", 400, "`%ff` is not UTF-8"),
        ("GET", "/v1/history?limit=x", "", 400, "`limit` is not a number: `x`"),
        ("GET", "/v1/status?full=1", "", 400, "`/v1/status` has no parameter `full`"),
        ("POST", "/v1/drains", "{\"for\":1}", 400, "the body is not as expected: unknown field `for`"),
        (
            "POST",
            "/v1/recheck",
            "{\"services\":[\"www\"],\"all\":true}",
            400,
            "write either `\"services\": [\"NAME\"]` or `\"all\": true`",
        ),
        (
            "POST",
            "/v1/chain",
            "{}",
            400,
            "the body is not as expected: missing field `off` at line 1 column 2",
        ),
        ("POST", "/v1/chain/vips", "", 405, "`/v1/chain/vips` is only for GET"),
        ("PUT", "/v1/chain", "", 405, "`/v1/chain` is only for GET and POST"),
        (
            "POST",
            "/v1/reload",
            "{\"forced\":true}",
            400,
            "the body is not as expected: unknown field `forced`, expected `force` or `dry_run` at line 1 column 9",
        ),
    ] {
        assert_eq!(refused(method, target, body), (status, text.to_owned()), "{method} {target}");
    }
    assert_eq!(route("POST", "/v1/reload", b""), Ok(Request::Reload { force: false, dry_run: false }));
}

#[test]
fn an_answer_is_read_as_it_was_sent() {
    let error = Response::error(ErrorCode::Refused, "error: this would withdraw every VIP");
    let Ok((409, body)) = encode(&error) else { panic!("409") };
    assert_eq!(
        String::from_utf8_lossy(&body),
        r#"{"schema":1,"error":{"code":"refused","text":"this would withdraw every VIP"}}"#
    );
    assert_eq!(decode(&Request::Reload { force: false, dry_run: false }, 409, &body).unwrap(), error);
    let done = Response::Done { notes: vec!["nothing has changed".into()] };
    let Ok((200, body)) = encode(&done) else { panic!("200") };
    assert_eq!(decode(&Request::Reload { force: false, dry_run: false }, 200, &body).unwrap(), done);
}

/// The description names the operations of the table, no others, and each code of an error.
#[test]
fn the_description_is_of_this_api() {
    let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routed = OPERATIONS.iter().map(|(_, method, path)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(described, routed.collect());
    let codes = &document["components"]["schemas"]["ErrorCode"]["enum"];
    assert_eq!(*codes, serde_json::to_value(ErrorCode::ALL).unwrap());
}
