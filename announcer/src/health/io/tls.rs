//! TLS to a server: the handshake and what becomes of its certificate, and the kind `tls`, which is no more than that.
//!
//! Touches the network. The handshake proves that the server has the key of its certificate; what is wrong with the
//! certificate is found by [`trust`](super::trust), within the handshake, and ends it or not, as the check says. What was
//! found is of one probe: it stands beside the task that polls it, and [`watched`] hands it over. No session is resumed, so
//! that each handshake shows a certificate (RFC 8446).

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion};
use rustls::{RootCertStore, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::connect::connect;
use super::trouble::{self, Passed, Trouble, errno_of, find, innermost};
use super::trust::Judge;
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::certificate::{Certificate, Verify};
use crate::health::Target;
use crate::health::outcome::{Answer, Flaw, Outcome, Reason, Shown, TlsVersion, Waiting, Warning};

#[cfg(test)]
pub(super) mod tests;

/// A probe that shakes hands and leaves.
#[derive(Debug)]
pub struct Tls {
    endpoint: Endpoint,
    /// Why it cannot be sent, if so: then each probe fails with that.
    handshake: Result<Handshake, Reason>,
    timeout: Duration,
}

impl Tls {
    /// A probe of `tls` at a target.
    pub fn of(target: &Target, tls: &kind::tls::Tls) -> Self {
        let host = &tls.server.host;
        let endpoint = target.endpoint(tls.server.port, Some(host.clone()));
        let offered = tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        let handshake = Handshake::new(host, offered, &tls.certificate);
        Tls { endpoint, handshake, timeout: target.config.timeout }
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
        let tcp = connect(&self.endpoint).await?;
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
struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection that can be spoken over.
struct Shaken {
    stream: TlsStream<TcpStream>,
    /// What was found and does not count.
    warning: Option<Warning>,
    /// What was agreed.
    version: TlsVersion,
}

impl Handshake {
    /// See [`config`].
    fn new(host: &Host, offered: Vec<Vec<u8>>, certificate: &Certificate) -> Result<Self, Reason> {
        let (config, name) = config(host, offered, certificate)?;
        Ok(Handshake { config: Arc::new(config), name })
    }

    /// Whether protocols are offered.
    fn offers(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }

    async fn shake(&self, tcp: TcpStream) -> Result<Shaken, Trouble> {
        let connector = TlsConnector::from(self.config.clone());
        let (end, seen) = watched(connector.connect(self.name.clone(), tcp)).await;
        let stream = match end {
            Ok(stream) => stream,
            Err(error) => return Err(failed(&error, seen)),
        };
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            Some(_) | None => TlsVersion::V1_2,
        };
        Ok(Shaken { stream, warning: seen.warning, version })
    }
}

/// How to shake hands with the server of that name, which certificates have to have; `offered` are protocols for ALPN.
///
/// # Errors
///
/// The name is one that no certificate can have.
pub(super) fn config(
    host: &Host<impl AsRef<str>>,
    offered: Vec<Vec<u8>>,
    certificate: &Certificate,
) -> Result<(ClientConfig, ServerName<'static>), Reason> {
    let name = match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            ServerName::try_from(name.to_owned()).map_err(|_| {
                Reason::Tls(Shown::new(&format!("`{name}` is no name that a certificate can have")))
            })?
        }
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
    };
    let mut config = without_trust()?;
    config.alpn_protocols = offered;
    let provider = config.crypto_provider().clone();
    let judge = Judge::new(name.clone(), certificate);
    config.dangerous().set_certificate_verifier(Arc::new(Verifier { provider, judge }));
    Ok((config, name))
}

/// Shakes hands with nobody: for a client that speaks no TLS. It shares with all others what can be shared.
///
/// # Errors
///
/// The library has no TLS.
pub(super) fn without_trust() -> Result<ClientConfig, Reason> {
    BASE.clone().map_err(|why| Reason::Tls(Shown::new(&why)))
}

static BASE: LazyLock<Result<ClientConfig, String>> = LazyLock::new(|| {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
});

/// What the handshake of one probe has come to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// It has begun: there is a connection.
    pub(super) begun: bool,
    /// What was found and does not count.
    pub(super) warning: Option<Warning>,
    /// What was found and ended it.
    flaw: Option<Flaw>,
}

tokio::task_local! {
    /// Of the probe that is being polled.
    static SEEN: RefCell<Seen>;
}

/// Does a work of which one handshake is a part, and tells what that came to.
pub(super) async fn watched<T>(work: impl Future<Output = T>) -> (T, Seen) {
    let work = async {
        let done = work.await;
        (done, SEEN.with(RefCell::take))
    };
    SEEN.scope(RefCell::default(), work).await
}

/// What an error means that came in a handshake.
pub(super) fn failed(error: &(dyn Error + 'static), seen: Seen) -> Trouble {
    if let Some(flaw) = seen.flaw {
        return Trouble::Fail(Reason::Certificate(flaw));
    }
    if let Some(trouble) = errno_of(error) {
        return trouble;
    }
    if trouble::of_kind(error, io::ErrorKind::UnexpectedEof) {
        return Trouble::Fail(Reason::Closed);
    }
    // The library may come to know more errors: the rest is in its words.
    #[allow(clippy::wildcard_enum_match_arm)]
    Trouble::Fail(match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidMessage(_)) => Reason::NotTls,
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => Reason::NoProtocol,
        Some(rustls::Error::InvalidCertificate(error)) => {
            Reason::Certificate(Flaw::Other(Shown::new(&error.to_string())))
        }
        Some(other) => Reason::Tls(Shown::new(&other.to_string())),
        None => Reason::Tls(Shown::new(&innermost(error))),
    })
}

/// Judges the certificates of one server.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    judge: Judge,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let found = self.judge.judge(&chain);
        let (flaw, warning) = match (found.flaw, self.judge.verify()) {
            (Some(flaw), Verify::Require) => (Some(flaw), None),
            (Some(flaw), Verify::Warn) => (None, Some(Warning::Certificate(flaw))),
            (Some(_), Verify::Off) | (None, _) => (None, found.ends.map(Warning::Expires)),
        };
        let good = flaw.is_none();
        // Nobody would hear of a warning where no probe is polled.
        let told = SEEN.try_with(|seen| {
            let mut seen = seen.borrow_mut();
            (seen.flaw, seen.warning) = (flaw, warning);
        });
        match told {
            Ok(()) if good => Ok(ServerCertVerified::assertion()),
            Ok(()) | Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    /// Asked for whenever a handshake begins, to say it in the first message.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let _ = SEEN.try_with(|seen| seen.borrow_mut().begun = true);
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
