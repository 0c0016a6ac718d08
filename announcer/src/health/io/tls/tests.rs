//! Tests with servers whose certificates are good, wrong or missing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;

/// A certificate authority for these tests, with its certificate in a file.
pub(in crate::health::io) struct Authority {
    pub(in crate::health::io) issuer: CertifiedIssuer<'static, KeyPair>,
    pub(in crate::health::io) file: tempfile::NamedTempFile,
}

impl Authority {
    pub(in crate::health::io) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Authority { issuer, file }
    }

    pub(in crate::health::io) fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// A certificate for these names, from so many days ago until so many days ahead, and its key.
    pub(in crate::health::io) fn sign(&self, names: &[&str], days: (i64, i64)) -> ServerCertificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let day = |days: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            time_of(i64::try_from(now).unwrap() + days * 86_400)
        };
        (params.not_before, params.not_after) = (day(-days.0), day(days.1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ServerCertificate {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// Converts a date to the type of rcgen.
fn time_of(unix: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix).unwrap()
}

pub(in crate::health::io) struct ServerCertificate {
    pub(in crate::health::io) chain: Vec<CertificateDer<'static>>,
    pub(in crate::health::io) key: PrivateKeyDer<'static>,
}

impl ServerCertificate {
    /// The acceptor of a server with this identity.
    pub(in crate::health::io) fn acceptor(&self, alpn: &[&str], versions: Versions) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(alpn, versions)))
    }

    /// The same for a server that requires a certificate of this authority from its clients.
    pub(in crate::health::io) fn acceptor_for(
        &self,
        clients: &Authority,
        alpn: &[&str],
        versions: Versions,
    ) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(clients.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        TlsAcceptor::from(Arc::new(self.config_with(verifier, alpn, versions)))
    }

    /// The certificate and the key in PEM.
    pub(in crate::health::io) fn pem(&self) -> (String, String) {
        (pem_of(&self.chain[0]), labelled_pem("PRIVATE KEY", self.key.secret_der()))
    }

    pub(in crate::health::io) fn config(&self, alpn: &[&str], versions: Versions) -> ServerConfig {
        self.config_with(WebPkiClientVerifier::no_client_auth(), alpn, versions)
    }

    fn config_with(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        alpn: &[&str],
        versions: Versions,
    ) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

pub(in crate::health::io) type Versions = &'static [&'static rustls::SupportedProtocolVersion];

pub(in crate::health::io) const EACH: Versions = rustls::ALL_VERSIONS;
pub(in crate::health::io) static OLD: Versions = &[&rustls::version::TLS12];

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 21));

/// A server that makes the handshake and waits until the client has disconnected; returns its port, and the names that clients
/// requested.
async fn server(acceptor: TlsAcceptor) -> (u16, tokio::sync::mpsc::UnboundedReceiver<Option<String>>) {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, text) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = tell.send(stream.get_ref().1.server_name().map(str::to_owned));
                    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
                }
            });
        }
    });
    (port, text)
}

async fn probe(port: u16, name: &str, lines: &str) -> Outcome {
    probe_within(LONG_TIMEOUT, port, name, lines).await
}

async fn probe_within(timeout: Duration, port: u16, name: &str, lines: &str) -> Outcome {
    let check = a_check(&format!("tls = \"{name}:{port}\"\n{lines}"));
    let target = Target::of_test(VIP, check, timeout);
    let ProbeConfig::Tls(tls) = &target.config.probe else { panic!("no tls") };
    TlsProbe::of(&Prober::new(Files::new()), &target, tls).probe().await
}

/// No probe with this limit should reach it. A probe waits half of its limit for the trusted certificates, and passes without them
/// if they are not read by then; a machine that is busy with other tests may need more than a second.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The outcome without its time.
pub(in crate::health::io) fn text_of(outcome: &Outcome) -> String {
    let said = match outcome {
        Outcome::Pass { answer, warning: None, .. } => format!("pass: {answer}"),
        Outcome::Pass { answer, warning: Some(warning), .. } => format!("pass: {answer}, but {warning}"),
        Outcome::Fail { reason, .. } => format!("fail: {reason}"),
        Outcome::Skipped(shortage) => format!("skipped: {shortage}"),
    };
    // Dates are relative to today.
    let dates = match outcome {
        Outcome::Pass {
            warning: Some(kind::Warning::Handshake(Warning::Expires(at) | Warning::ClientExpires(at))),
            ..
        }
        | Outcome::Pass {
            warning:
                Some(kind::Warning::Handshake(Warning::Certificate(Flaw::Expired(at) | Flaw::NotYetValid(at)))),
            ..
        }
        | Outcome::Fail {
            reason:
                Reason::Kind(kind::Failure::Handshake(Failure::Certificate(
                    Flaw::Expired(at) | Flaw::NotYetValid(at),
                ))),
            ..
        } => at.to_string(),
        Outcome::Pass { .. } | Outcome::Fail { .. } | Outcome::Skipped(_) => return said,
    };
    said.replace(&dates, "DATE")
}

#[tokio::test]
async fn a_certificate_is_judged_as_the_check_says() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let name = "www.example.com";
    let good = ours.sign(&[name, "127.0.0.21"], (1, 90));
    let cases: &[(&ServerCertificate, &str, &str)] = &[
        // The flaw as a warning, and as a failure.
        (&good, "pass: TLS 1.3", "pass: TLS 1.3"),
        (
            &ours.sign(&["other.example.com"], (1, 90)),
            "pass: TLS 1.3, but the certificate is not for `www.example.com`",
            "fail: the certificate is not for `www.example.com`",
        ),
        (
            &ours.sign(&[name], (30, -1)),
            "pass: TLS 1.3, but the certificate ended on DATE",
            "fail: the certificate ended on DATE",
        ),
        (
            &ours.sign(&[name], (-2, 90)),
            "pass: TLS 1.3, but the certificate is not valid before DATE",
            "fail: the certificate is not valid before DATE",
        ),
        (
            &theirs.sign(&[name], (1, 90)),
            "pass: TLS 1.3, but the certificate's chain does not end at a trusted certificate",
            "fail: the certificate's chain does not end at a trusted certificate",
        ),
        (
            &ours.sign(&[name], (1, 13)),
            "pass: TLS 1.3, but the certificate ends on DATE",
            "pass: TLS 1.3, but the certificate ends on DATE",
        ),
    ];
    for (identity, warned, required) in cases {
        let (port, _seen) = server(identity.acceptor(&[], EACH)).await;
        let ca = format!("ca_file = \"{}\"\n", ours.path());
        assert_eq!(text_of(&probe(port, name, &ca).await), *warned);
        assert_eq!(text_of(&probe(port, name, &format!("{ca}verify = \"require\"")).await), *required);
        let off = probe(port, name, "verify = \"off\"\ncert_expires_within = \"0s\"").await;
        assert_eq!(text_of(&off), "pass: TLS 1.3");
    }
    let (port, _seen) = server(ours.sign(&[name], (30, -1)).acceptor(&[], EACH)).await;
    let outcome = probe(port, name, "verify = \"off\"").await;
    assert_eq!(text_of(&outcome), "pass: TLS 1.3, but the certificate ends on DATE");
}

#[tokio::test]
async fn the_name_is_sent_and_an_address_is_not() {
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com", "192.0.2.80"], (1, 90));
    let (port, mut seen) = server(identity.acceptor(&[], EACH)).await;
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", ours.path());
    for (name, sni) in [("www.example.com", Some("www.example.com".to_owned())), ("192.0.2.80", None)] {
        assert_eq!(text_of(&probe(port, name, &lines).await), "pass: TLS 1.3");
        assert_eq!(seen.recv().await.unwrap(), sni);
    }
    // This failure is not about the certificate.
    assert_eq!(
        text_of(&probe(port, "[2001:db8::80]", &lines).await),
        "fail: the certificate is not for `2001:db8::80`"
    );
}

#[tokio::test]
async fn each_version_and_protocol_is_said() {
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com"], (1, 90));
    let lines = format!("ca_file = \"{}\"\n", ours.path());
    let offer = format!("{lines}alpn = [\"h2\", \"http/1.1\"]");
    let none = "fail: the server chose none of the offered protocols";
    for (alpn, versions, lines, want) in [
        (&[][..], OLD, &lines, "pass: TLS 1.2"),
        (&["h2"], EACH, &offer, "pass: TLS 1.3"),
        (&[], EACH, &offer, none),
        (&["smtp"], EACH, &offer, none),
    ] {
        let (port, _seen) = server(identity.acceptor(alpn, versions)).await;
        assert_eq!(text_of(&probe(port, "www.example.com", lines).await), want);
    }
}

#[tokio::test]
async fn what_is_no_tls_has_its_reason() {
    use tokio::io::AsyncReadExt;
    for (says, want) in [
        (Some("HTTP/1.1 400 Bad Request\r\n\r\n"), "fail: answer is not TLS"),
        (Some(""), "fail: connection closed without an answer"),
        (None, "fail: no TLS within 1000 ms"),
        // An alert: handshake failure.
        (
            Some("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}"),
            "fail: TLS failed: the server sent the alert handshake_failure: it has no version, cipher or signature in common \
             with announcer, or it requires a client certificate: write `client_certificate`",
        ),
    ] {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            match says {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => tokio::time::sleep(TIMEOUT * 2).await,
            }
        });
        let outcome = probe_within(TIMEOUT, port, "www.example.com", "").await;
        assert_eq!(text_of(&outcome), want);
    }
    let nobody = TcpListener::bind((VIP, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(text_of(&probe(nobody, "www.example.com", "").await), "fail: connection refused");
}

#[tokio::test]
async fn each_handshake_shows_a_certificate_also_when_it_could_be_resumed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for versions in [EACH, OLD] {
        let (port, _seen) = server(theirs.sign(&["www.example.com"], (1, 90)).acceptor(&[], versions)).await;
        let check = a_check(&format!("tls = \"www.example.com:{port}\"\nca_file = \"{}\"", ours.path()));
        let target = Target::of_test(VIP, check, TIMEOUT);
        let ProbeConfig::Tls(tls) = &target.config.probe else { panic!("no tls") };
        let tls = TlsProbe::of(&Prober::new(Files::new()), &target, tls);
        for _ in 0..3 {
            let outcome = tls.probe().await;
            assert!(matches!(outcome, Outcome::Pass { warning: Some(_), .. }), "{outcome}");
        }
    }
}

#[tokio::test]
async fn a_fixed_target_is_asked_in_place_of_the_vip() {
    let ours = Authority::new();
    let (port, _seen) = server(ours.sign(&["www.example.com"], (1, 90)).acceptor(&[], EACH)).await;
    let missing: IpAddr = "192.0.2.80".parse().unwrap();
    for (target, asked) in [(SocketAddr::new(VIP, port).to_string(), 1), (VIP.to_string(), port)] {
        let check = a_check(&format!(
            "tls = \"www.example.com:{asked}\"\ntarget = \"{target}\"\nca_file = \"{}\"",
            ours.path()
        ));
        let outcome = {
            let target = crate::health::Target {
                service: "www".parse().unwrap(),
                vip: missing,
                check: 0,
                config: check,
                vrf: None,
            };
            let prober = crate::health::io::prober::Prober::new(Files::new());
            crate::health::io::probe::once(&prober, &target).await
        };
        assert_eq!(text_of(&outcome), "pass: TLS 1.3");
    }
}

/// A certificate of X.509 version 1, made by `openssl req -new` and `openssl x509 -req -signkey`.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBMTCB1wIUSaV6GgL2nPIpbINHMwcpSKg3sbcwCgYIKoZIzj0EAwIwGjEYMBYG\n\
A1UEAwwPd3d3LmV4YW1wbGUuY29tMCAXDTI2MTEyNjE0MDYxMloYDzIxMjYxMTAy\n\
MTQwNjEyWjAaMRgwFgYDVQQDDA93d3cuZXhhbXBsZS5jb20wWTATBgcqhkjOPQIB\n\
BggqhkjOPQMBBwNCAATKDHgBwvjwofhKGSlruLus3AD3/P/q9uVR3i6/qkhoZiXG\n\
M6zAALJnvnXD4NEuAUML7RrNfZB3uNsHchAmoNTPMAoGCCqGSM49BAMCA0kAMEYC\n\
IQDBN5tAPAKKCR2+SKOv8uiOYc39kZdJk3MqLwkugbeaOAIhAPlXpRVHMVijmbtu\n\
UBfVkIFiimwYhsSoz+aiojKaSB2C\n\
-----END CERTIFICATE-----\n\
";
const ITS_KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJ55sRNturE3PWgQa\n\
tpObbYJ0RP3laIvv5P13j5gLtCahRANCAATKDHgBwvjwofhKGSlruLus3AD3/P/q\n\
9uVR3i6/qkhoZiXGM6zAALJnvnXD4NEuAUML7RrNfZB3uNsHchAmoNTP\n\
-----END PRIVATE KEY-----\n\
";

/// A server that sends this certificate, and signs with the key of [`OF_VERSION_1`].
async fn shows(certificate: CertificateDer<'static>, versions: Versions) -> u16 {
    use rustls::pki_types::pem::PemObject;
    let key = PrivateKeyDer::from_pem_slice(ITS_KEY.as_bytes()).unwrap();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let shown = Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    server(TlsAcceptor::from(Arc::new(config))).await.0
}

// H2: with `off` and `warn`, no flaw of a certificate makes a probe fail.
#[tokio::test]
async fn a_certificate_that_the_library_cannot_read_fails_a_probe_with_require_alone() {
    use rustls::pki_types::pem::PemObject;
    let version_1 = CertificateDer::from_pem_slice(OF_VERSION_1.as_bytes()).unwrap();
    let ours = Authority::new();
    let of_another_key = ours.sign(&["www.example.com"], (1, 90)).chain.remove(0);
    let old = "the certificate is not valid: it is not of X.509 version 3";
    let garbage = "the certificate is not valid: it, or one above it, is malformed";
    let unproven =
        "the certificate is not valid: the server did not prove that it has the key of its certificate";
    for versions in [EACH, OLD] {
        for (certificate, wrong) in [
            (version_1.clone(), old),
            (CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]), garbage),
            (CertificateDer::from(b"no certificate".to_vec()), garbage),
            (of_another_key.clone(), unproven),
        ] {
            let port = shows(certificate, versions).await;
            let ca = format!("ca_file = \"{}\"\n", ours.path());
            let off = text_of(&probe(port, "www.example.com", "verify = \"off\"").await);
            assert!(off == "pass: TLS 1.3" || off == "pass: TLS 1.2", "{off}");
            let warned = text_of(&probe(port, "www.example.com", &ca).await);
            assert!(
                warned.starts_with("pass: TLS 1.") && warned.contains(&format!(", but {wrong}")),
                "{warned}"
            );
            let required =
                text_of(&probe(port, "www.example.com", &format!("{ca}verify = \"require\"")).await);
            assert!(required.starts_with(&format!("fail: {wrong}")), "{required}");
        }
    }
}

// H13: a certificate in `ca_file` is trusted, whether it may sign or not.
#[tokio::test]
async fn a_certificate_that_is_in_the_ca_file_itself_is_trusted() {
    let (name, file) = ("www.example.com", tempfile::NamedTempFile::new().unwrap());
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", file.path().display());
    let self_signed = |is_ca, (before, after): (i64, i64)| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let day = |days: i64| time_of(i64::try_from(now).unwrap() + days * 86_400);
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.is_ca, params.not_before, params.not_after) = (is_ca, day(-before), day(after));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        (ServerCertificate { chain: vec![certificate.der().clone()], key }, certificate.pem())
    };
    let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
    let (of_authority, pem) = self_signed(authority(), (1, 90));
    let (bare, bare_pem) = self_signed(IsCa::NoCa, (1, 90));
    let (ended, ended_pem) = self_signed(authority(), (30, -1));
    let signed = Authority::new().sign(&[name], (1, 90));
    let signed_pem = pem_of(&signed.chain[0]);
    for (identity, pem, asked, want) in [
        (&of_authority, &pem, name, "pass: TLS 1.3"),
        (&of_authority, &pem, "other.example.com", "fail: the certificate is not for `other.example.com`"),
        (&bare, &bare_pem, name, "pass: TLS 1.3"),
        (&signed, &signed_pem, name, "pass: TLS 1.3"),
        (&ended, &ended_pem, name, "fail: the certificate ended on DATE"),
        (&bare, &pem, name, "fail: the certificate's chain does not end at a trusted certificate"),
    ] {
        std::fs::write(file.path(), pem).unwrap();
        let (port, _seen) = server(identity.acceptor(&[], EACH)).await;
        assert_eq!(text_of(&probe(port, asked, &lines).await), want);
    }
    // If it is not in the file, the message says what is wrong with it (W13).
    std::fs::write(file.path(), &bare_pem).unwrap();
    let (port, _seen) = server(of_authority.acceptor(&[], EACH)).await;
    let text = text_of(&probe(port, name, &lines).await);
    assert!(
        text.starts_with(
            "fail: the certificate is not valid: it is the certificate of an authority (CA:TRUE)"
        ),
        "{text}"
    );
}

/// A certificate in PEM.
fn pem_of(der: &[u8]) -> String {
    labelled_pem("CERTIFICATE", der)
}

/// PEM with a label (RFC 7468).
fn labelled_pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let octets = [three[0], *three.get(1).unwrap_or(&0), *three.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, octets[0], octets[1], octets[2]]);
        for digit in 0..4 {
            let at = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[at as usize]) } else { '=' });
        }
    }
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
