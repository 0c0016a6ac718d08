//! Verifies a certificate: its chain, its name, its dates (RFC 5280, RFC 9525).
//!
//! Touches files and the wall clock. A separate task reads the trusted certificates through [`Files`], and all probes with the same
//! `ca_file` share them. No handshake waits for a file: it uses the certificates that were read last. If a certificate was not
//! trusted and the `ca_file` has changed, the file is read again; if it cannot be read, the last good contents stay valid. Only
//! this module uses the current date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures_util::future::join;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage};

use super::finding::{CheckFilesFinding, is_unseen};
use super::identity::{self, IdentitySource, IdentityStore};
use crate::config::kind::certificate::{CertificateConfig, CheckFiles, Date, Flaw, Verify};
use crate::files::io::{self as files, FileError, Files};
use crate::model::text::PrintableText;

mod sentences;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use sentences::tests as sentences_tests;

/// The most octets of a `ca_file`; the bundle of all public authorities has a quarter of a million.
const MOST_CA_FILE: u64 = 8 * 1024 * 1024;

/// The usual directory of a host's certificate authorities. The library also searches elsewhere.
const OF_THE_HOST: &str = "/etc/ssl/certs";

/// Verifies the certificates of one server, and has our own certificate for it.
#[derive(Debug)]
pub(super) struct Judge {
    name: ServerName<'static>,
    verify: Verify,
    expires_within: Duration,
    /// None if nothing is verified.
    trusted: Option<Arc<RootSource>>,
    /// None if we have no certificate for this server.
    own: Option<Arc<IdentitySource>>,
    /// How long a probe waits for a file that is being read.
    patience: Duration,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateFindings {
    /// The flaw, unless `verify` is off.
    pub(super) flaw: Option<Flaw>,
    /// When the certificate ends, if this is soon or has passed.
    pub(super) ends: Option<Date>,
}

impl CertificateFindings {
    /// Whether other authorities could make the certificate valid.
    pub(super) fn is_of_trust(&self) -> bool {
        matches!(self.flaw, Some(Flaw::Untrusted | Flaw::NoRoots(_)))
    }
}

impl Judge {
    /// A judge for a server of this name, for probes with this `timeout`.
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
        let own = certificate.client_files().map(|files| store.identities.shared(files));
        let (verify, expires_within) = (certificate.verify, certificate.expires_within);
        Judge { name, verify, expires_within, trusted, own, patience: timeout / 4 }
    }

    /// Whether a flaw makes the probe fail.
    pub(super) fn verify(&self) -> Verify {
        self.verify
    }

    /// Reads the trusted certificates and our own one, unless they were read before. A hanging file takes only a part of the probe's
    /// time.
    pub(super) async fn prepare(&self) {
        let trusted = async {
            if let Some(trusted) = &self.trusted
                && (trusted.never_read() || trusted.roots().is_err())
            {
                trusted.read_anew(self.patience).await;
            }
        };
        match &self.own {
            None => trusted.await,
            Some(own) => drop(join(trusted, own.prepare(self.patience)).await),
        }
    }

    /// Our own certificate; `None`: there is none for this server.
    pub(super) fn own(&self) -> Option<&IdentitySource> {
        self.own.as_deref()
    }

    /// Until when a certificate has to be valid, so that there is no warning of its end; `None`: there is never one.
    pub(super) fn warns_until(&self) -> Option<Date> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until = now.saturating_add(self.expires_within);
        (!self.expires_within.is_zero()).then(|| Date::of_unix(until.as_secs()))
    }

    /// Verifies an untrusted chain again, if its `ca_file` has changed since.
    pub(super) async fn reconsider(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateFindings> {
        let trusted = self.trusted.as_ref().filter(|trusted| trusted.ca_file.is_some())?;
        let before = trusted.roots();
        trusted.read_anew(self.patience).await;
        (!Arc::ptr_eq(&before, &trusted.roots())).then(|| self.judge(chain))
    }

    /// Verifies the certificates that a server has sent, its own first, at the current time.
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

/// Verifies that a chain leads to one of `anchors` and is valid. Without anchors this always fails, but flaws of the dates are
/// still reported, because the library checks dates before trust.
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

/// The trusted certificates.
#[derive(Debug)]
struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// The certificates of a `ca_file` themselves: a server that sends one of them is trusted, and its signer does not matter.
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
        // For a pinned certificate only flaws of its dates count, and not its signer or its purpose.
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

/// The trusted certificates, or why there are none.
type Roots = Result<Authorities, PrintableText>;

/// The certificates that the probes of one daemon trust, and their own ones, each file once. Clones share the same store.
#[derive(Debug, Clone)]
pub struct TrustStore {
    files: Files,
    identities: IdentityStore,
    /// All sets in use; the key `None` is the set that the host trusts.
    shared: Arc<Mutex<BTreeMap<Option<PathBuf>, Weak<RootSource>>>>,
}

impl TrustStore {
    /// A store that has read no file yet.
    pub fn new(files: Files) -> Self {
        TrustStore { identities: IdentityStore::new(files.clone()), files, shared: Arc::default() }
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

/// The certificates of a `ca_file`, or of the host.
#[derive(Debug)]
struct RootSource {
    files: Files,
    ca_file: Option<PathBuf>,
    state: watch::Sender<RootState>,
}

#[derive(Debug)]
struct RootState {
    roots: Arc<Roots>,
    /// The modification time of the file at the last read.
    changed: Option<SystemTime>,
    /// Whether a task is reading.
    reading: bool,
    /// Whether a task has read the file, with success or not.
    read: bool,
    /// Why the last read contents cannot be used, if so.
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

    /// Starts a task that reads the file if it has changed, and waits for it for some time. The task continues after that.
    async fn read_anew(self: &Arc<Self>, patience: Duration) {
        let mut state = self.state.subscribe();
        let begins = self.state.send_if_modified(|state| !std::mem::replace(&mut state.reading, true));
        if begins {
            let own = self.clone();
            tokio::spawn(async move { own.read().await });
        }
        let _ = timeout(patience, state.wait_for(|state| !state.reading)).await; // the file was read, or will be read later
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
    /// The new contents replace the old ones, unless the new ones cannot be used and the old ones can.
    fn take(&mut self, file: &Path, roots: Roots, changed: Option<SystemTime>) {
        let fault = roots.as_ref().err().cloned();
        // A file that cannot be used is always read again, because it may become readable without a new modification time.
        self.changed = changed.filter(|_| fault.is_none());
        if let (Some(fault), Ok(_)) = (&fault, &*self.roots) {
            if self.fault.as_ref() != Some(fault) {
                let file = file.display();
                warn!(%file, %fault, "trusted certificates were not read again, those that were read last stay in use");
            }
        } else {
            self.roots = Arc::new(roots);
        }
        self.fault = fault;
    }
}

/// The certificates of a file, and its modification time; `None`: the file has not changed since `before`.
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

/// Reads the certificates from the octets of a file.
fn authorities(file: &Path, octets: Result<Vec<u8>, FileError>) -> Roots {
    let octets = octets.map_err(|error| unreadable(file, &error))?;
    let pinned: Vec<_> = CertificateDer::pem_slice_iter(&octets).filter_map(Result::ok).collect();
    let anchors = anchors(&pinned);
    if anchors.is_empty() {
        return Err(PrintableText::new(&format!("`{}` has no certificate", file.display())));
    }
    Ok(Authorities { anchors, pinned })
}

/// One certificate that cannot be used does not affect the others.
fn anchors(certificates: &[CertificateDer<'_>]) -> Vec<TrustAnchor<'static>> {
    let anchor =
        |der: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned());
    certificates.iter().filter_map(anchor).collect()
}

fn unreadable(file: &Path, error: &FileError) -> PrintableText {
    PrintableText::new(&format!("`{}`: {error}", file.display()))
}

/// Checks the files of a check as a probe would. Blocks.
///
/// # Errors
/// The problem with a file.
pub fn check(needed: &CheckFiles) -> Result<(), CheckFilesFinding> {
    match needed {
        CheckFiles::CaFile(ca_file) => check_ca_file(ca_file),
        CheckFiles::Client(client) => identity::check(client),
    }
}

fn check_ca_file(ca_file: &Path) -> Result<(), CheckFilesFinding> {
    let octets = files::read(ca_file, MOST_CA_FILE);
    let unseen = octets.as_ref().err().is_some_and(is_unseen);
    match authorities(ca_file, octets) {
        Ok(_) => Ok(()),
        Err(why) if unseen => Err(CheckFilesFinding::Unseen(why)),
        Err(why) => Err(CheckFilesFinding::Wrong(why)),
    }
}
