//! The kind `dns`: a query, and the expected answer (RFC 1035).
//!
//! Pure. Its keys are below, their values in `value.rs`, the words of its results in `result.rs`. The messages are in
//! `health/dns.rs`, and its probe is `health/io/dns.rs`.

use std::net::IpAddr;

use url::Host;

use super::super::endpoint;
use super::super::error::Fault;
use super::super::keys::Key;
use super::super::reader::{PresentKeys, Table};
use super::super::table::table;
use super::super::value::{port, string};
use super::super::writer::TomlWriter;
use super::certificate::{self, CertificateConfig, ClientFiles, LookAtFiles};
use super::interface::{FirstOctets, ProbeKind};
use value::{dns_name, rcode, record_type, server_name, transport};

mod result;
mod value;

pub use result::{Answer, Failure};
pub use value::{DnsName, DnsTransport, Rcode, RecordType};

table! {
    /// A query, and what its answer has to be.
    pub struct DnsConfig as Written {
        /// The name that is asked for.
        name("dns"): one DnsName, one_of "\"www.example.com\"", dns_name,
            "a DNS query for that name, with recursion desired; `.` is the root",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// The type of the records.
        record_type: one RecordType, default "\"A\"", record_type,
            "dns: the type of the records: `A`, `AAAA`, `CAA`, `CNAME`, `HTTPS`, `MX`, `NS`, `PTR`, `SOA`, `SRV`, `SVCB` or `TXT`";
        /// How the query is sent.
        transport: one DnsTransport, default "\"udp\"", transport,
            "dns: how the query is sent: `udp`, `tcp`, or `tls` (RFC 7858)";
        /// Above 0; `None`: the one of the transport.
        port("dns_port"): one u16, optional "5353", port, "dns: the port; without it, 53, and 853 for `tls`";
        /// The code of the answer.
        expect_rcode: one Rcode, default "\"NOERROR\"", rcode,
            "dns: the response code of the answer, as in `NXDOMAIN` or `REFUSED`";
        /// Each has to be the data of a record of the answer. Empty: with NOERROR, one record of the type is enough.
        expect_answer: list String, optional "[\"192.0.2.80\"]", string,
            "dns: the data of records that the answer must have, as zone files write it, as in `\"10 mail.example.com\"` for `MX`; without it, any record of the type is enough";
        /// For the handshake; `None`: the address that is probed.
        server_name("tls_name"): one Host, optional "\"dns.example.com\"", server_name,
            "dns with `transport = \"tls\"`: the name of the server, which is sent and which its certificate must have; without it, its address";
    }
    with {
        /// How the certificate is verified, if there is one: see [`DnsConfig::certificate`].
        certificate: CertificateConfig as certificate::Written;
    }
}

impl DnsConfig {
    /// How the certificate is verified; `None`: there is none, because the query is not sent over TLS.
    pub fn certificate(&self) -> Option<&CertificateConfig> {
        (self.transport == DnsTransport::Tls).then_some(&self.certificate)
    }

    /// The port, unless the target has its own.
    pub fn asked_port(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }
}

impl ProbeKind for DnsConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] = &[endpoint::Written::KEYS, certificate::Written::KEYS];
    const DESCRIPTORS: u64 = 1;

    fn port(&self) -> Option<u16> {
        Some(self.asked_port())
    }

    fn is_over_udp(&self) -> bool {
        self.transport == DnsTransport::Udp
    }

    fn host(&self) -> Option<Host> {
        self.server_name.clone()
    }

    fn client_files(&self) -> Option<ClientFiles> {
        self.certificate()?.client_files()
    }

    fn first_octets(&self) -> FirstOctets {
        match self.transport {
            DnsTransport::Tls => FirstOctets::Tls,
            DnsTransport::Tcp | DnsTransport::Udp => FirstOctets::Other,
        }
    }

    fn request(&self, at: &str) -> String {
        let DnsConfig { name, record_type, transport, .. } = self;
        format!("by {transport} for the {record_type} records of {name} at {at}, port {}", self.asked_port())
    }

    fn fit(written: &mut Written, table: &mut Table<'_>) {
        written.certificate.fit(table);
        if without_tls(written).is_some() {
            written.certificate = table.without_defaults(certificate::Written::read);
            table.own_only("tls_name", &mut written.server_name);
        }
        if written.expect_rcode.as_ref().is_some_and(|rcode| *rcode.get_ref() != Rcode::NO_ERROR)
            && !table.has("expect_answer")
        {
            written.expect_answer = None;
        }
    }

    fn judge(written: &Written, present: &PresentKeys, faults: &mut Vec<Fault>) {
        written.certificate.judge(present, faults);
        if let Some(transport) = without_tls(written) {
            let keys = certificate::Written::KEYS.iter().map(|key| key.name).chain(["tls_name"]);
            for (key, place) in keys.filter_map(|key| Some((key, present.place(key)?))) {
                let message = format!("`{key}` is not allowed with `transport = \"{transport}\"`");
                let help = "write `transport = \"tls\"`; without TLS there is no certificate";
                faults.push(Fault::new(place, message, help));
            }
        }
        answers(written, present, faults);
    }

    fn look(written: &Written, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
        if without_tls(written).is_none() {
            written.certificate.look(look, faults);
        }
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        match without_tls(written) {
            Some(_) => written.write_own(out),
            None => written.write(out),
        }
    }
}

/// The transport, if it uses no TLS.
fn without_tls(written: &Written) -> Option<&'static str> {
    match written.transport.as_ref()?.get_ref() {
        DnsTransport::Udp => Some("udp"),
        DnsTransport::Tcp => Some("tcp"),
        DnsTransport::Tls => None,
    }
}

/// Records an error for expected answers that no answer can have.
fn answers(written: &Written, present: &PresentKeys, faults: &mut Vec<Fault>) {
    let rcode = written.expect_rcode.as_ref().filter(|rcode| *rcode.get_ref() != Rcode::NO_ERROR);
    let records = written.expect_answer.as_ref().filter(|records| !records.get_ref().is_empty());
    if let (Some(rcode), Some(place)) = (rcode, present.place("expect_answer").filter(|_| records.is_some()))
    {
        let message = format!("an answer with {} has no records", rcode.get_ref());
        let help = "leave out `expect_answer`, or `expect_rcode`";
        faults.push(Fault::new(place, message, help).beside(rcode.span(), "the expected code"));
    }
    let Some(record_type) = written.record_type.as_ref() else { return };
    for answer in written.expect_answer.iter().flat_map(|answers| answers.get_ref()) {
        let text = answer.get_ref();
        let (good, wanted) = match (record_type.get_ref(), text.parse()) {
            (RecordType::A, address) => (matches!(address, Ok(IpAddr::V4(_))), "an IPv4 address"),
            (RecordType::Aaaa, address) => (matches!(address, Ok(IpAddr::V6(_))), "an IPv6 address"),
            (
                RecordType::Caa
                | RecordType::Cname
                | RecordType::Https
                | RecordType::Mx
                | RecordType::Ns
                | RecordType::Ptr
                | RecordType::Soa
                | RecordType::Srv
                | RecordType::Svcb
                | RecordType::Txt,
                _,
            ) => (!text.trim().is_empty(), "a text"),
        };
        if !good {
            let message = format!("`{}` is not {wanted}", text.escape_debug());
            let help = format!("write the data of a record of type {}", record_type.get_ref());
            faults.push(Fault::new(answer.span(), message, help).beside(record_type.span(), "the type"));
        }
    }
}
