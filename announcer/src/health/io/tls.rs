//! TLS to a server: the handshake and what becomes of its certificate, and the kind `tls`, which is no more than that.
//!
//! Touches the network. The handshake itself takes any certificate and proves that the server has its key; what is wrong
//! with the certificate is found by [`trust`](super::trust) and counts as the check says. No session is resumed, so that each
//! handshake shows one (RFC 8446).

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::connect::Route;
use super::trouble::{self, Passed, Trouble, of_kernel};
use super::trust::Judge;
use crate::config::check::{self, Certificate, Place, Verify};
use crate::health::outcome::{Answer, Flaw, Outcome, Reason, Shown, TlsVersion, Waiting, Warning};

#[cfg(test)]
pub(super) mod tests;

/// A probe that shakes hands and leaves.
#[derive(Debug)]
pub struct Tls {
    route: Route,
    /// Why it cannot be sent, if so: then each probe fails with that.
    handshake: Result<Handshake, Reason>,
    timeout: Duration,
}

impl Tls {
    /// A probe of `tls` at `vip`, or at `target`; `timeout` is for a whole probe.
    pub fn new(vip: IpAddr, tls: &check::Tls, target: Option<Place>, timeout: Duration) -> Self {
        let route = Route::new(vip, target, tls.port);
        let offered = tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        Tls { route, handshake: Handshake::new(&tls.host, offered, &tls.certificate), timeout }
    }

    /// Asks once. Dropped, it lets go of its connection.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let mut waiting = Waiting::Connection;
        let end = tokio::time::timeout(self.timeout, self.ask(&mut waiting)).await;
        trouble::outcome(end, waiting, self.timeout, start.elapsed())
    }

    async fn ask(&self, waiting: &mut Waiting) -> Result<Passed, Trouble> {
        let handshake = self.handshake.as_ref().map_err(|reason| Trouble::Fail(reason.clone()))?;
        let tcp = self.route.connect().await?;
        *waiting = Waiting::Handshake;
        let Shaken { mut stream, warning, version } = handshake.shake(tcp).await?;
        if handshake.offers() && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(Trouble::Fail(Reason::NoProtocol));
        }
        let _ = stream.shutdown().await; // a farewell: the server may be gone
        Ok(Passed { answer: Answer::Tls(version), warning })
    }
}

/// All that a handshake with one server needs, ready to be done again and again.
#[derive(Debug)]
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    judge: Judge,
}

/// A connection that can be spoken over.
#[derive(Debug)]
pub(super) struct Shaken {
    /// The connection.
    pub(super) stream: TlsStream<TcpStream>,
    /// What was found and does not count.
    pub(super) warning: Option<Warning>,
    /// What was agreed.
    pub(super) version: TlsVersion,
}

impl Handshake {
    /// With the server of that name; `offered` are protocols for ALPN.
    ///
    /// # Errors
    ///
    /// The name is one that no certificate can have.
    pub(super) fn new(host: &Host, offered: Vec<Vec<u8>>, certificate: &Certificate) -> Result<Self, Reason> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
                Reason::Tls(Shown::new(&format!("`{name}` is no name that a certificate can have")))
            })?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
        };
        let base = BASE.as_ref().map_err(|why| Reason::Tls(Shown::new(why)))?;
        let mut config = base.clone();
        config.alpn_protocols = offered;
        Ok(Handshake { config: Arc::new(config), judge: Judge::new(name.clone(), certificate), name })
    }

    /// Whether protocols are offered.
    pub(super) fn offers(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// There was no handshake, or the certificate counts and is not good.
    pub(super) async fn shake(&self, tcp: TcpStream) -> Result<Shaken, Trouble> {
        let connector = TlsConnector::from(self.config.clone());
        let stream = connector.connect(self.name.clone(), tcp).await.map_err(|error| failed(&error))?;
        let session = stream.get_ref().1;
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            Some(_) | None => TlsVersion::V1_2,
        };
        let found = self.judge.judge(session.peer_certificates().unwrap_or_default());
        let warning = match (found.flaw, self.judge.verify()) {
            (Some(flaw), Verify::Require) => return Err(Trouble::Fail(Reason::Certificate(flaw))),
            (Some(flaw), Verify::Warn) => Some(Warning::Certificate(flaw)),
            (Some(_), Verify::Off) | (None, _) => found.ends.map(Warning::Expires),
        };
        Ok(Shaken { stream, warning, version })
    }
}

/// What an error means that came in a handshake.
fn failed(error: &io::Error) -> Trouble {
    if let Some(trouble) = of_kernel(error) {
        return trouble;
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Trouble::Fail(Reason::Closed);
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    // The library may come to know more errors: the rest is in its words.
    #[allow(clippy::wildcard_enum_match_arm)]
    Trouble::Fail(match tls {
        Some(rustls::Error::InvalidMessage(_)) => Reason::NotTls,
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => Reason::NoProtocol,
        Some(rustls::Error::InvalidCertificate(error)) => {
            Reason::Certificate(Flaw::Other(Shown::new(&error.to_string())))
        }
        Some(other) => Reason::Tls(Shown::new(&other.to_string())),
        None => Reason::Tls(Shown::new(&error.to_string())),
    })
}

/// What all handshakes have in common, made once.
static BASE: LazyLock<Result<ClientConfig, String>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
});

/// Takes any certificate whose key the server proves to have: others judge it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
