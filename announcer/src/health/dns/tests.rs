//! Tests the queries, and what answers to them mean.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata;
use hickory_proto::rr::{RData, RecordType as WireType};

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;

fn dns(lines: &str) -> DnsConfig {
    let ProbeConfig::Dns(dns) = a_check(&format!("dns = \"www.example.com\"\n{lines}")).probe else {
        panic!("{lines}")
    };
    dns
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// An answer to our query with the number 7, with these records, changed by `change`.
fn answer(dns: &DnsConfig, records: &[RData], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(&query(dns).unwrap()).unwrap();
    message.metadata.id = 7;
    message.metadata.message_type = MessageType::Response;
    message.answers =
        records.iter().map(|data| Record::from_rdata(name("www.example.com."), 60, data.clone())).collect();
    change(&mut message);
    message.to_vec().unwrap()
}

fn text_of(result: Result<Answer, Failure>) -> String {
    match result {
        Ok(answer) => format!("pass: {answer}"),
        Err(failure) => format!("fail: {failure}"),
    }
}

fn a(last: u8) -> RData {
    RData::A(rdata::A::new(192, 0, 2, last))
}

#[test]
fn a_query_has_one_question_and_wants_recursion() {
    let octets = query(&dns("")).unwrap();
    let question = b"\x03www\x07example\x03com\x00\x00\x01\x00\x01";
    assert_eq!(octets[..12], [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(octets[12..33], question[..]);
    assert_eq!(octets[33..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]); // OPT, 1232 octets
    let root = DnsConfig { record_type: RecordType::Soa, ..dns("") };
    assert!(query(&root).is_some());
}

#[test]
fn an_answer_has_the_expected_records_or_its_flaw_is_named() {
    let alias = RData::CNAME(rdata::CNAME(name("web.example.com.")));
    let mx = || RData::MX(rdata::MX::new(10, name("Mail.Example.com.")));
    let txt = || RData::TXT(rdata::TXT::new(vec!["v=spf1 ".into(), "-all".into()]));
    let rows: &[(&str, &[RData], &str)] = &[
        ("", &[a(80)], "pass: the records 192.0.2.80"),
        ("", &[alias.clone(), a(80), a(81)], "pass: the records 192.0.2.80, 192.0.2.81"),
        ("", &[alias], "fail: answered NOERROR, without a record of type A"),
        ("", &[], "fail: answered NOERROR, without a record of type A"),
        ("expect_answer = [\"192.0.2.81\"]", &[a(80), a(81)], "pass: the records 192.0.2.80, 192.0.2.81"),
        (
            "expect_answer = [\"192.0.2.80\", \"192.0.2.82\"]",
            &[a(80), a(81)],
            "fail: `192.0.2.82` is not in the answer, which has 192.0.2.80, 192.0.2.81",
        ),
        ("expect_answer = [\"192.0.2.80\"]", &[], "fail: answered NOERROR, without a record of type A"),
        (
            "record_type = \"AAAA\"\nexpect_answer = [\"2001:DB8:0::1\"]",
            &[RData::AAAA("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into())],
            "pass: the records 2001:db8::1",
        ),
        (
            "record_type = \"MX\"\nexpect_answer = [\"10  mail.example.com\"]",
            &[mx()],
            "pass: the records 10 Mail.Example.com.",
        ),
        (
            "record_type = \"MX\"\nexpect_answer = [\"20 mail.example.com\"]",
            &[mx()],
            "fail: `20 mail.example.com` is not in the answer, which has 10 Mail.Example.com.",
        ),
        (
            "record_type = \"TXT\"\nexpect_answer = [\"v=spf1 -all\"]",
            &[txt()],
            "pass: the records v=spf1 -all",
        ),
        (
            "record_type = \"TXT\"\nexpect_answer = [\"V=spf1 -all\"]",
            &[txt()],
            "fail: `V=spf1 -all` is not in the answer, which has v=spf1 -all",
        ),
    ];
    for (lines, records, want) in rows {
        let dns = dns(lines);
        assert_eq!(text_of(judge(&dns, 7, &answer(&dns, records, |_| {}))), *want, "{lines}");
    }
}

#[test]
fn the_code_of_an_answer_is_the_expected_one() {
    let code = |code| move |message: &mut Message| message.metadata.response_code = code;
    let without = |message: &mut Message| {
        message.metadata.response_code = ResponseCode::Refused;
        message.queries.clear();
    };
    let (plain, refused) = (dns(""), dns("expect_rcode = \"REFUSED\""));
    for (dns, octets, want) in [
        (&plain, answer(&plain, &[], code(ResponseCode::ServFail)), "fail: answered SERVFAIL"),
        (&plain, answer(&plain, &[], code(ResponseCode::NXDomain)), "fail: answered NXDOMAIN"),
        (&plain, answer(&plain, &[], without), "fail: answered REFUSED"),
        (&plain, answer(&plain, &[], |message| message.queries.clear()), "fail: answered another query"),
        (&refused, answer(&refused, &[], code(ResponseCode::Refused)), "pass: REFUSED"),
        (&refused, answer(&refused, &[], without), "pass: REFUSED"),
        (&refused, answer(&refused, &[a(80)], |_| {}), "fail: answered NOERROR"),
    ] {
        assert_eq!(text_of(judge(dns, 7, &octets)), want);
    }
}

#[test]
fn what_is_no_answer_to_our_query_is_told_apart() {
    let dns = dns("");
    let two = |message: &mut Message| message.queries.extend(message.queries.clone());
    for (octets, want) in [
        (answer(&dns, &[a(80)], |message| message.metadata.id = 8), "fail: answered another query"),
        (
            answer(&dns, &[a(80)], |message| message.queries[0].name = name("x.example.com.")),
            "fail: answered another query",
        ),
        (
            answer(&dns, &[a(80)], |message| message.queries[0].query_type = WireType::AAAA),
            "fail: answered another query",
        ),
        (answer(&dns, &[a(80)], two), "fail: answered another query"),
        (
            answer(&dns, &[a(80)], |message| message.queries[0].name = name("WWW.Example.COM.")),
            "pass: the records 192.0.2.80",
        ),
        (
            answer(&dns, &[a(80)], |message| message.metadata.message_type = MessageType::Query),
            "fail: answer is not DNS",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "fail: answer is not DNS"),
        (Vec::new(), "fail: answer is not DNS"),
        (
            answer(&dns, &[], |message| message.metadata.truncation = true),
            "fail: the answer is too long for UDP: write `transport = \"tcp\"`",
        ),
        // What is there is enough.
        (
            answer(&dns, &[a(80)], |message| message.metadata.truncation = true),
            "pass: the records 192.0.2.80",
        ),
    ] {
        assert_eq!(text_of(judge(&dns, 7, &octets)), want);
    }
    // No beginning of an answer is an answer.
    let whole = answer(&dns, &[a(80)], |_| {});
    for end in 0..whole.len() {
        assert_eq!(judge(&dns, 7, &whole[..end]), Err(Failure::NotDns), "{end} octets");
    }
}
