//! Tests with servers that require a certificate, and of files that change.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::tests::a_check;
use crate::health::Target;
use crate::health::io::connect::tests::answer;
use crate::health::io::probe::once;
use crate::health::io::prober::Prober;
use crate::health::io::tls::tests::{Authority, EACH, OLD, ServerCertificate, text_of};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 58));
/// No probe should reach it.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A folder with the files of a certificate.
struct ClientFolder {
    folder: TempDir,
}

impl ClientFolder {
    fn new(identity: &ServerCertificate) -> Self {
        let folder = ClientFolder { folder: tempfile::tempdir().unwrap() };
        let (certificate, key) = identity.pem();
        std::fs::write(folder.files().certificate, certificate).unwrap();
        std::fs::write(folder.files().key, key).unwrap();
        folder
    }

    fn files(&self) -> ClientFiles {
        let path = |name| self.folder.path().join(name);
        ClientFiles { certificate: path("client.pem"), key: path("client.key") }
    }

    /// The lines of a check.
    fn lines(&self) -> String {
        let ClientFiles { certificate, key } = self.files();
        format!("client_certificate = \"{}\"\nclient_key = \"{}\"\n", certificate.display(), key.display())
    }
}

/// A server of HTTP over TLS; returns its port.
async fn server(acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, false).await;
                }
            });
        }
    });
    port
}

async fn probe(lines: &str) -> String {
    let target = Target::of_test(VIP, a_check(lines), TIMEOUT);
    text_of(&once(&Prober::new(Files::new()), &target).await)
}

#[tokio::test]
async fn a_server_that_requires_a_certificate_gets_it() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let client = |authority: &Authority, days| ClientFolder::new(&authority.sign(&["announcer"], days));
    let (good, soon, ended) = (client(&ours, (1, 90)), client(&ours, (1, 5)), client(&ours, (9, -1)));
    let (unknown, missing) = (client(&theirs, (1, 90)), client(&ours, (1, 90)));
    std::fs::remove_file(missing.files().key).unwrap();
    let gone = format!(
        "fail: the client certificate cannot be used: `{}`: No such file or directory",
        missing.files().key.display()
    );
    let identity = ours.sign(&["www.example.com"], (1, 90));
    let late = "but the client certificate ends on DATE";
    let alert = "fail: TLS failed: the server sent an alert".to_owned();
    let refused = |alert: &str| format!("fail: TLS failed: the server sent the alert {alert}");
    for versions in [EACH, OLD] {
        let strict = server(identity.acceptor_for(&ours, &[], versions)).await;
        let open = server(identity.acceptor(&[], versions)).await;
        let version = if versions == EACH { "TLS 1.3" } else { "TLS 1.2" };
        for (port, lines, tls, http) in [
            (strict, good.lines(), format!("pass: {version}"), "pass: HTTP 200".to_owned()),
            (
                strict,
                String::new(),
                "fail: the server requires a client certificate".to_owned(),
                "fail: the server requires a client certificate".to_owned(),
            ),
            (strict, soon.lines(), format!("pass: {version}, {late}"), format!("pass: HTTP 200, {late}")),
            (
                strict,
                format!("cert_expires_within = \"0s\"\n{}", soon.lines()),
                format!("pass: {version}"),
                "pass: HTTP 200".to_owned(),
            ),
            (strict, ended.lines(), refused("certificate_expired"), refused("certificate_expired")),
            // Both authorities have the same name, so that the signature is wrong.
            (strict, unknown.lines(), alert.clone(), alert.clone()),
            (strict, missing.lines(), gone.clone(), gone.clone()),
            // A server that asks for no certificate.
            (open, missing.lines(), format!("pass: {version}"), "pass: HTTP 200".to_owned()),
            (open, soon.lines(), format!("pass: {version}"), "pass: HTTP 200".to_owned()),
        ] {
            let lines = format!("verify = \"off\"\n{lines}");
            let said = probe(&format!("tls = \"www.example.com:{port}\"\n{lines}")).await;
            assert!(
                said.starts_with(&tls) && (said.contains("ends on") == tls.contains("ends on")),
                "{tls}: {said}"
            );
            let said = probe(&format!("http = \"https://www.example.com:{port}/healthz\"\n{lines}")).await;
            assert!(
                said.starts_with(&http) && (said.contains("ends on") == http.contains("ends on")),
                "{http}: {said}"
            );
        }
    }
}

/// The certificate that a server would get, in DER.
fn sent(source: &IdentitySource) -> Option<Vec<u8>> {
    let (key, _) = source.present(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
    key.map(|key| key.cert[0].to_vec())
}

/// Reads the files if they have changed, as the look does that is due now.
async fn look(source: &Arc<IdentitySource>) {
    source.state.send_modify(|state| {
        let last = state.looked.expect("it was read before");
        state.looked = last.checked_sub(LOOK_AGAIN);
    });
    source.prepare(TIMEOUT).await;
    let mut state = source.state.subscribe();
    timeout(TIMEOUT, state.wait_for(|state| !state.reading)).await.unwrap().unwrap();
}

#[tokio::test]
async fn files_that_are_replaced_one_after_the_other_are_used_when_they_fit() {
    let authority = Authority::new();
    let [old, new] = [(1, 90), (0, 90)].map(|days| authority.sign(&["announcer"], days));
    let folder = ClientFolder::new(&old);
    let store = IdentityStore::new(Files::new());
    let (source, other) = (store.shared(folder.files()), store.shared(folder.files()));
    assert!(Arc::ptr_eq(&source, &other), "they are read once");
    assert_eq!(sent(&source), None);
    source.prepare(TIMEOUT).await;
    let first = sent(&source);
    assert_eq!(first.as_deref(), Some(&old.chain[0][..]));
    let read = || Arc::as_ptr(source.state.borrow().identity.as_ref().unwrap());
    let before = read();
    look(&source).await;
    assert_eq!(read(), before, "unchanged files are not read");
    let (certificate, key) = new.pem();
    std::fs::write(folder.files().key, &key).unwrap();
    look(&source).await;
    assert_eq!(sent(&source), first, "the new key does not fit yet");
    source.prepare(TIMEOUT).await;
    assert!(source.state.borrow().looked.is_some(), "not before the next look");
    std::fs::write(folder.files().certificate, &certificate).unwrap();
    look(&source).await;
    assert_eq!(sent(&source).as_deref(), Some(&new.chain[0][..]));
    std::fs::remove_file(folder.files().certificate).unwrap();
    look(&source).await;
    assert_eq!(sent(&source).as_deref(), Some(&new.chain[0][..]));
    assert_eq!(source.present(&[SignatureScheme::ED25519]).1, {
        let why = "the server accepts no signature that its key can make";
        ClientAuth::Unusable(PrintableText::new(why))
    });
}

#[tokio::test]
async fn each_pair_of_files_has_its_own_certificate() {
    let authority = Authority::new();
    let [one, other] =
        [(1, 90), (0, 90)].map(|days| ClientFolder::new(&authority.sign(&["announcer"], days)));
    let store = IdentityStore::new(Files::new());
    let of_one = ClientFiles { key: one.files().key, ..other.files() };
    let of_other = ClientFiles { key: other.files().key, ..one.files() };
    let sources = [one.files(), other.files(), of_one, of_other].map(|files| store.shared(files));
    for source in &sources {
        source.prepare(TIMEOUT).await;
    }
    let [one, other, of_one, of_other] = sources.each_ref().map(|source| sent(source));
    assert!(one.is_some() && other.is_some() && one != other);
    assert_eq!((of_one, of_other), (None, None), "the key of the other certificate");
}

#[tokio::test]
async fn what_cannot_be_used_is_said() {
    let authority = Authority::new();
    let (one, other) = (authority.sign(&["announcer"], (1, 90)), authority.sign(&["announcer"], (1, 90)));
    let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    for (change, is_unseen, want) in [
        (None, false, "fits"),
        (Some(text("client.pem", "")), false, "client.pem` has no certificate"),
        (Some(text("client.key", "no key")), false, "client.key` has no private key in PEM"),
        (
            Some(text(
                "client.key",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            )),
            false,
            "client.key` is protected by a passphrase",
        ),
        (
            Some(text("client.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
            false,
            "the TLS library does not support the kind of key in `",
        ),
        (Some(text("client.key", &other.pem().1)), false, "does not belong to the first certificate in `"),
        (
            Some(text("client.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            false,
            "is malformed",
        ),
    ] {
        let folder = ClientFolder::new(&one);
        if let Some((name, text)) = change {
            std::fs::write(folder.folder.path().join(name), text).unwrap();
        }
        match check(&folder.files()) {
            Ok(()) => assert_eq!(want, "fits"),
            Err(CheckFilesFinding::Wrong(why)) => {
                assert!(why.to_string().contains(want) && !is_unseen, "{why}");
            }
            Err(CheckFilesFinding::Unseen(why)) => assert!(is_unseen, "{why}"),
        }
    }
    let folder = ClientFolder::new(&one);
    std::fs::remove_file(folder.files().certificate).unwrap();
    assert!(matches!(check(&folder.files()), Err(CheckFilesFinding::Unseen(_))));
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = IdentityError::of_file(Path::new("/k"), &FileError::Io(denied));
    assert!(error.unseen && error.text.to_string().contains("`chgrp announcer`, `chmod 640`"));
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let folder = ClientFolder::new(&Authority::new().sign(&["announcer"], (1, 90)));
    let key = folder.files().key;
    for (mode, is_open) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(open_to_others(&key).is_some(), is_open, "{mode:o}");
        assert_eq!(read(&folder.files()).unwrap().is_open_to_others(), is_open);
    }
    assert_eq!(open_to_others(Path::new("/nonexistent/key")), None);
}
