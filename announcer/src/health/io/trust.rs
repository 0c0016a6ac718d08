//! Whether a certificate is good: its chain, its name, its dates (RFC 5280, RFC 9525).
//!
//! Touches files and the wall clock: those that we trust are read once and shared by all the probes that trust the same,
//! and a `ca_file` once more when a certificate is not trusted and the file has changed. Nothing else in the program asks
//! what day it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::config::kind::certificate::{Certificate, Verify};
use crate::health::outcome::{Date, Flaw, Shown};

#[cfg(test)]
mod tests;

/// What is held of the certificates of one server.
#[derive(Debug)]
pub(super) struct Judge {
    name: ServerName<'static>,
    verify: Verify,
    expires_within: Duration,
    /// None where nothing is verified.
    trusted: Option<Arc<Trusted>>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    /// What is wrong, unless `verify` is off.
    pub(super) flaw: Option<Flaw>,
    /// When it ends, if that is soon, or was.
    pub(super) ends: Option<Date>,
}

impl Judge {
    /// Of a server of this name. Reads those whom it trusts, unless another one has.
    pub(super) fn new(name: ServerName<'static>, certificate: &Certificate) -> Self {
        let trusted = match certificate.verify {
            Verify::Warn | Verify::Require => Some(Trusted::shared(certificate.ca_file.clone())),
            Verify::Off => None,
        };
        Judge { name, verify: certificate.verify, expires_within: certificate.expires_within, trusted }
    }

    /// Whether what is wrong ends the probe.
    pub(super) fn verify(&self) -> Verify {
        self.verify
    }

    /// Judges the certificates that a server has sent, its own first, as of now.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Findings {
        self.judge_at(chain, SystemTime::now())
    }

    fn judge_at(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Findings {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let flaw = self.trusted.as_ref().and_then(|trusted| self.flaw(trusted, chain, since_1970));
        let soon = UnixTime::since_unix_epoch(since_1970.saturating_add(self.expires_within));
        let ends = match verify(chain, &[], soon) {
            Err(webpki::Error::CertExpired { not_after, .. }) if !self.expires_within.is_zero() => {
                Some(Date::of_unix(not_after.as_secs()))
            }
            Ok(_) | Err(_) => None,
        };
        Findings { flaw, ends }
    }

    fn flaw(&self, trusted: &Trusted, chain: &[CertificateDer<'_>], since_1970: Duration) -> Option<Flaw> {
        let now = UnixTime::since_unix_epoch(since_1970);
        let judged = |roots: &Roots| match roots {
            Ok(anchors) => verify(chain, anchors, now)
                .and_then(|end| end.verify_is_valid_for_subject_name(&self.name))
                .err()
                .map(|error| self.told(&error)),
            Err(why) => Some(Flaw::NoRoots(why.clone())),
        };
        match judged(&trusted.roots()) {
            Some(Flaw::Untrusted | Flaw::NoRoots(_)) if trusted.read_anew() => judged(&trusted.roots()),
            flaw => flaw,
        }
    }

    fn told(&self, error: &webpki::Error) -> Flaw {
        let date = |time: &UnixTime| Date::of_unix(time.as_secs());
        // The library may come to know more errors: the rest is in its words.
        #[allow(clippy::wildcard_enum_match_arm)]
        match error {
            // Or by another key of one whom we trust by name.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Flaw::Untrusted,
            webpki::Error::CertExpired { not_after, .. } => Flaw::Expired(date(not_after)),
            webpki::Error::CertNotValidYet { not_before, .. } => Flaw::NotYetValid(date(not_before)),
            webpki::Error::CertNotValidForName(_) => Flaw::WrongName(Shown::new(&self.name.to_str())),
            other => Flaw::Other(Shown::new(&other.to_string())),
        }
    }
}

/// Whether a chain leads to one of `anchors` and is good then. Without anchors it never does; what is wrong with the dates
/// is said all the same, for the library puts dates before trust.
fn verify<'a>(
    chain: &'a [CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    at: UnixTime,
) -> Result<EndEntityCert<'a>, webpki::Error> {
    let (first, between) = chain.split_first().ok_or(webpki::Error::BadDer)?;
    let end = EndEntityCert::try_from(first)?;
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    end.verify_for_usage(algorithms, anchors, between, at, KeyUsage::server_auth(), None, None)?;
    Ok(end)
}

/// Those that are trusted, or why nobody is.
type Roots = Result<Vec<TrustAnchor<'static>>, Shown>;

/// Those whom a `ca_file` names, or the host.
#[derive(Debug)]
struct Trusted {
    ca_file: Option<PathBuf>,
    read: Mutex<Read>,
}

#[derive(Debug, Clone)]
struct Read {
    roots: Arc<Roots>,
    /// When the file had last been changed.
    changed: Option<SystemTime>,
}

/// What speaks against a `ca_file`, as the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// It is of no use.
    #[error("{0}")]
    Wrong(Shown),
    /// It is not there, or not for us to read. It may be on the host that it is meant for, or for the daemon's user.
    #[error("{0}")]
    Unseen(Shown),
}

/// Looks at a `ca_file` as a probe would.
///
/// # Errors
/// What speaks against it.
pub fn check(ca_file: &Path) -> Result<(), Finding> {
    let unseen = |error: std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
    };
    match &*read(Some(ca_file)).roots {
        Ok(_) => Ok(()),
        Err(why) if std::fs::File::open(ca_file).is_err_and(unseen) => Err(Finding::Unseen(why.clone())),
        Err(why) => Err(Finding::Wrong(why.clone())),
    }
}

/// All that are in use.
static SHARED: LazyLock<Mutex<BTreeMap<Option<PathBuf>, Weak<Trusted>>>> = LazyLock::new(Mutex::default);

impl Trusted {
    fn shared(ca_file: Option<PathBuf>) -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, trusted| trusted.strong_count() > 0);
        if let Some(trusted) = shared.get(&ca_file).and_then(Weak::upgrade) {
            return trusted;
        }
        let read = Mutex::new(read(ca_file.as_deref()));
        let trusted = Arc::new(Trusted { ca_file: ca_file.clone(), read });
        shared.insert(ca_file, Arc::downgrade(&trusted));
        trusted
    }

    fn roots(&self) -> Arc<Roots> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).roots.clone()
    }

    /// Reads the file again if it has changed; whether it had.
    fn read_anew(&self) -> bool {
        let Some(file) = &self.ca_file else { return false };
        let mut before = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let news = changed(file) != before.changed;
        if news {
            *before = read(Some(file));
        }
        news
    }
}

fn read(ca_file: Option<&Path>) -> Read {
    let changed = ca_file.and_then(changed);
    let found = match ca_file {
        Some(file) => of_file(file),
        None => Ok(rustls_native_certs::load_native_certs().certs),
    };
    let roots = found.and_then(|certificates| {
        // One that cannot be used, in a file of hundreds, speaks against no other.
        let anchor = |der: &CertificateDer<'_>| {
            webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned())
        };
        let anchors: Vec<_> = certificates.iter().filter_map(anchor).collect();
        let empty = || match ca_file {
            Some(file) => Shown::new(&format!("`{}` has no certificate", file.display())),
            None => Shown::new("this host has no package of authorities"),
        };
        if anchors.is_empty() { Err(empty()) } else { Ok(anchors) }
    });
    Read { roots: Arc::new(roots), changed }
}

fn of_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, Shown> {
    let unreadable = |error: &dyn std::fmt::Display| Shown::new(&format!("`{}`: {error}", file.display()));
    let octets = std::fs::read(file).map_err(|error| unreadable(&error))?;
    Ok(CertificateDer::pem_slice_iter(&octets).filter_map(Result::ok).collect())
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}
