//! Looks at the certificates of the VIPs: a TLS handshake with each, of which only the certificate matters.
//!
//! Touches TCP and the clock. The certificate is not verified here: a check of announcer does that. A server that sends none, or does
//! not answer, gives no result; other findings name it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::doctor::certificate::validity;
use crate::doctor::observations::{ListeningSocket, Observations, Question, TlsProbe};

/// The port of HTTPS.
const HTTPS: u16 = 443;
/// The time for one handshake.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most handshakes.
const MOST: usize = 64;

/// Makes the handshakes, all at the same time.
pub(super) async fn handshakes(seen: &Observations, question: &Question) -> Vec<TlsProbe> {
    let probes = targets(seen, question).into_iter().map(async |(vip, port, name)| {
        let octets = timeout(PATIENCE, certificate(vip, port, name)).await.ok().flatten()?;
        Some(TlsProbe { vip, port, validity: validity(&octets)? })
    });
    futures_util::future::join_all(probes).await.into_iter().flatten().collect()
}

fn targets(seen: &Observations, question: &Question) -> Vec<(IpAddr, u16, Option<String>)> {
    let held = question.vips.iter().copied().filter(|vip| seen.holds(*vip));
    let held: BTreeSet<IpAddr> = held.collect();
    let named = question.names.iter().filter(|((vip, _), _)| held.contains(vip));
    let mut targets: Vec<(IpAddr, u16, Option<String>)> =
        named.map(|((vip, port), name)| (*vip, *port, Some(name.clone()))).collect();
    let listens = |socket: &ListeningSocket| socket.port == HTTPS;
    if seen.listeners.iter().flatten().any(listens) {
        let others = held.iter().filter(|vip| !question.names.keys().any(|(of, _)| of == *vip));
        targets.extend(others.map(|vip| (*vip, HTTPS, None)));
    }
    targets.truncate(MOST);
    targets
}

/// The certificate of a server, in DER.
async fn certificate(vip: IpAddr, port: u16, name: Option<String>) -> Option<Vec<u8>> {
    let provider = Arc::new(ring::default_provider());
    let reader = Arc::new(CertificateReader { provider: Arc::clone(&provider), found: OnceLock::new() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<CertificateReader>::clone(&reader))
        .with_no_client_auth();
    let name = name.and_then(|name| ServerName::try_from(name).ok());
    let name = name.unwrap_or_else(|| ServerName::IpAddress(vip.into()));
    let stream = TcpStream::connect(SocketAddr::new(vip, port)).await.ok()?;
    // The certificate may have come although the handshake fails, for example because the server wants one of the client.
    let _ = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    reader.found.get().cloned()
}

/// Keeps the certificate that a server sends, and accepts every one: nothing is sent to the server after the handshake.
#[derive(Debug)]
struct CertificateReader {
    provider: Arc<CryptoProvider>,
    found: OnceLock<Vec<u8>>,
}

impl ServerCertVerifier for CertificateReader {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let _ = self.found.set(end_entity.to_vec()); // the first one counts
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
