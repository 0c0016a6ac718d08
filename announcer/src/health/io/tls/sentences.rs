//! The meaning of the TLS library's errors, in our own words, because its texts are for programmers.
//!
//! Pure, except for the types of the errors. A sentence is a `&'static str`, so that it cannot contain text of the library.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// The sentence for an unknown error. It follows "TLS failed: ".
pub(super) const UNKNOWN: &str = "for a reason that announcer does not know; the server's log may say more";

/// Why a handshake or a connection ended. It follows "TLS failed: ".
pub(super) fn of_tls(error: &Error) -> &'static str {
    #[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
    match error {
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(what) => of_incompatible(what),
        Error::InvalidCertificate(error) => of_signature(error),
        Error::NoCertificatesPresented => "the server has no certificate: give it one",
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerSentOversizedRecord => {
            "the server broke a rule of TLS: its log may say more, or a newer version of the server may help"
        }
        Error::DecryptError => {
            "the data of the server cannot be decrypted: something on the way may have changed it"
        }
        Error::FailedToGetRandomBytes => "the kernel gave no random numbers",
        _ => UNKNOWN,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
fn of_incompatible(what: &PeerIncompatible) -> &'static str {
    match what {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => {
            "the server speaks neither TLS 1.2 nor 1.3: enable one of them"
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            "the server has no cipher that announcer has: let it speak TLS 1.3, or ECDHE with AES-GCM or CHACHA20"
        }
        PeerIncompatible::NoKxGroupsInCommon => {
            "the server has no key exchange that announcer has: let it use X25519, P-256 or P-384"
        }
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "the server's key uses a kind of signature that announcer does not support: give it a key of RSA with 2048 bits, \
             or on P-256"
        }
        _ => "the server and announcer have no parameters of TLS in common: let it speak TLS 1.3",
    }
}

/// An alert of the server, by its name in RFC 8446.
#[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CloseNotify => {
            "the server ended the handshake without an alert: its log may say why"
        }
        AlertDescription::UnexpectedMessage => {
            "the server sent the alert unexpected_message: check whether the port starts with another protocol"
        }
        AlertDescription::HandshakeFailure => {
            "the server sent the alert handshake_failure: it has no version, cipher or signature in common with announcer, or \
             it requires a client certificate: write `client_certificate`"
        }
        AlertDescription::NoCertificate | AlertDescription::CertificateRequired => {
            "the server sent the alert certificate_required: it requires a client certificate: write `client_certificate`"
        }
        AlertDescription::CertificateExpired => {
            "the server sent the alert certificate_expired: the client certificate has ended, or is not valid yet"
        }
        AlertDescription::CertificateRevoked => {
            "the server sent the alert certificate_revoked: the client certificate is revoked"
        }
        AlertDescription::UnknownCA => {
            "the server sent the alert unknown_ca: it does not trust the issuer of the client certificate, or an intermediate \
             certificate is missing in `client_certificate`"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the server sent an alert about the client certificate: it requires one, or does not accept the one in \
             `client_certificate`"
        }
        AlertDescription::AccessDenied => {
            "the server sent the alert access_denied: let it accept connections from the VIP, which is the source of the probes"
        }
        AlertDescription::ProtocolVersion => {
            "the server sent the alert protocol_version: it speaks neither TLS 1.2 nor 1.3: enable one of them"
        }
        AlertDescription::InsufficientSecurity => {
            "the server sent the alert insufficient_security: it requires other ciphers or keys than announcer has: let it \
             accept AES-GCM or CHACHA20, and X25519 or P-256"
        }
        AlertDescription::UnrecognisedName => {
            "the server sent the alert unrecognized_name: it has no site with the name in `http` or `tls`"
        }
        AlertDescription::NoApplicationProtocol => {
            "the server sent the alert no_application_protocol: it has none of the offered protocols"
        }
        AlertDescription::InternalError => {
            "the server sent the alert internal_error: a server does so if it has no certificate for the name; its log may say more"
        }
        AlertDescription::BadRecordMac
        | AlertDescription::DecryptionFailed
        | AlertDescription::DecryptError
        | AlertDescription::DecodeError
        | AlertDescription::RecordOverflow
        | AlertDescription::IllegalParameter
        | AlertDescription::MissingExtension
        | AlertDescription::UnsupportedExtension => {
            "the server sent an alert: it cannot read what announcer sent; its log may say more"
        }
        _ => "the server sent an alert without details; its log may say more",
    }
}

/// Why the server's signature does not prove that it has the key of its certificate. It follows "the certificate is not valid: ".
#[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
#[allow(deprecated, reason = "the library still has it")]
pub(super) fn of_signature(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadSignature => {
            "the server did not prove that it has the key of its certificate: the key may belong to another certificate, or \
             be of RSA with less than 2048 bits"
        }
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its key is of a kind that the TLS library does not support: make a key of RSA with 2048 bits, or on P-256"
        }
        CertificateError::BadEncoding => "it, or one above it, is malformed: make the certificate again",
        _ => "the TLS library cannot read its key: `openssl x509 -text` shows what is in it",
    }
}

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerMisbehaved};

    use super::*;
    use crate::health::io::trust::sentences_tests::has_debug_text;

    // W13: the library prints the name of an alert, and much else, as Rust identifiers.
    #[test]
    fn no_error_of_the_tls_library_is_reported_in_its_own_words() {
        let alerts = (0..=u8::MAX).map(|code| Error::AlertReceived(code.into()));
        let others = [
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired),
            Error::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm),
            Error::InvalidCertificate(CertificateError::BadSignature),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::General("SomeText".into()),
            Error::FailedToGetRandomBytes,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
        ];
        for error in alerts.chain(others) {
            let text = super::super::of_tls(&error).to_string();
            assert!(!has_debug_text(&text) && !text.is_empty(), "{error:?}: {text}");
        }
    }
}
