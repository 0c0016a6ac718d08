//! Our own certificate, for servers that require one of their clients (RFC 8446 section 4.4.2).
//!
//! Touches files, the clock and the log. A separate task reads the certificate and its key through [`Files`], and all probes with the
//! same two files share them. While probes run, the files are looked at every [`LOOK_AGAIN`], and read again when they have changed; no
//! handshake waits for that. If they cannot be used then, those that were read last stay in use. So both files can be replaced one
//! after the other.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use webpki::{EndEntityCert, KeyUsage};

use super::finding::{CheckFilesFinding, is_unseen};
use crate::config::kind::certificate::{ClientFiles, Date};
use crate::files::io::{self as files, FileError, FileVersion, Files};
use crate::model::text::PrintableText;

#[cfg(test)]
mod tests;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The most octets of a file of certificates, or of a key.
const MOST_FILE: u64 = 1024 * 1024;

/// The permission of others to read a file.
const READ_BY_OTHERS: u32 = 0o004;

/// A certificate, its key, and its end.
#[derive(Debug)]
struct ClientIdentity {
    key: Arc<CertifiedKey>,
    /// None if the library cannot read the certificate.
    ends: Option<Date>,
    /// The permission bits of the file of the key.
    mode: u32,
}

/// What a server gets that asks for a certificate of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// None, because the check has none.
    Nothing,
    /// Our certificate, which ends then.
    Sent(Option<Date>),
    /// None, because ours cannot be used; with the reason.
    Unusable(PrintableText),
}

/// Why a certificate cannot be used, as the middle of a sentence.
#[derive(Debug)]
struct IdentityError {
    text: PrintableText,
    /// Whether a file may exist elsewhere, or another user may be able to read it.
    unseen: bool,
}

/// Our certificates, each pair of files once. Clones share the same store.
#[derive(Debug, Clone)]
pub(super) struct IdentityStore {
    files: Files,
    shared: Arc<Mutex<BTreeMap<ClientFiles, Weak<IdentitySource>>>>,
}

impl IdentityStore {
    /// A store that has read no file yet.
    pub(super) fn new(files: Files) -> Self {
        IdentityStore { files, shared: Arc::default() }
    }

    /// The certificate in these files, which is not read yet if no other check has them.
    pub(super) fn shared(&self, client: ClientFiles) -> Arc<IdentitySource> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, source| source.strong_count() > 0);
        if let Some(source) = shared.get(&client).and_then(Weak::upgrade) {
            return source;
        }
        let state = watch::Sender::new(IdentityState::default());
        let source = Arc::new(IdentitySource { files: self.files.clone(), client: client.clone(), state });
        shared.insert(client, Arc::downgrade(&source));
        source
    }
}

/// The certificate in two files.
#[derive(Debug)]
pub(super) struct IdentitySource {
    files: Files,
    client: ClientFiles,
    state: watch::Sender<IdentityState>,
}

#[derive(Debug)]
struct IdentityState {
    identity: Result<Arc<ClientIdentity>, PrintableText>,
    /// The files that were read last; `None`: they are always read again.
    versions: Option<[FileVersion; 2]>,
    /// Whether a task is reading.
    reading: bool,
    /// When a task last began to read.
    looked: Option<Instant>,
    /// Why the last contents cannot be used, if so.
    fault: Option<PrintableText>,
}

impl Default for IdentityState {
    fn default() -> Self {
        let identity = Err(PrintableText::new("the file system has not answered yet"));
        IdentityState { identity, versions: None, reading: false, looked: None, fault: None }
    }
}

impl IdentitySource {
    /// Starts a task that reads the files, if this is due. Without a certificate, it waits for the task for some time.
    pub(super) async fn prepare(self: &Arc<Self>, patience: Duration) {
        let mut state = self.state.subscribe();
        let now = Instant::now();
        let begins = self.state.send_if_modified(|state| {
            let old = state.looked.is_none_or(|looked| now - looked >= LOOK_AGAIN);
            let begins = !state.reading && (old || state.identity.is_err());
            if begins {
                (state.reading, state.looked) = (true, Some(now));
            }
            begins
        });
        if begins {
            let own = self.clone();
            tokio::spawn(async move { own.read().await });
        }
        if self.state.borrow().identity.is_err() {
            let _ = timeout(patience, state.wait_for(|state| !state.reading)).await; // it is read by then, or later
        }
    }

    /// The certificate for a server that accepts these signatures, and how this is reported.
    pub(super) fn present(&self, schemes: &[SignatureScheme]) -> (Option<Arc<CertifiedKey>>, ClientAuth) {
        match &self.state.borrow().identity {
            Ok(identity) if identity.key.key.choose_scheme(schemes).is_none() => {
                let why = "the server accepts no signature that its key can make";
                (None, ClientAuth::Unusable(PrintableText::new(why)))
            }
            Ok(identity) => (Some(identity.key.clone()), ClientAuth::Sent(identity.ends)),
            Err(why) => (None, ClientAuth::Unusable(why.clone())),
        }
    }

    async fn read(&self) {
        let before = self.state.borrow().versions;
        let client = self.client.clone();
        let read = self.files.run(&self.client.key, move |_| Ok(read_if_changed(&client, before))).await;
        let news = read.unwrap_or_else(|error| Err(IdentityError::of_file(&self.client.key, &error)));
        self.state.send_modify(|state| {
            state.reading = false;
            match news {
                Ok(None) => {}
                Ok(Some((identity, versions))) => state.take(&self.client, identity, versions),
                Err(error) => state.keep(&self.client, error.text),
            }
        });
    }
}

impl IdentityState {
    fn take(&mut self, client: &ClientFiles, identity: ClientIdentity, versions: Option<[FileVersion; 2]>) {
        let file = client.certificate.display();
        if self.identity.is_ok() {
            info!(%file, "client certificate was read again");
        }
        if identity.is_open_to_others() {
            warn!(file = %client.key.display(), mode = format!("{:04o}", identity.mode), "others can read the private key");
        }
        (self.identity, self.versions, self.fault) = (Ok(Arc::new(identity)), versions, None);
    }

    /// Files that cannot be used do not replace a certificate that was read before.
    fn keep(&mut self, client: &ClientFiles, fault: PrintableText) {
        self.versions = None; // a file may become readable without a change
        if self.identity.is_err() {
            self.identity = Err(fault.clone());
        } else if self.fault.as_ref() != Some(&fault) {
            let file = client.certificate.display();
            warn!(%file, %fault, "client certificate was not read again, the one that was read last stays in use");
        }
        self.fault = Some(fault);
    }
}

impl ClientIdentity {
    fn is_open_to_others(&self) -> bool {
        self.mode & READ_BY_OTHERS != 0
    }
}

impl IdentityError {
    fn new(text: &str) -> Self {
        IdentityError { text: PrintableText::new(text), unseen: false }
    }

    fn of_file(file: &Path, error: &FileError) -> Self {
        let help = match error {
            FileError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                ": the group of announcer has to be able to read it (`chgrp announcer`, `chmod 640`)"
            }
            FileError::Io(_) | FileError::Hangs(_) | FileError::Busy(_) | FileError::TooLarge(_) => "",
            FileError::NotRegular | FileError::WritableByOthers(_) | FileError::NotText => "",
        };
        let text = PrintableText::new(&format!("`{}`: {error}{help}", file.display()));
        IdentityError { text, unseen: is_unseen(error) }
    }
}

/// What was read, and the versions of the files before they were read; `None`: both files are as they were.
type IdentityNews = Option<(ClientIdentity, Option<[FileVersion; 2]>)>;

/// Reads both files, unless they are as `before`. Blocks.
fn read_if_changed(
    client: &ClientFiles,
    before: Option<[FileVersion; 2]>,
) -> Result<IdentityNews, IdentityError> {
    let versions = files::version(&client.certificate)
        .and_then(|certificate| Ok([certificate, files::version(&client.key)?]))
        .ok();
    if versions.is_some() && versions == before {
        return Ok(None);
    }
    Ok(Some((read(client)?, versions)))
}

/// Reads both files. Blocks.
fn read(client: &ClientFiles) -> Result<ClientIdentity, IdentityError> {
    let ClientFiles { certificate, key } = client;
    let octets =
        files::read(certificate, MOST_FILE).map_err(|error| IdentityError::of_file(certificate, &error))?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&octets).filter_map(Result::ok).collect();
    let Some(first) = chain.first() else {
        return Err(IdentityError::new(&format!("`{}` has no certificate", certificate.display())));
    };
    let ends = end_of(first);
    let secret = files::read_secret(key, MOST_FILE).map_err(|error| IdentityError::of_file(key, &error))?;
    let key_name = key.display();
    let Ok(private) = PrivateKeyDer::from_pem_slice(&secret.octets) else {
        let sealed = secret.octets.windows(9).any(|word| word == b"ENCRYPTED");
        let why = if sealed {
            "is protected by a passphrase: `openssl pkey -in FILE` writes it without one"
        } else {
            "has no private key in PEM"
        };
        return Err(IdentityError::new(&format!("`{key_name}` {why}")));
    };
    let Ok(signing) = any_supported_type(&private) else {
        return Err(IdentityError::new(&format!(
            "the TLS library does not support the kind of key in `{key_name}`: make a key of RSA with 2048 bits, or on P-256"
        )));
    };
    let certified = CertifiedKey::new(chain, signing);
    #[allow(clippy::wildcard_enum_match_arm, reason = "all other errors are about the certificate")]
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(IdentityError::new(&format!(
                "the key in `{key_name}` does not belong to the first certificate in `{}`",
                certificate.display()
            )));
        }
        Err(_) => {
            return Err(IdentityError::new(&format!(
                "the first certificate in `{}` is malformed, or not of X.509 version 3",
                certificate.display()
            )));
        }
    }
    Ok(ClientIdentity { key: Arc::new(certified), ends, mode: secret.mode })
}

/// When a certificate ends; `None`: the library cannot read it. The library checks dates before trust, and says the end of a certificate
/// that has ended.
fn end_of(certificate: &CertificateDer<'_>) -> Option<Date> {
    const FAR: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let (certificate, algorithms) =
        (EndEntityCert::try_from(certificate).ok()?, webpki::ALL_VERIFICATION_ALGS);
    match certificate.verify_for_usage(algorithms, &[], &[], FAR, KeyUsage::client_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(Date::of_unix(not_after.as_secs())),
        Ok(_) | Err(_) => None,
    }
}

/// Checks our certificate and its key as a probe would. Blocks.
///
/// # Errors
/// The problem with a file.
pub(super) fn check(client: &ClientFiles) -> Result<(), CheckFilesFinding> {
    match read(client) {
        Ok(_) => Ok(()),
        Err(IdentityError { text, unseen: true }) => Err(CheckFilesFinding::Unseen(text)),
        Err(IdentityError { text, unseen: false }) => Err(CheckFilesFinding::Wrong(text)),
    }
}

/// The warning about the file of a private key that others can read. Blocks.
pub fn open_to_others(key: &Path) -> Option<String> {
    let mode = files::read_secret(key, MOST_FILE).ok()?.mode;
    (mode & READ_BY_OTHERS != 0).then(|| {
        format!("others can read the private key `{}` (mode {mode:04o}): `chmod o-r`", key.display())
    })
}
