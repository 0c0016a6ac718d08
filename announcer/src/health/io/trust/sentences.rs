//! The meaning of the certificate library's errors, in our own words, because it has no texts for people.
//!
//! Pure, except for the type of the errors. A sentence is a `&'static str`, so that it cannot contain text of the library.

use rustls::pki_types::ServerName;
use webpki::Error;

use crate::config::kind::certificate::{Date, Flaw};
use crate::model::text::PrintableText;

/// The flaw of a certificate that should have `name`.
pub(super) fn flaw(error: &Error, name: &ServerName<'_>) -> Flaw {
    let date = |time: &rustls::pki_types::UnixTime| Date::of_unix(time.as_secs());
    let name = || PrintableText::new(&name.to_str());
    #[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
    match error {
        // The second error means a signature by another key of a trusted name.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => Flaw::Untrusted,
        Error::CertExpired { not_after, .. } => Flaw::Expired(date(not_after)),
        Error::CertNotValidYet { not_before, .. } => Flaw::NotYetValid(date(not_before)),
        Error::CertNotValidForName(context) if context.presented.is_empty() => Flaw::NoName(name()),
        Error::CertNotValidForName(_) => Flaw::WrongName(name()),
        other => Flaw::Other(sentence(other)),
    }
}

/// The sentence follows "the certificate is not valid: ".
#[allow(clippy::wildcard_enum_match_arm, reason = "new errors of the library have one common sentence")]
#[allow(deprecated, reason = "the library still has them")]
fn sentence(error: &Error) -> &'static str {
    match error {
        Error::CaUsedAsEndEntity => {
            "it is the certificate of an authority (CA:TRUE), and a server needs its own certificate: name it in `ca_file`, or \
             make the certificate again with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`"
        }
        Error::EndEntityUsedAsCa => {
            "a certificate that is not an authority (CA:FALSE) has signed it or one above it"
        }
        Error::UnsupportedCertVersion => {
            "it is not of X.509 version 3, and the TLS library reads only version 3: make the certificate again with `openssl \
             req -x509 -addext subjectAltName=DNS:NAME`"
        }
        Error::RequiredEkuNotFound | Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            "it is for another use (extendedKeyUsage): make the certificate again with `serverAuth`"
        }
        Error::InvalidCertValidity => "its validity ends before it begins: make the certificate again",
        Error::NameConstraintViolation => {
            "an authority above it may not sign for its names (nameConstraints)"
        }
        Error::PathLenConstraintViolated => {
            "the chain has more authorities than one of them allows (pathlen)"
        }
        Error::CertRevoked => "it was revoked: make a new one",
        Error::CertDistrusted => "its key cannot be trusted: make a new one",
        Error::UnsupportedCriticalExtension => {
            "it, or one above it, has a critical extension that the TLS library does not support: make the certificate again \
             without it"
        }
        Error::UnsupportedSignatureAlgorithm
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it, or one above it, is signed in a way that the TLS library does not support, perhaps with SHA-1 or by a key on \
             P-521: make the certificate again with SHA-256"
        }
        Error::SignatureAlgorithmMismatch => {
            "it names two different signature algorithms: make the certificate again"
        }
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => {
            "the server sends too many certificates: let it send its own, then the one above it, and so on"
        }
        Error::MalformedDnsIdentifier
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint => {
            "a name in it, or in one above it, is malformed: make the certificate again"
        }
        Error::InvalidSerialNumber => "its serial number is malformed: make the certificate again",
        Error::BadDer
        | Error::BadDerTime
        | Error::ExtensionValueInvalid
        | Error::MalformedExtensions
        | Error::TrailingData(_) => "it, or one above it, is malformed: make the certificate again",
        _ => {
            "the TLS library refuses it for a reason that announcer does not know: `openssl x509 -text` shows what is in it"
        }
    }
}

#[cfg(test)]
pub(in crate::health::io) mod tests {
    use webpki::{DerTypeId, InvalidNameContext};

    use super::*;

    /// Words of a programmer, such as `CaUsedAsEndEntity` or `Some(3)`, that Debug text has and a sentence has not.
    pub(in crate::health::io) fn has_debug_text(text: &str) -> bool {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let inner_capital = |word: &str| {
            let pairs = word.chars().zip(word.chars().skip(1));
            pairs.into_iter().any(|(one, next)| one.is_lowercase() && next.is_uppercase())
        };
        // Names of this form that operators write themselves, or that X.509 has.
        let known =
            ["subjectAltName", "basicConstraints", "extendedKeyUsage", "serverAuth", "nameConstraints"];
        text.contains(" {") || text.contains("Some(") || {
            words.filter(|word| !known.contains(word)).any(inner_capital)
        }
    }

    // W13: the library's Display is its Debug.
    #[test]
    fn no_error_of_the_certificate_library_is_reported_in_its_own_words() {
        assert!(has_debug_text(&Error::CaUsedAsEndEntity.to_string()));
        let name = ServerName::try_from("www.example.com").unwrap();
        let context = |presented: &[&str]| {
            let presented = presented.iter().map(ToString::to_string).collect();
            Error::CertNotValidForName(InvalidNameContext { expected: name.clone(), presented })
        };
        #[allow(deprecated, reason = "the library still has them")]
        for error in [
            Error::BadDer,
            Error::BadDerTime,
            Error::CaUsedAsEndEntity,
            Error::CertDistrusted,
            context(&[]),
            context(&["DnsName(\"other.example.com\")"]),
            Error::CertRevoked,
            Error::EmptyEkuExtension,
            Error::EndEntityUsedAsCa,
            Error::ExtensionValueInvalid,
            Error::InvalidCertValidity,
            Error::InvalidNetworkMaskConstraint,
            Error::InvalidSerialNumber,
            Error::InvalidSignatureForPublicKey,
            Error::IssuerNotCrlSigner,
            Error::MalformedDnsIdentifier,
            Error::MalformedExtensions,
            Error::MalformedNameConstraint,
            Error::MaximumPathBuildCallsExceeded,
            Error::MaximumPathDepthExceeded,
            Error::MaximumSignatureChecksExceeded,
            Error::NameConstraintViolation,
            Error::PathLenConstraintViolated,
            Error::RequiredEkuNotFound,
            Error::SignatureAlgorithmMismatch,
            Error::TrailingData(DerTypeId::Certificate),
            Error::UnknownIssuer,
            Error::UnsupportedCertVersion,
            Error::UnsupportedCriticalExtension,
            Error::UnsupportedNameType,
            Error::UnsupportedSignatureAlgorithm,
            Error::UnsupportedSignatureAlgorithmForPublicKey,
        ] {
            let text = flaw(&error, &name).to_string();
            assert!(!has_debug_text(&text) && text.starts_with("the certificate"), "{error:?}: {text}");
        }
    }
}
