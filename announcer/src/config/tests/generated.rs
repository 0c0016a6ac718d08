//! Tests with random configurations and texts.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use proptest::collection::btree_set;
use proptest::option;
use proptest::prelude::*;
use url::Url;

use super::super::kind::dns::{DnsConfig, DnsTransport, Rcode, RecordType};
use super::super::kind::exec::{ExecConfig, ExitCodes};
use super::super::kind::file::FileConfig;
use super::super::kind::grpc::{GrpcConfig, GrpcServer};
use super::super::kind::http::{self as kind_http, Digest, ExpectedField, ExpectedJson};
use super::super::kind::icmp::IcmpConfig;
use super::super::kind::ntp::NtpConfig;
use super::super::kind::talk::TalkConfig;
use super::super::kind::tcp::TcpConfig;
use super::super::kind::tls::{TlsConfig, TlsServer};
use super::super::kind::udp::UdpConfig;
use super::super::pattern::Pattern;
use super::super::proxy::{ProxyConfig, ProxyVersion};
use super::*;
use crate::model::{Community, ExtendedCommunity, LargeCommunity, Origin, Recipients, Weight};

fn second(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn millisecond(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

prop_compose! {
    fn certificates()(
        verify in 0u8..3, ca in any::<bool>(), expires_within in second(0..=315_576_000), client in any::<bool>(),
    ) -> CertificateConfig {
        let verify = [Verify::Warn, Verify::Require, Verify::Off][usize::from(verify)];
        let ca_file = (ca && verify != Verify::Off).then(|| "ca/ü.pem".into());
        let client_certificate = client.then(|| "client/ü.pem".into());
        let client_key = client.then(|| "client/ü.key".into());
        CertificateConfig { verify, ca_file, expires_within, client_certificate, client_key }
    }
}

/// The defaults, which a check without TLS has.
fn unused_certificate() -> CertificateConfig {
    CertificateConfig {
        verify: Verify::Warn,
        ca_file: None,
        expires_within: Duration::from_secs(14 * 86_400),
        client_certificate: None,
        client_key: None,
    }
}

prop_compose! {
    fn https()(
        path in "[a-z0-9/?&='\\\\\"%ü.-]{0,12}", port in option::of(1u16..), tls in any::<bool>(), certificate in certificates(),
        version in 0u8..3, method in prop_oneof!["[A-Z]{1,7}", Just("GET".to_owned())], body in option::of(".{0,9}"), max_body in 1u32..=16_777_216,
        headers in proptest::collection::vec(("[a-z][a-z0-9-]{0,9}", "([!-~]([ -~]{0,9}[!-~])?)?"), 0..3),
        statuses in proptest::collection::vec((200u16..=599, 0u16..100), 1..4),
        (pattern, fields, json) in (
            option::of("[a-z^$.|\\[\\]*]{0,4}"),
            proptest::collection::vec("[a-z][a-z0-9-]{0,9}", 0..3),
            proptest::collection::vec(("(/[a-z~=]{0,4}){0,2}", -9i32..9), 0..3),
        ), (digest, reuse) in any::<(([bool; 2], [u8; 32]), bool)>(),
    ) -> HttpConfig {
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let scheme = if tls { "https" } else { "http" };
        let taken = ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"];
        let ([given, long], octets) = digest;
        let method: http::Method = method.parse().unwrap();
        let bodiless = method == http::Method::HEAD;
        let reads = bodiless || [http::Method::GET, http::Method::OPTIONS].contains(&method);
        HttpConfig {
            url: Url::parse(&format!("{scheme}://www.example.com{port}/{path}")).unwrap().into(),
            version: [HttpVersion::Auto, HttpVersion::Http1, HttpVersion::Http2][usize::from(version)],
            method: if method == http::Method::CONNECT { http::Method::GET } else { method },
            headers: headers.into_iter().filter(|(name, _)| !taken.contains(&name.as_str()))
                .map(|(name, value)| kind_http::Field::new(name.parse().unwrap(), value.parse().unwrap(), None)).collect(),
            body: body.map(Into::into),
            expect_status: statuses.into_iter()
                .map(|(first, more)| Statuses { first, last: (first + more).min(599) }).collect(),
            expect_header: fields.into_iter().map(|name| ExpectedField {
                name: name.parse().unwrap(),
                value: pattern.as_ref().and_then(|text| parse_check(&format!("expect_body = '{text}'"))),
            }).collect(),
            expect_json: json.into_iter().filter(|_| !bodiless)
                .map(|(pointer, number)| ExpectedJson { pointer, value: number.into() }).collect(),
            expect_body: pattern.filter(|_| !bodiless)
                .and_then(|text| parse_check(&format!("expect_body = '{text}'"))),
            expect_digest: (given && !bodiless).then(|| {
                if long { Digest::Sha256(octets) } else { Digest::Sha1(octets[..20].try_into().unwrap()) }
            }),
            max_body,
            proxy: ProxyConfig { send_proxy: long.then_some(ProxyVersion::V2) },
            reuse: reuse && reads,
            // Without TLS the certificate has its defaults.
            certificate: if tls { certificate } else {
                unused_certificate()
            },
        }
    }
}

/// The pattern of a check with this line, if it is valid.
fn parse_check(line: &str) -> Option<Pattern> {
    let config = parse("x", &GOOD.replace("rise = 2", line)).ok()?;
    let ProbeConfig::Http(http) = &config.services[0].checks[0].probe else { return None };
    http.expect_body.clone()
}

fn tls() -> impl Strategy<Value = TlsConfig> {
    let hosts = prop_oneof![
        "[a-z][a-z0-9-]{0,6}[a-z](\\.[a-z]{1,3})?".prop_map(url::Host::Domain),
        any::<u32>().prop_map(|octets| url::Host::Ipv4(Ipv4Addr::from(octets))),
        any::<u128>().prop_map(|octets| url::Host::Ipv6(Ipv6Addr::from(octets))),
    ];
    (hosts, 1u16.., proptest::collection::vec("[!-~]{1,9}", 0..3), certificates()).prop_map(
        |(host, port, alpn, certificate)| TlsConfig {
            server: TlsServer { host, port },
            alpn,
            certificate,
            proxy: ProxyConfig { send_proxy: (port % 2 == 0).then_some(ProxyVersion::V1) },
        },
    )
}

fn tcp() -> impl Strategy<Value = TcpConfig> {
    let pattern = option::of("[a-z^$.|\\[\\]*]{0,4}");
    (1u16.., option::of(any::<String>()), pattern).prop_map(|(port, send, pattern)| {
        let send = send.map(Into::into);
        let expect = pattern.and_then(|text| parse_check(&format!("expect_body = '{text}'")));
        TcpConfig {
            port,
            talk: TalkConfig { send, expect },
            proxy: ProxyConfig { send_proxy: (port % 2 == 0).then_some(ProxyVersion::V2) },
        }
    })
}

fn udp() -> impl Strategy<Value = UdpConfig> {
    let hex = || option::of("([0-9a-f]{2}){1,9}");
    (tcp(), hex(), hex()).prop_filter_map("octets", |(TcpConfig { port, mut talk, .. }, send, expect)| {
        let lines = [("send_hex", &send), ("expect_hex", &expect)]
            .map(|(key, hex)| hex.as_ref().map_or_else(String::new, |hex| format!("{key} = \"{hex}\"\n")));
        let ProbeConfig::Udp(parsed) = a_kind(&format!("udp = 1\n{}", lines.concat()))? else { return None };
        talk.send = talk.send.filter(|_| send.is_none());
        Some(UdpConfig { port, talk, ..parsed })
    })
}

fn dns() -> impl Strategy<Value = DnsConfig> {
    let names = prop_oneof![Just(".".to_owned()), "[a-z_-]{1,9}(\\.[a-z0-9]{1,9}){0,3}\\.?"];
    let record_types = proptest::sample::select(RecordType::ALL.to_vec());
    let transports = prop_oneof![Just(DnsTransport::Udp), Just(DnsTransport::Tcp), Just(DnsTransport::Tls)];
    let server = option::of("[a-z]{1,9}\\.[a-z]{1,9}".prop_map(url::Host::Domain));
    let answers = proptest::collection::vec("[!-~]{1,9}", 0..3);
    (names, record_types, transports, option::of(1u16..), 0u16..11, answers, server, certificates())
        .prop_filter_map(
            "a name",
            |(name, record_type, transport, port, rcode, texts, server_name, certificate)| {
                let ProbeConfig::Dns(parsed) = a_kind(&format!("dns = \"{name}\""))? else { return None };
                let tls = transport == DnsTransport::Tls;
                let expect_answer = match record_type {
                    _ if rcode > 0 => Vec::new(),
                    RecordType::A => vec!["192.0.2.1".to_owned()],
                    RecordType::Aaaa => vec!["2001:db8::1".to_owned()],
                    RecordType::Caa
                    | RecordType::Cname
                    | RecordType::Https
                    | RecordType::Mx
                    | RecordType::Ns
                    | RecordType::Ptr
                    | RecordType::Soa
                    | RecordType::Srv
                    | RecordType::Svcb
                    | RecordType::Txt => texts,
                };
                Some(DnsConfig {
                    record_type,
                    transport,
                    port,
                    expect_rcode: Rcode::new(rcode),
                    expect_answer,
                    server_name: server_name.filter(|_| tls),
                    certificate: if tls { certificate } else { parsed.certificate },
                    ..parsed
                })
            },
        )
}

/// The kind of a check with these lines, if they are valid.
fn a_kind(lines: &str) -> Option<ProbeConfig> {
    let text = GOOD.replace("http = \"http://www.example.com/healthz\"", lines);
    Some(parse("x", &text).ok()?.services.remove(0).checks.remove(0).probe)
}

fn grpc() -> impl Strategy<Value = GrpcConfig> {
    (any::<bool>(), tls(), option::of("[!-~]{0,9}")).prop_map(|(secure, plain, service)| {
        let server = GrpcServer { tls: secure, host: plain.server.host, port: plain.server.port };
        let unused = unused_certificate();
        GrpcConfig {
            server,
            service,
            certificate: if secure { plain.certificate } else { unused },
            proxy: plain.proxy,
        }
    })
}

fn exec() -> impl Strategy<Value = ExecConfig> {
    let arguments = proptest::collection::vec("[^\\x00]{0,9}", 0..3);
    let user = option::of("[a-z_][a-z0-9_-]{0,6}");
    ("/[^\\x00]{0,9}", arguments, user, any::<bool>()).prop_map(|(program, mut command, user, nagios)| {
        command.insert(0, program);
        let exit_codes = if nagios { ExitCodes::Nagios } else { ExitCodes::Zero };
        ExecConfig { command: command.into_iter().map(Into::into).collect(), user, exit_codes }
    })
}

prop_compose! {
    fn checks()(
        probe in prop_oneof![
            https().prop_map(ProbeConfig::Http),
            tls().prop_map(ProbeConfig::Tls),
            tcp().prop_map(ProbeConfig::Tcp),
            exec().prop_map(ProbeConfig::Exec),
            dns().prop_map(ProbeConfig::Dns),
            grpc().prop_map(ProbeConfig::Grpc),
            (1u16.., option::of(millisecond(1..=3_600_000)), 1u8..=15).prop_map(|(port, max_offset, max_stratum)| {
                ProbeConfig::Ntp(NtpConfig { port, max_offset, max_stratum })
            }),
            udp().prop_map(ProbeConfig::Udp),
            (0u16..=8972).prop_map(|size| ProbeConfig::Icmp(IcmpConfig { size })),
            "/[^\\x00]{0,9}".prop_map(|path| ProbeConfig::File(FileConfig { path: path.into() })),
        ],
        target in option::of((any::<[bool; 3]>(), 1u16..)), interval in millisecond(50..=3_600_000),
        fast in 50u64..3_600_000,
        timeout in millisecond(1..=60_000), rise in 1u32..=100, fall in 1u32..=100,
        (on_failure, on_timeout) in (option::of(on_failure()), option::of(on_failure())),
        slow in option::of((1u64..60_000, any::<bool>())), start_period in millisecond(0..=3_600_000),
    ) -> CheckConfig {
        let streams = ["http", "tls", "tcp", "grpc"].contains(&probe.kind());
        let target = target.map(|([six, ported, is_socket], port)| {
            let ip: IpAddr = if six { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            match is_socket && streams {
                true => ProbeTarget::of_test(&format!("unix:/run/{port}.sock")),
                false => ProbeTarget::Address(TargetAddress { ip, port: ported.then_some(port) }),
            }
        });
        let without_port = probe.has_target_without_port();
        let has_target = probe.port().is_some() || without_port;
        let target = target.filter(|_| has_target);
        let target = target.map(|target| match target {
            ProbeTarget::Address(address) if without_port => {
                ProbeTarget::Address(TargetAddress { port: None, ..address })
            }
            ProbeTarget::Address(_) | ProbeTarget::Socket(_) => target,
        });
        let fast_interval = Duration::from_millis(fast).min(interval);
        let slow = slow.map(|(after, warns)| SlowLimit {
            after: Duration::from_millis(after),
            effect: if warns { OnSlow::Warn } else { OnSlow::Deprefer },
        });
        let slow = slow.filter(|slow| slow.after < timeout);
        let name = String::new();
        CheckConfig { name, probe, target, interval, fast_interval, timeout, rise, fall, start_period, on_failure, on_timeout, slow }
    }
}

fn on_failure() -> impl Strategy<Value = OnFailure> {
    prop_oneof![Just(OnFailure::Withdraw), Just(OnFailure::Deprefer), Just(OnFailure::Warn)]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)]
}

prop_compose! {
    fn attributes()(
        origin in origin(), med in option::of(any::<u32>()), local_pref in any::<u32>(), prepend in 0u8..=10,
        hops in (option::of(1u8..), option::of(1u16..)),
        communities in btree_set(any::<u32>().prop_map(Community), 0..4),
        extended_communities in btree_set(any::<[u8; 8]>().prop_map(ExtendedCommunity).prop_filter("it is the weight's", |one| !one.is_link_bandwidth()), 0..4),
        large_communities in btree_set(any::<[u32; 3]>().prop_map(LargeCommunity), 0..4),
    ) -> Attributes {
        Attributes {
            origin, med, local_pref: Some(local_pref), prepend,
            next_hop_v4: hops.0.map(|hop| Ipv4Addr::new(10, 3, 3, hop)),
            next_hop_v6: hops.1.map(|hop| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, hop)),
            communities, extended_communities, large_communities, recipients: Recipients::All, deprefer: None,
        }
    }
}

prop_compose! {
    fn deprefers()(all in attributes()) -> Deprefer {
        Deprefer { prepend: all.prepend, local_pref: all.local_pref, med: all.med, communities: all.communities }
    }
}

prop_compose! {
    fn overrides()(all in attributes(), given in any::<[bool; 9]>()) -> Overrides {
        let [origin, med, local_pref, prepend, v4, v6, communities, extended, large] = given;
        Overrides {
            origin: origin.then_some(all.origin),
            med: all.med.filter(|_| med),
            local_pref: all.local_pref.filter(|_| local_pref),
            prepend: prepend.then_some(all.prepend),
            next_hop_v4: all.next_hop_v4.filter(|_| v4),
            next_hop_v6: all.next_hop_v6.filter(|_| v6),
            communities: communities.then_some(all.communities),
            extended_communities: extended.then_some(all.extended_communities),
            large_communities: large.then_some(all.large_communities),
        }
    }
}

prop_compose! {
    fn peers()(
        asn in prop_oneof![
            (1u32..23456).prop_map(|asn| PeerAsn::Is(Asn::try_from(asn).unwrap())),
            Just(PeerAsn::External), Just(PeerAsn::Internal),
        ],
        hold in prop_oneof![Just(Duration::ZERO), second(3..=40000)], send_hold in second(40000..=86400),
        host in 1u8..=254, kind in 0u8..5, port in 1u16.., overrides in overrides(),
        families in proptest::sample::subsequence(vec![Family::V4, Family::V6], 1..=2),
        options in any::<[bool; 4]>(), capable in any::<bool>(), multihop in 1u8..,
        (least, tcp_mss) in (proptest::option::of(second(3..=3)), proptest::option::of(536u16..=32767)),
        os in proptest::option::of(proptest::sample::select(router_config::System::ALL.to_vec())),
        bfd in proptest::option::of((millisecond(10..=10_000), 1u8.., any::<bool>())),
    ) -> PeerConfig {
        let [bound, source, ttl_security, password] = options;
        let is_learnt = kind == 4;
        let address = match kind {
            0 => PeerAddress::DefaultGateway,
            4 => PeerAddress::RouterAdvertisement,
            1 => PeerAddress::Ip(Ipv4Addr::new(10, 0, 1, host).into()),
            2 => PeerAddress::Ip(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()).into()),
            _ => PeerAddress::Ip(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into()),
        };
        let own: IpAddr = match address {
            PeerAddress::RouterAdvertisement => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x555).into(),
            PeerAddress::Ip(IpAddr::V6(_)) => Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 5).into(),
            PeerAddress::Ip(IpAddr::V4(_)) | PeerAddress::DefaultGateway => Ipv4Addr::new(10, 9, 9, host).into(),
        };
        PeerConfig {
            name: "r".parse().unwrap(), address, port, asn, hold_time: hold, send_hold_time: send_hold,
            min_hold_time: least.filter(|least| *least <= hold), tcp_mss,
            capabilities: capable || is_learnt || families.contains(&Family::V6), families: families.into_iter().collect(),
            interface: (bound || kind >= 3).then(|| "eth0".into()), vrf: None, default_route: is_learnt && capable,
            source_address: source.then_some(own), multihop: if is_learnt { 1 } else { multihop }, ttl_security,
            password_file: password.then(|| "keys/r.key".into()), os,
            overrides,
            bfd: bfd.map(|(interval, multiplier, strict)| BfdConfig { interval, multiplier, strict }),
            hooks: source.then(|| HooksConfig { on_change: vec!["/bin/router".into()], on_drain: Vec::new(), timeout: hold.max(Duration::from_secs(1)).min(Duration::from_secs(60)) }),
        }
    }
}

prop_compose! {
    fn hooks()(arguments in proptest::collection::vec("[^\0]{0,8}", 0..3), drains in any::<bool>(), timeout in millisecond(100..=300_000)) -> HooksConfig {
        let on_change = std::iter::once("/bin/hook".to_owned()).chain(arguments).map(Into::into).collect();
        HooksConfig { on_change, on_drain: if drains { vec!["/bin/drained".into()] } else { Vec::new() }, timeout }
    }
}

fn flap_damping() -> impl Strategy<Value = FlapDamping> {
    prop_oneof![Just(FlapDamping::Off), Just(FlapDamping::Deprefer), Just(FlapDamping::Withhold)]
}

prop_compose! {
    fn drain()(prepare in millisecond(0..=3_600_000), deadline in millisecond(0..=86_400_000)) -> DrainConfig {
        DrainConfig { prepare, deadline }
    }
}

prop_compose! {
    fn chains()(
        members in 2u8..=32, six in any::<bool>(), heartbeat in millisecond(20..=1000), port in 1u16.., budget in 1u32..=1_000_000,
        vxlan in option::of(1u32..=16_777_215), forward in any::<bool>(),
    ) -> ChainConfig {
        let member = |n| if six { Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)).into() } else { Ipv4Addr::new(10, 9, 0, n).into() };
        ChainConfig {
            interface: "eth0".to_owned(), members: (1..=members).map(member).collect(), key_file: "/k/ü".into(),
            heartbeat, port, budget, vxlan, forward,
        }
    }
}

prop_compose! {
    fn dsrs()(count in 1u8..4) -> DsrConfig {
        DsrConfig { directors: (0..count).map(|n| Ipv4Addr::new(10, 8, 0, n + 1).into()).collect() }
    }
}

prop_compose! {
    fn metrics()(address in any::<IpAddr>(), port in 1u16.., hosts in proptest::collection::vec("[a-z]{1,8}", 0..3)) -> MetricsConfig {
        MetricsConfig { listen: SocketAddr::new(address, port), hosts }
    }
}

prop_compose! {
    fn status_pages()(address in any::<IpAddr>(), port in 1u16.., hosts in proptest::collection::vec("[a-z]{1,8}", 0..3)) -> StatusPageConfig {
        StatusPageConfig { listen: SocketAddr::new(address, port), hosts }
    }
}

prop_compose! {
    fn logs()(level in 0u8..3, json in any::<bool>()) -> LogConfig {
        let level = ["info", "debug", "warn,announcer::bgp=trace"][usize::from(level)].to_owned();
        LogConfig { level, format: if json { LogFormat::Json } else { LogFormat::Text } }
    }
}

prop_compose! {
    fn configs()(
        asn in 23457u32.., id in proptest::option::of(1u8..), settle in millisecond(0..=60_000), flaps in any::<bool>(), flap_damping in flap_damping(),
        mut peers in proptest::collection::vec(peers(), 1..4),
        services in proptest::collection::vec((
            "[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}", proptest::collection::vec(any::<bool>(), 1..5), any::<bool>(), attributes(),
            proptest::collection::vec(checks(), 1..3),
        ), 1..4), restart in option::of(second(1..=4095)), deprefer in deprefers(),
        on_failure in on_failure(), hooks in option::of(hooks()), metrics in option::of(metrics()), (drain, chain, dsr) in (option::of(drain()), option::of(chains()), option::of(dsrs())), status in option::of(status_pages()), log in logs(),
    ) -> Config {
        for (i, peer) in (0..).zip(&mut peers) {
            peer.name = format!("r{i}").parse().unwrap();
            peer.interface = peer.interface.take().map(|_| format!("eth{i}"));
            peer.address = match peer.address {
                PeerAddress::Ip(IpAddr::V4(v4)) => PeerAddress::Ip(Ipv4Addr::new(10, 0, 1 + i, v4.octets()[3]).into()),
                PeerAddress::Ip(IpAddr::V6(v6)) => {
                    let [head, tail] = [v6.segments()[0], v6.segments()[7]];
                    PeerAddress::Ip(Ipv6Addr::new(head, 0xdb8, 1 + u16::from(i), 0, 0, 0, 0, tail).into())
                }
                PeerAddress::RouterAdvertisement => PeerAddress::RouterAdvertisement,
                PeerAddress::DefaultGateway if i == 0 => PeerAddress::DefaultGateway,
                PeerAddress::DefaultGateway => PeerAddress::Ip(Ipv4Addr::new(10, 0, 1 + i, 99).into()),
            };
        }
        // Without `peers`, a service gets those of its VRF.
        let vrf = restart.filter(|_| chain.as_ref().is_none_or(|chain| !chain.forward)).map(|_| "edge".to_owned());
        for (i, peer) in peers.iter_mut().enumerate() {
            peer.vrf = vrf.clone().filter(|_| i == 0 || !flaps);
        }
        let recipients = if flaps { Recipients::Only(Arc::new([peers[0].name.clone()].into())) } else { Recipients::All };
        let services = (0..).zip(services).map(|(i, (name, vips, covered, attributes, checks))| ServiceConfig {
            name: format!("{name}{i}").parse().unwrap(),
            vips: (0..).zip(vips.clone()).map(|(j, six)| if six {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, i, j).into()
            } else {
                Ipv4Addr::new(192, 0, i.to_be_bytes()[1], j.to_be_bytes()[1]).into()
            }).collect(),
            prefixes: if covered { BTreeSet::from([if vips[0] {
                IpNet::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, i, 0).into(), 112).unwrap()
            } else {
                IpNet::new(Ipv4Addr::new(192, 0, i.to_be_bytes()[1], 0).into(), 24).unwrap()
            }]) } else { BTreeSet::new() },
            attributes, recipients: recipients.clone(), vrf: vrf.clone(), announce_delay: settle, flap_damping, listener_grace: settle / 6,
            require: if restart.is_some() { Require::All } else { Require::AtLeast(1) },
            ports: if flaps { [443, u16::from(covered) + 1].into() } else { BTreeSet::new() },
            min_announcers: chain.as_ref().filter(|_| flaps).map(|_| 2),
            on_failure, on_timeout: (!flaps).then_some(on_failure), backup: flaps, deprefer: deprefer.clone(), hooks: hooks.clone().filter(|_| covered), weight: Weight::new(i.to_be_bytes()[1] + 1).filter(|_| flaps), weight_file: covered.then(|| "/run/w".into()),
            checks: (0..).zip(checks).map(|(k, check)| CheckConfig { name: format!("c{k}"), ..check }).collect(),
        }).collect();
        let all_six = peers.iter().all(|peer| matches!(peer.address, PeerAddress::Ip(IpAddr::V6(_)) | PeerAddress::RouterAdvertisement));
        let router_id = id.or(all_six.then_some(1)).map(|id| RouterId::try_from(Ipv4Addr::new(10, 1, 1, id)).unwrap());
        Config { bgp: BgpConfig { asn: Asn::try_from(asn).unwrap(), router_id, settle, graceful_restart: restart }, peers, services, health: HealthConfig { listener_watch: (settle / 60).max(Duration::from_millis(1)).min(settle) }, hooks, status: status.filter(|page| metrics.as_ref().is_none_or(|metrics| metrics.listen != page.listen)), metrics, drain, chain, dsr, log }
    }
}

/// Checks that nothing panics, that an error result is never empty, and that each error has a valid place.
fn survives(text: &str) {
    if let Err(errors) = parse("x", text) {
        assert!(errors.len() > 0);
        let lines = text.split('\n').count();
        for error in errors.iter() {
            assert!(error.line <= lines && error.column >= 1);
            assert!(!error.message.is_empty() && !error.help.is_empty(), "{error:?}");
        }
        assert!(errors.to_string().starts_with("error: "));
        drop(errors.styled());
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_again(config in configs()) {
        let text = canonical(&config);
        match parse("x", &text) {
            Ok(again) => prop_assert_eq!(again, config),
            Err(errors) => prop_assert!(false, "{}", errors),
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_toml_panics(text in "([\\[\\]={}.,#\"'a-c0-9 \n\t\r\\\\ü]|bgp|peer|service|check|vips|asn|\\[\\[|\"\"\"){0,60}") {
        survives(&text);
    }

    #[test]
    fn no_change_of_a_good_file_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[\\[\\]={}.,\"' \n\r0-9a-zü\u{0}]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, length, put) in edits {
            if text.is_empty() { break }
            let at = at.index(text.len());
            text.splice(at..(at + length).min(text.len()), put.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }
}
