//! The values of the keys of `dns`, with their rules.
//!
//! Pure.

use std::fmt;

use toml::Value as Toml;
use url::Host;

use super::super::super::value::{Value, ValueError, host_name, text, wrong};
use super::super::super::writer::{self, ToToml};

/// A domain name as zone files write it, without escapes: labels of 1 to 63 octets, 253 at most together; `.` is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(String);

impl DnsName {
    /// The name, with or without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The types of records that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// An IPv4 address (RFC 1035).
    A,
    /// An IPv6 address (RFC 3596).
    Aaaa,
    /// The authorities that may issue certificates (RFC 8659).
    Caa,
    /// An alias (RFC 1035).
    Cname,
    /// The properties of a web server (RFC 9460).
    Https,
    /// A mail server (RFC 1035).
    Mx,
    /// A name server (RFC 1035).
    Ns,
    /// The name of an address (RFC 1035).
    Ptr,
    /// The head of a zone (RFC 1035).
    Soa,
    /// The server of a service (RFC 2782).
    Srv,
    /// The properties of a service (RFC 9460).
    Svcb,
    /// Text (RFC 1035).
    Txt,
}

impl RecordType {
    /// All types.
    pub const ALL: [RecordType; 12] = [
        RecordType::A,
        RecordType::Aaaa,
        RecordType::Caa,
        RecordType::Cname,
        RecordType::Https,
        RecordType::Mx,
        RecordType::Ns,
        RecordType::Ptr,
        RecordType::Soa,
        RecordType::Srv,
        RecordType::Svcb,
        RecordType::Txt,
    ];
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Caa => "CAA",
            RecordType::Cname => "CNAME",
            RecordType::Https => "HTTPS",
            RecordType::Mx => "MX",
            RecordType::Ns => "NS",
            RecordType::Ptr => "PTR",
            RecordType::Soa => "SOA",
            RecordType::Srv => "SRV",
            RecordType::Svcb => "SVCB",
            RecordType::Txt => "TXT",
        })
    }
}

/// `transport`: how a query is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsTransport {
    /// In one datagram (RFC 1035 section 4.2.1).
    Udp,
    /// Over a connection (RFC 7766).
    Tcp,
    /// Over TLS (RFC 7858).
    Tls,
}

impl DnsTransport {
    pub(super) fn default_port(self) -> u16 {
        match self {
            DnsTransport::Udp | DnsTransport::Tcp => 53,
            DnsTransport::Tls => 853,
        }
    }
}

impl fmt::Display for DnsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DnsTransport::Udp => "UDP",
            DnsTransport::Tcp => "TCP",
            DnsTransport::Tls => "TLS",
        })
    }
}

/// The response code of an answer, with the bits that EDNS adds (RFC 6891): 0 to 4095.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rcode(u16);

impl Rcode {
    /// No error.
    pub const NO_ERROR: Rcode = Rcode(0);

    /// The registered names, from 0 (RFC 6895 section 2.3).
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
        "NOTAUTH", "NOTZONE",
    ];

    /// The code with that number.
    pub fn new(number: u16) -> Self {
        Rcode(number)
    }
}

/// Its name, or its number.
impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Rcode::NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "RCODE {}", self.0),
        }
    }
}

impl ToToml for DnsName {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

impl ToToml for RecordType {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

impl ToToml for DnsTransport {
    fn to_toml(&self) -> Toml {
        Toml::String(self.to_string().to_ascii_lowercase())
    }
}

impl ToToml for Rcode {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

impl ToToml for Host {
    fn to_toml(&self) -> Toml {
        match self {
            Host::Domain(name) => writer::text(name),
            Host::Ipv4(ip) => writer::text(ip),
            Host::Ipv6(ip) => writer::text(ip),
        }
    }
}

/// A name that can be asked for.
pub(super) fn dns_name(value: &Value<'_>) -> Result<DnsName, ValueError> {
    let text = text(value)?;
    if text != "." {
        host_name(text)?;
    }
    Ok(DnsName(text.to_owned()))
}

pub(super) fn record_type(value: &Value<'_>) -> Result<RecordType, ValueError> {
    let text = text(value)?;
    let found = RecordType::ALL.into_iter().find(|known| known.to_string() == text);
    found.map_or_else(
        || {
            let all = RecordType::ALL.map(|known| format!("`\"{known}\"`")).join(", ");
            wrong(
                format!("`{}` is not a supported type of records", text.escape_debug()),
                format!("write one of {all}"),
            )
        },
        Ok,
    )
}

pub(super) fn transport(value: &Value<'_>) -> Result<DnsTransport, ValueError> {
    match text(value)? {
        "udp" => Ok(DnsTransport::Udp),
        "tcp" => Ok(DnsTransport::Tcp),
        "tls" => Ok(DnsTransport::Tls),
        other => wrong(
            format!("`{}` is not a supported transport", other.escape_debug()),
            "write `\"udp\"`, `\"tcp\"` or `\"tls\"`",
        ),
    }
}

pub(super) fn rcode(value: &Value<'_>) -> Result<Rcode, ValueError> {
    let text = text(value)?;
    let found = (0u16..).zip(Rcode::NAMES).find(|(_, name)| *name == text);
    found.map_or_else(
        || {
            wrong(
                format!("`{}` is not a response code", text.escape_debug()),
                "write its name as `dig` prints it: `\"NOERROR\"`, `\"NXDOMAIN\"`, `\"REFUSED\"` or another one",
            )
        },
        |(number, _)| Ok(Rcode(number)),
    )
}

/// A name that a certificate can have, or an address.
pub(super) fn server_name(value: &Value<'_>) -> Result<Host, ValueError> {
    let text = text(value)?;
    if let Ok(ip) = text.parse() {
        return Ok(match ip {
            std::net::IpAddr::V4(ip) => Host::Ipv4(ip),
            std::net::IpAddr::V6(ip) => Host::Ipv6(ip),
        });
    }
    host_name(text)?;
    Ok(Host::Domain(text.to_owned()))
}
