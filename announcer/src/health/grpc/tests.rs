//! Tests the requests, and what answers to them mean.

use super::*;

fn said(http_status: u16, status: Option<&str>, text: Option<&str>, body: &[u8]) -> String {
    let parts =
        GrpcParts { http_status, status: status.map(str::as_bytes), text: text.map(str::as_bytes), body };
    judge(parts).map_or_else(|failure| format!("fail: {failure}"), |answer| format!("pass: {answer}"))
}

#[test]
fn a_request_names_its_service_behind_its_length() {
    assert_eq!(request(None), [0, 0, 0, 0, 0]);
    assert_eq!(request(Some("")), [0, 0, 0, 0, 0]);
    assert_eq!(request(Some("a.B")), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
    let long = request(Some(&"x".repeat(300)));
    assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 1, 47, 0x0a, 0xac, 2][..], 308));
}

#[test]
fn an_answer_says_whether_the_server_serves() {
    let body = |state: u8| [0, 0, 0, 0, 2, 8, state];
    let with_other_fields: &[u8] = &[
        0, 0, 0, 0, 24, 0x12, 1, 0, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 0x28, 0x80, 1,
        0x30, 9,
    ];
    for (status, text, body, want) in [
        (Some("0"), None, &body(1)[..], "pass: SERVING"),
        (Some("0"), None, with_other_fields, "pass: SERVING"),
        (Some("0"), None, &body(2), "fail: the state is NOT_SERVING"),
        (Some("0"), None, &body(3), "fail: the state is SERVICE_UNKNOWN"),
        (Some("0"), None, &body(9), "fail: the state is 9"),
        (Some("0"), None, &[0, 0, 0, 0, 0], "fail: the state is UNKNOWN"),
        // The last value of a field counts.
        (Some("0"), None, &[0, 0, 0, 0, 4, 8, 2, 8, 1], "pass: SERVING"),
        (Some("12"), Some("no%20such service%0A"), &[], "fail: gRPC status UNIMPLEMENTED: no such service"),
        (Some("14"), None, &body(1), "fail: gRPC status UNAVAILABLE"),
        (Some("x"), None, &body(1), "fail: answer is not gRPC"),
        (None, None, &body(1), "fail: answer is not gRPC"),
        (Some("0"), None, &[], "fail: answer is not gRPC"),
        (Some("0"), None, &body(1)[..6], "fail: answer is not gRPC"),
        (Some("0"), None, &[1, 0, 0, 0, 2, 8, 1], "fail: answer is not gRPC"),
        (Some("0"), None, &[0, 0, 0, 0, 2, 8, 0x80], "fail: answer is not gRPC"),
        (Some("0"), None, &[0, 0, 0, 0, 2, 0x0b, 1], "fail: answer is not gRPC"),
        (Some("0"), None, &[0, 0, 0, 0, 3, 0x12, 9, 1], "fail: answer is not gRPC"),
        (Some("0"), None, b"<html>", "fail: answer is not gRPC"),
    ] {
        assert_eq!(said(200, status, text, body), want, "{body:?}");
    }
    let endless = [&[0, 0, 0, 0, 12, 8][..], &[0xff; 11]].concat();
    assert_eq!(said(200, Some("0"), None, &endless), "fail: answer is not gRPC");
    assert_eq!(said(404, Some("0"), None, &body(1)), "fail: HTTP 404");
}
