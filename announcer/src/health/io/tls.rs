//! TLS to a server: the handshake with the check of the certificate, and the probe of the kind `tls`, which makes only a handshake.
//!
//! Touches the network. The handshake proves that the server has the key of its certificate; [`trust`](super::trust) checks the
//! certificate during the handshake, and a flaw ends the handshake only if the check says so. If flaws of the certificate do not
//! count (`verify` is off or warn), a signature that cannot be checked with it does not count either: the library does not support
//! version 1 of X.509 and some kinds of keys. The findings belong to one probe: they are stored in a task-local value, and
//! [`watched`] returns them; so are those about our own certificate, if the server asks for one. No session is resumed, so that each handshake has a certificate (RFC 8446).

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion};
use rustls::{RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::connect::{connect, probe_error};
use super::identity::ClientAuth;
use super::prober::Prober;
use super::result::{self, ProbeError, ProbeSuccess, errno_of, find};
use super::stream::ProbeStream;
use super::trust::{CertificateFindings, Judge, TrustStore};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::certificate::{CertificateConfig, Flaw, Verify};
use crate::config::kind::handshake::{Failure, Warning};
use crate::config::kind::tls::Answer;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason, TimeoutPhase};
use crate::model::text::PrintableText;
use crate::time_limit::io::within;

mod sentences;
#[cfg(test)]
pub(super) mod tests;

/// A probe that makes a handshake and disconnects.
#[derive(Debug)]
pub struct TlsProbe {
    endpoint: Endpoint,
    /// The prepared handshake, or the reason why there is none; then each probe fails with that reason.
    handshake: Result<Handshake, Failure>,
    timeout: Duration,
}

impl TlsProbe {
    /// A probe of `tls` at a target.
    pub fn of(prober: &Prober, target: &Target, tls: &kind::tls::TlsConfig) -> Self {
        let (host, timeout) = (&tls.server.host, target.config.timeout);
        let endpoint = target.endpoint(tls.server.port, Some(host.clone()));
        let offered = tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        let handshake = Handshake::new(host, offered, &tls.certificate, prober.trust(), timeout);
        TlsProbe { endpoint, handshake, timeout }
    }

    /// Makes one probe. If the future is dropped, the connection is closed.
    pub async fn probe(&self) -> Outcome {
        if let Ok(handshake) = &self.handshake {
            handshake.prepare().await;
        }
        let start = Instant::now();
        let mut waiting = TimeoutPhase::Connection;
        let end = within(self.timeout, self.ask(&mut waiting)).await;
        result::outcome(end, waiting, self.timeout, start.elapsed())
    }

    async fn ask(&self, waiting: &mut TimeoutPhase) -> Result<ProbeSuccess, ProbeError> {
        let handshake = self.handshake.as_ref().map_err(|failure| ProbeError::of(failure.clone()))?;
        let TlsConnection { mut stream, warning, version, asked_us } =
            handshake.open(&self.endpoint, waiting).await?;
        if handshake.offers() && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(ProbeError::of(Failure::NoProtocol));
        }
        let _ = stream.shutdown().await; // the server may have closed the connection already
        if asked_us && let Some(refusal) = refusal(&mut stream, self.timeout / 4).await {
            return Err(ProbeError::of(refusal));
        }
        Ok(ProbeSuccess { answer: version.into(), warning: warning.map(Into::into) })
    }
}

/// A prepared handshake with one server, which can be repeated.
#[derive(Debug)]
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    judge: Arc<Judge>,
}

/// A connection after its handshake.
pub(super) struct TlsConnection {
    pub(super) stream: TlsStream<ProbeStream>,
    /// A flaw that does not make the probe fail.
    pub(super) warning: Option<Warning>,
    /// The version of TLS.
    version: Answer,
    /// Whether the server has asked for a certificate of the client.
    asked_us: bool,
}

/// A handshake that failed.
struct HandshakeError {
    trouble: ProbeError,
    /// Whether the next handshake may succeed, because the trusted certificates have changed.
    again: bool,
}

impl From<ProbeError> for HandshakeError {
    fn from(trouble: ProbeError) -> Self {
        HandshakeError { trouble, again: false }
    }
}

impl Handshake {
    /// See [`config`].
    pub(super) fn new(
        host: &Host<impl AsRef<str>>,
        offered: Vec<Vec<u8>>,
        certificate: &CertificateConfig,
        store: &TrustStore,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let TlsClient { config, name, judge } = config(host, offered, certificate, store, timeout)?;
        Ok(Handshake { config: Arc::new(config), name, judge })
    }

    /// Reads the trusted certificates, unless that was done. This is not part of the time of a probe.
    pub(super) async fn prepare(&self) {
        self.judge.prepare().await;
    }

    /// Connects and makes the handshake; a second time if the trusted certificates have changed meanwhile.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        waiting: &mut TimeoutPhase,
    ) -> Result<TlsConnection, ProbeError> {
        let opened = match self.connect(endpoint, waiting).await {
            Err(HandshakeError { again: true, .. }) => self.connect(endpoint, waiting).await,
            end => end,
        };
        opened.map_err(|broken| broken.trouble)
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        waiting: &mut TimeoutPhase,
    ) -> Result<TlsConnection, HandshakeError> {
        *waiting = TimeoutPhase::Connection;
        let tcp = connect(endpoint).await?;
        *waiting = TimeoutPhase::Handshake;
        self.shake(tcp).await
    }

    /// Whether protocols are offered.
    fn offers(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }

    async fn shake(&self, tcp: ProbeStream) -> Result<TlsConnection, HandshakeError> {
        let connector = TlsConnector::from(self.config.clone());
        let (end, mut seen) = watched(connector.connect(self.name.clone(), tcp)).await;
        let again = seen.reconsider(&self.judge).await;
        let stream = end.map_err(|error| HandshakeError { trouble: failed(&error, &seen), again })?;
        let asked_us = seen.client_auth.is_some();
        let warning = seen.finish(&self.judge).map_err(ProbeError::of)?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Answer::V1_3,
            Some(_) | None => Answer::V1_2,
        };
        Ok(TlsConnection { stream, warning, version, asked_us })
    }
}

/// Why a server refuses our certificate, or that we have none, after a handshake and our end of the connection. In TLS 1.3, it only
/// judges the certificate after the client has ended the handshake: it sends an alert, or closes the connection too. A server that does
/// neither is not waited for longer than `patience`.
async fn refusal(stream: &mut TlsStream<ProbeStream>, patience: Duration) -> Option<Failure> {
    let read = async {
        let mut octets = [0; 512];
        loop {
            match stream.read(&mut octets).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return find::<rustls::Error>(&error).map(of_tls),
            }
        }
    };
    within(patience, read).await.ok().flatten()
}

/// The TLS configuration for one server.
pub(super) struct TlsClient {
    pub(super) config: ClientConfig,
    /// The server's name, which is sent unless it is an address.
    pub(super) name: ServerName<'static>,
    /// The judge of its certificates, which has to be prepared before each handshake.
    pub(super) judge: Arc<Judge>,
}

/// The TLS configuration for the server of that name, which has to be in the certificate. `offered` are protocols for ALPN.
///
/// # Errors
///
/// No certificate can have this name.
pub(super) fn config(
    host: &Host<impl AsRef<str>>,
    offered: Vec<Vec<u8>>,
    certificate: &CertificateConfig,
    store: &TrustStore,
    timeout: Duration,
) -> Result<TlsClient, Failure> {
    let name = match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            ServerName::try_from(name.to_owned())
                .map_err(|_| Failure::NoServerName(PrintableText::new(name)))?
        }
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
    };
    let mut config = without_trust()?;
    config.alpn_protocols = offered;
    let provider = config.crypto_provider().clone();
    let judge = Arc::new(Judge::new(name.clone(), certificate, store, timeout));
    config.client_auth_cert_resolver = Arc::new(ClientResolver(judge.clone()));
    let verifier = Verifier { provider, judge: judge.clone() };
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    Ok(TlsClient { config, name, judge })
}

/// A configuration for a client that does not use TLS. It shares its memory with all others.
///
/// # Errors
///
/// The library has no TLS.
pub(super) fn without_trust() -> Result<ClientConfig, Failure> {
    BASE.clone().map_err(|error| Failure::Tls(sentences::of_tls(&error)))
}

/// It never changes; one copy saves memory for every check.
static BASE: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
});

/// The findings of the handshake of one probe.
#[derive(Debug, Default)]
pub(super) struct HandshakeProgress {
    /// Whether the handshake has started, so that there is a connection.
    pub(super) begun: bool,
    /// A flaw that does not make the probe fail.
    pub(super) warning: Option<Warning>,
    /// The flaw that ended it.
    flaw: Option<Flaw>,
    /// The server's certificates, if other trusted certificates could make them valid.
    chain: Vec<CertificateDer<'static>>,
    /// What the server got from us; `None`: it did not ask for a certificate.
    client_auth: Option<ClientAuth>,
}

impl HandshakeProgress {
    /// The warning of a handshake that has succeeded. A flaw of the server's certificate says more than the end of ours.
    ///
    /// # Errors
    ///
    /// The server asked for a certificate, and ours cannot be used.
    pub(super) fn finish(self, judge: &Judge) -> Result<Option<Warning>, Failure> {
        let ends = match self.client_auth {
            Some(ClientAuth::Unusable(why)) => return Err(Failure::NoClientCertificate(why)),
            Some(ClientAuth::Sent(ends)) => ends,
            Some(ClientAuth::Nothing) | None => None,
        };
        let soon = ends.filter(|ends| judge.warns_until().is_some_and(|until| *ends < until));
        Ok(self.warning.or(soon.map(Warning::ClientExpires)))
    }

    /// Stores the findings about the certificates; they replace an earlier warning.
    fn found(&mut self, found: CertificateFindings, verify: Verify) {
        (self.flaw, self.warning) = match (found.flaw, verify) {
            (Some(flaw), Verify::Require) => (Some(flaw), None),
            (Some(flaw), Verify::Warn) => (None, Some(Warning::Certificate(flaw))),
            (Some(_), Verify::Off) | (None, _) => (None, found.ends.map(Warning::Expires)),
        };
    }

    /// Checks an untrusted chain again, if a `ca_file` has changed. Returns whether the handshake would succeed now.
    pub(super) async fn reconsider(&mut self, judge: &Judge) -> bool {
        if self.chain.is_empty() {
            return false;
        }
        let Some(found) = judge.reconsider(&self.chain).await else { return false };
        let ended = self.flaw.is_some();
        self.found(found, judge.verify());
        ended && self.flaw.is_none()
    }
}

tokio::task_local! {
    /// The findings of the probe that is being polled.
    static SEEN: RefCell<HandshakeProgress>;
}

/// Runs a future that contains one handshake, and returns the findings of the handshake.
pub(super) async fn watched<T>(work: impl Future<Output = T>) -> (T, HandshakeProgress) {
    let work = async {
        let done = work.await;
        (done, SEEN.with(RefCell::take))
    };
    SEEN.scope(RefCell::default(), work).await
}

/// The meaning of an error during a handshake.
pub(super) fn failed(error: &(dyn Error + 'static), seen: &HandshakeProgress) -> ProbeError {
    if let Some(flaw) = &seen.flaw {
        return ProbeError::of(Failure::Certificate(flaw.clone()));
    }
    if let Some(ClientAuth::Unusable(why)) = &seen.client_auth {
        return ProbeError::of(Failure::NoClientCertificate(why.clone()));
    }
    if let Some(trouble) = errno_of(error) {
        return trouble;
    }
    if result::of_kind(error, io::ErrorKind::UnexpectedEof) {
        return ProbeError::Fail(Reason::Closed);
    }
    ProbeError::of(find(error).map_or(Failure::Tls(sentences::UNKNOWN), of_tls))
}

/// The meaning of an error of a stream with or without TLS, after its handshake.
pub(super) fn stream_error(endpoint: &Endpoint, error: &io::Error) -> ProbeError {
    match find::<rustls::Error>(error) {
        Some(error) => ProbeError::of(of_tls(error)),
        None if [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe]
            .into_iter()
            .any(|kind| result::of_kind(error, kind)) =>
        {
            ProbeError::Fail(Reason::Closed)
        }
        None => probe_error(endpoint, error),
    }
}

/// The meaning of a TLS error, at any time.
pub(super) fn of_tls(error: &rustls::Error) -> Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
    match error {
        rustls::Error::InvalidMessage(_) => Failure::NotTls,
        rustls::Error::NoApplicationProtocol
        | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Failure::NoProtocol,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => Failure::WantsCertificate,
        rustls::Error::InvalidCertificate(error) => {
            Failure::Certificate(Flaw::Other(sentences::of_signature(error)))
        }
        other => Failure::Tls(sentences::of_tls(other)),
    }
}

/// Gives our certificate to a server that asks for it.
#[derive(Debug)]
struct ClientResolver(Arc<Judge>);

impl ResolvesClientCert for ClientResolver {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let (key, sent) = self.0.own().map_or((None, ClientAuth::Nothing), |own| own.present(schemes));
        let _ = SEEN.try_with(|seen| seen.borrow_mut().client_auth = Some(sent));
        key
    }

    fn has_certs(&self) -> bool {
        self.0.own().is_some()
    }
}

/// Verifies the certificates of one server.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    judge: Arc<Judge>,
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
        // Outside of a probe, no one would get a warning.
        let good = SEEN.try_with(|seen| {
            let mut seen = seen.borrow_mut();
            if found.is_of_trust() {
                seen.chain = chain.into_iter().map(CertificateDer::into_owned).collect();
            }
            seen.found(found, self.judge.verify());
            seen.flaw.is_none()
        });
        match good {
            Ok(true) => Ok(ServerCertVerified::assertion()),
            Ok(false) | Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.proof(verify_tls12_signature(message, cert, signed, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.proof(verify_tls13_signature(message, cert, signed, algorithms))
    }

    /// Called at the start of each handshake, for the first message.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let _ = SEEN.try_with(|seen| seen.borrow_mut().begun = true);
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        match self.judge.verify() {
            Verify::Require => {}
            Verify::Warn | Verify::Off => schemes.extend(UNCHECKED),
        }
        schemes
    }
}

/// Signature schemes that the library cannot check, for servers whose certificates need them; they are offered last.
const UNCHECKED: [SignatureScheme; 4] = [
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED448,
    SignatureScheme::RSA_PKCS1_SHA1,
    SignatureScheme::ECDSA_SHA1_Legacy,
];

impl Verifier {
    /// Handles the server's proof that it has the key of its certificate. If flaws of the certificate do not count, a proof that
    /// cannot be checked does not count either.
    fn proof(
        &self,
        proof: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Err(error) = proof else { return proof };
        match self.judge.verify() {
            Verify::Require => return Err(error),
            Verify::Off => {}
            Verify::Warn => {
                let flaw = Warning::Certificate(Flaw::Other(sentences::of_tls(&error)));
                // A flaw of the certificate itself says more.
                let _ = SEEN.try_with(|seen| match &mut seen.borrow_mut().warning {
                    Some(Warning::Certificate(_)) => {}
                    warning @ (Some(Warning::Expires(_) | Warning::ClientExpires(_)) | None) => {
                        *warning = Some(flaw)
                    }
                });
            }
        }
        Ok(HandshakeSignatureValid::assertion())
    }
}
