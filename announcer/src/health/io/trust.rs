//! Whether a certificate is good: its chain, its name, its dates (RFC 5280, RFC 9525).
//!
//! Touches files and the wall clock. Those who are trusted are read through [`Files`], by a task beside the probes, and shared by
//! all the probes that trust the same. No handshake waits for a file: it goes by what was read last. A `ca_file` is read once
//! more after a certificate was not trusted, if the file has changed; when it cannot be read, the last good one counts on.
//! Nothing else in the program asks what day it is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage};

use crate::config::kind::certificate::{CertificateConfig, Date, Flaw, Verify};
use crate::files::io::{self as files, FileError, Files};
use crate::model::text::PrintableText;

mod sentences;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use sentences::tests as sentences_tests;

/// Octets of a `ca_file`: the bundle of all public authorities has a quarter of a million.
const MOST_CA_FILE: u64 = 8 * 1024 * 1024;

/// Where a host has its authorities, most often. The library looks elsewhere too.
const OF_THE_HOST: &str = "/etc/ssl/certs";

/// What is held of the certificates of one server.
#[derive(Debug)]
pub(super) struct Judge {
    name: ServerName<'static>,
    verify: Verify,
    expires_within: Duration,
    /// None where nothing is verified.
    trusted: Option<Arc<RootSource>>,
    /// How long a probe waits for a file that is being read.
    patience: Duration,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateFindings {
    /// What is wrong, unless `verify` is off.
    pub(super) flaw: Option<Flaw>,
    /// When it ends, if that is soon, or was.
    pub(super) ends: Option<Date>,
}

impl CertificateFindings {
    /// Whether other authorities could make it good.
    pub(super) fn is_of_trust(&self) -> bool {
        matches!(self.flaw, Some(Flaw::Untrusted | Flaw::NoRoots(_)))
    }
}

impl Judge {
    /// Of a server of this name, for probes that may take as long as `timeout`.
    pub(super) fn new(
        name: ServerName<'static>,
        certificate: &CertificateConfig,
        store: &TrustStore,
        timeout: Duration,
    ) -> Self {
        let trusted = match certificate.verify {
            Verify::Warn | Verify::Require => Some(store.shared(certificate.ca_file.clone())),
            Verify::Off => None,
        };
        let (verify, expires_within) = (certificate.verify, certificate.expires_within);
        Judge { name, verify, expires_within, trusted, patience: timeout / 4 }
    }

    /// Whether what is wrong ends the probe.
    pub(super) fn verify(&self) -> Verify {
        self.verify
    }

    /// Has those whom it trusts read, unless they were. A file that hangs costs no more than a part of the probe's time.
    pub(super) async fn prepare(&self) {
        if let Some(trusted) = &self.trusted
            && (trusted.never_read() || trusted.roots().is_err())
        {
            trusted.read_anew(self.patience).await;
        }
    }

    /// Judges a chain that was not trusted once more, if its `ca_file` has changed meanwhile.
    pub(super) async fn reconsider(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateFindings> {
        let trusted = self.trusted.as_ref().filter(|trusted| trusted.ca_file.is_some())?;
        let before = trusted.roots();
        trusted.read_anew(self.patience).await;
        (!Arc::ptr_eq(&before, &trusted.roots())).then(|| self.judge(chain))
    }

    /// Judges the certificates that a server has sent, its own first, as of now.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> CertificateFindings {
        self.judge_at(chain, SystemTime::now())
    }

    fn judge_at(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> CertificateFindings {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let flaw = self.trusted.as_ref().and_then(|trusted| self.flaw(&trusted.roots(), chain, since_1970));
        let soon = UnixTime::since_unix_epoch(since_1970.saturating_add(self.expires_within));
        let ends = match verify(chain, &[], soon) {
            Err(webpki::Error::CertExpired { not_after, .. }) if !self.expires_within.is_zero() => {
                Some(Date::of_unix(not_after.as_secs()))
            }
            Ok(_) | Err(_) => None,
        };
        CertificateFindings { flaw, ends }
    }

    fn flaw(&self, roots: &Roots, chain: &[CertificateDer<'_>], since_1970: Duration) -> Option<Flaw> {
        let now = UnixTime::since_unix_epoch(since_1970);
        match roots {
            Ok(trusted) => trusted
                .verify(chain, now)
                .and_then(|end| end.verify_is_valid_for_subject_name(&self.name))
                .err()
                .map(|error| sentences::flaw(&error, &self.name)),
            Err(why) => Some(Flaw::NoRoots(why.clone())),
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

/// Those who are trusted.
#[derive(Debug)]
struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// The certificates of a `ca_file` themselves: a server that shows one of them is trusted, whoever has signed it.
    pinned: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn verify<'a>(
        &self,
        chain: &'a [CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<EndEntityCert<'a>, webpki::Error> {
        let error = match verify(chain, &self.anchors, at) {
            Ok(end) => return Ok(end),
            Err(error) => error,
        };
        // Whoever has signed it, and whatever else it is for: what is wrong with its dates alone counts against a pinned one.
        let of_dates = matches!(
            error,
            webpki::Error::CertExpired { .. }
                | webpki::Error::CertNotValidYet { .. }
                | webpki::Error::InvalidCertValidity
        );
        match chain.first() {
            Some(first) if !of_dates && self.pinned.contains(first) => EndEntityCert::try_from(first),
            Some(_) | None => Err(error),
        }
    }
}

/// Those who are trusted, or why nobody is.
type Roots = Result<Authorities, PrintableText>;

/// Those whom the probes of one daemon trust, each file once. Clones are the same store.
#[derive(Debug, Clone)]
pub struct TrustStore {
    files: Files,
    /// All that are in use; `None`: those whom the host trusts.
    shared: Arc<Mutex<BTreeMap<Option<PathBuf>, Weak<RootSource>>>>,
}

impl TrustStore {
    /// One that has read nothing yet.
    pub fn new(files: Files) -> Self {
        TrustStore { files, shared: Arc::default() }
    }

    fn shared(&self, ca_file: Option<PathBuf>) -> Arc<RootSource> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, trusted| trusted.strong_count() > 0);
        if let Some(trusted) = shared.get(&ca_file).and_then(Weak::upgrade) {
            return trusted;
        }
        let state = watch::Sender::new(RootState::default());
        let trusted = Arc::new(RootSource { files: self.files.clone(), ca_file: ca_file.clone(), state });
        shared.insert(ca_file, Arc::downgrade(&trusted));
        trusted
    }
}

/// Those whom a `ca_file` names, or the host.
#[derive(Debug)]
struct RootSource {
    files: Files,
    ca_file: Option<PathBuf>,
    state: watch::Sender<RootState>,
}

#[derive(Debug)]
struct RootState {
    roots: Arc<Roots>,
    /// When the file had last been changed that was read last.
    changed: Option<SystemTime>,
    /// Whether a task is reading.
    reading: bool,
    /// Whether one has read, with success or not.
    read: bool,
    /// Why what was read last is of no use, if it is not.
    fault: Option<PrintableText>,
}

impl Default for RootState {
    fn default() -> Self {
        let roots = Arc::new(Err(PrintableText::new("the file system has not answered yet")));
        RootState { roots, changed: None, reading: false, read: false, fault: None }
    }
}

impl RootSource {
    fn roots(&self) -> Arc<Roots> {
        self.state.borrow().roots.clone()
    }

    fn never_read(&self) -> bool {
        !self.state.borrow().read
    }

    /// Has the file read by a task, if it has changed, and waits for that a while. The task goes on when nobody waits any more.
    async fn read_anew(self: &Arc<Self>, patience: Duration) {
        let mut state = self.state.subscribe();
        let begins = self.state.send_if_modified(|state| !std::mem::replace(&mut state.reading, true));
        if begins {
            let own = self.clone();
            tokio::spawn(async move { own.read().await });
        }
        let _ = timeout(patience, state.wait_for(|state| !state.reading)).await; // it is read, or will be later
    }

    async fn read(&self) {
        let before = self.state.borrow().changed;
        let news = match &self.ca_file {
            Some(file) => of_file(&self.files, file, before).await,
            None => of_host(&self.files).await.map(Some),
        };
        self.state.send_modify(|state| {
            (state.reading, state.read) = (false, true);
            match news {
                Ok(None) => {}
                Ok(Some((roots, changed))) => state.take(&self.name(), roots, changed),
                Err(error) => state.take(&self.name(), Err(unreadable(&self.name(), &error)), None),
            }
        });
    }

    fn name(&self) -> PathBuf {
        self.ca_file.clone().unwrap_or_else(|| OF_THE_HOST.into())
    }
}

impl RootState {
    /// What was read takes the place of what was read before, unless it is of no use and that was.
    fn take(&mut self, file: &Path, roots: Roots, changed: Option<SystemTime>) {
        let fault = roots.as_ref().err().cloned();
        // Of what is of no use it is not known when it will be: its next change may be one of its mode, or its disk's.
        self.changed = changed.filter(|_| fault.is_none());
        if let (Some(fault), Ok(_)) = (&fault, &*self.roots) {
            if self.fault.as_ref() != Some(fault) {
                let file = file.display();
                warn!(%file, %fault, "trusted certificates were not read again, those read last count");
            }
        } else {
            self.roots = Arc::new(roots);
        }
        self.fault = fault;
    }
}

/// What a file says, and when it was last changed; `None`: it has not been changed since `before`.
async fn of_file(
    files: &Files,
    file: &Path,
    before: Option<SystemTime>,
) -> Result<Option<(Roots, Option<SystemTime>)>, FileError> {
    let changed = files.run(file, |file| file.metadata()?.modified()).await?;
    if Some(changed) == before {
        return Ok(None);
    }
    let octets = files.read(file, MOST_CA_FILE).await;
    match octets {
        Err(FileError::Hangs(limit)) => Err(FileError::Hangs(limit)),
        octets => Ok(Some((authorities(file, octets), Some(changed)))),
    }
}

async fn of_host(files: &Files) -> Result<(Roots, Option<SystemTime>), FileError> {
    let certs =
        files.run(Path::new(OF_THE_HOST), |_| Ok(rustls_native_certs::load_native_certs().certs)).await?;
    let anchors = anchors(&certs);
    let empty = || PrintableText::new("this host has no package of authorities");
    let roots = if anchors.is_empty() { Err(empty()) } else { Ok(Authorities { anchors, pinned: vec![] }) };
    Ok((roots, None))
}

/// Whom the octets of a file name.
fn authorities(file: &Path, octets: Result<Vec<u8>, FileError>) -> Roots {
    let octets = octets.map_err(|error| unreadable(file, &error))?;
    let pinned: Vec<_> = CertificateDer::pem_slice_iter(&octets).filter_map(Result::ok).collect();
    let anchors = anchors(&pinned);
    if anchors.is_empty() {
        return Err(PrintableText::new(&format!("`{}` has no certificate", file.display())));
    }
    Ok(Authorities { anchors, pinned })
}

/// One that cannot be used, among hundreds, speaks against no other.
fn anchors(certificates: &[CertificateDer<'_>]) -> Vec<TrustAnchor<'static>> {
    let anchor =
        |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned());
    certificates.iter().filter_map(anchor).collect()
}

fn unreadable(file: &Path, error: &FileError) -> PrintableText {
    PrintableText::new(&format!("`{}`: {error}", file.display()))
}

/// What speaks against a `ca_file`, as the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum CaFileFinding {
    /// It is of no use.
    #[error("{0}")]
    Wrong(PrintableText),
    /// It is not there, or not for us to read. It may be on the host that it is meant for, or for the daemon's user.
    #[error("{0}")]
    Unseen(PrintableText),
}

/// Looks at a `ca_file` as a probe would, and blocks.
///
/// # Errors
/// What speaks against it.
pub fn check(ca_file: &Path) -> Result<(), CaFileFinding> {
    let octets = files::read(ca_file, MOST_CA_FILE);
    let unseen = match &octets {
        Err(FileError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        Err(FileError::Hangs(_) | FileError::Busy(_) | FileError::TooLarge(_) | FileError::NotRegular) => {
            false
        }
        Err(FileError::WritableByOthers(_) | FileError::NotText) | Ok(_) => false,
    };
    match authorities(ca_file, octets) {
        Ok(_) => Ok(()),
        Err(why) if unseen => Err(CaFileFinding::Unseen(why)),
        Err(why) => Err(CaFileFinding::Wrong(why)),
    }
}
