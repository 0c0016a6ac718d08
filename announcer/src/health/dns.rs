//! The messages of DNS: the query of a check, and what its answer says.
//!
//! Pure. RFC 1035 section 4, with a payload size by EDNS (RFC 6891). The codec is hickory-proto, which only this file names.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{self, DNSClass, Name, Record};

use crate::config::kind::dns::{Answer, DnsConfig, Failure, Rcode, RecordType};
use crate::model::text::PrintableText;

#[cfg(test)]
mod tests;

/// The largest datagram that a server may send: it fits into a packet of every path (DNS flag day 2020).
pub const PAYLOAD: u16 = 1232;

/// The octets of a query, with the number 0; `None`: the name is none that DNS can carry.
pub fn query(dns: &DnsConfig) -> Option<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name_of(dns)?, wire_type(dns.record_type)));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.set_edns(edns);
    message.to_vec().ok()
}

/// Whether this answer to the query with the number `id` is the expected one.
///
/// # Errors
///
/// Why it is not.
pub fn judge(dns: &DnsConfig, id: u16, octets: &[u8]) -> Result<Answer, Failure> {
    let message = Message::from_vec(octets).map_err(|_| Failure::NotDns)?;
    let head = &message.metadata;
    if head.message_type != MessageType::Response || head.op_code != OpCode::Query {
        return Err(Failure::NotDns);
    }
    let code = Rcode::new(head.response_code.into());
    if head.id != id || !answers_question(dns, &message.queries, code) {
        return Err(Failure::OtherQuery);
    }
    if code != dns.expect_rcode {
        return Err(Failure::Code(code));
    }
    if code != Rcode::NO_ERROR {
        return Ok(Answer::Code(code));
    }
    let wanted_type = wire_type(dns.record_type);
    let of_type = message.answers.iter().filter(|record| record.record_type() == wanted_type);
    let found: Vec<String> = of_type.map(data).collect();
    let shown = || PrintableText::new(&found.join(", "));
    let has = |wanted: &&String| found.iter().any(|found| same(dns.record_type, wanted, found));
    let missing = dns.expect_answer.iter().find(|wanted| !has(wanted));
    match (missing, found.is_empty()) {
        (Some(_), _) | (None, true) if head.truncation => Err(Failure::Truncated),
        (_, true) => Err(Failure::NoRecord(dns.record_type)),
        (Some(wanted), false) => Err(Failure::Missing { wanted: PrintableText::new(wanted), found: shown() }),
        (None, false) => Ok(Answer::Records(shown())),
    }
}

/// Whether the question of an answer is ours. A server that reports an error may leave it out.
fn answers_question(dns: &DnsConfig, queries: &[Query], code: Rcode) -> bool {
    match queries {
        [query] => {
            query.query_type == wire_type(dns.record_type)
                && query.query_class == DNSClass::IN
                && name_of(dns).is_some_and(|name| name == query.name)
        }
        [] => code != Rcode::NO_ERROR,
        [_, ..] => false,
    }
}

fn name_of(dns: &DnsConfig) -> Option<Name> {
    let mut name = Name::from_ascii(dns.name.as_str()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The data of a record, as zone files write it.
fn data(record: &Record) -> String {
    record.data.to_string()
}

/// Whether an expected text is that of a record. Names are compared without their case and without the dot at their end.
fn same(record_type: RecordType, wanted: &str, found: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .map(|word| word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase())
            .collect()
    };
    match record_type {
        RecordType::A | RecordType::Aaaa => match (wanted.parse::<IpAddr>(), found.parse::<IpAddr>()) {
            (Ok(wanted), Ok(found)) => wanted == found,
            (_, _) => false,
        },
        RecordType::Txt => wanted == found,
        RecordType::Caa
        | RecordType::Cname
        | RecordType::Https
        | RecordType::Mx
        | RecordType::Ns
        | RecordType::Ptr
        | RecordType::Soa
        | RecordType::Srv
        | RecordType::Svcb => words(wanted) == words(found),
    }
}

fn wire_type(record_type: RecordType) -> rr::RecordType {
    match record_type {
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Caa => rr::RecordType::CAA,
        RecordType::Cname => rr::RecordType::CNAME,
        RecordType::Https => rr::RecordType::HTTPS,
        RecordType::Mx => rr::RecordType::MX,
        RecordType::Ns => rr::RecordType::NS,
        RecordType::Ptr => rr::RecordType::PTR,
        RecordType::Soa => rr::RecordType::SOA,
        RecordType::Srv => rr::RecordType::SRV,
        RecordType::Svcb => rr::RecordType::SVCB,
        RecordType::Txt => rr::RecordType::TXT,
    }
}
