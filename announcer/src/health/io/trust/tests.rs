//! Tests of the trusted certificates: how they are read, shared and read again.

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::tls::tests::{Authority, ServerCertificate};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn judge(lines: &str) -> Judge {
    judge_of(&TrustStore::new(Files::new()), lines, TIMEOUT).await
}

async fn judge_of(store: &TrustStore, lines: &str, timeout: Duration) -> Judge {
    let ProbeConfig::Tls(tls) = a_check(&format!("tls = \"www.example.com\"\n{lines}")).probe else {
        panic!("no tls")
    };
    let name = ServerName::try_from("www.example.com").unwrap();
    let judge = Judge::new(name, &tls.certificate, store, timeout);
    judge.prepare().await;
    judge
}

/// The result of the verification in a probe.
async fn said(judge: &Judge, identity: &ServerCertificate) -> String {
    let mut found = judge.judge(&identity.chain);
    if found.is_of_trust() {
        found = judge.reconsider(&identity.chain).await.unwrap_or(found);
    }
    found.flaw.map_or("good".into(), |flaw| flaw.to_string())
}

const UNTRUSTED: &str = "the certificate's chain does not end at a trusted certificate";

#[tokio::test]
async fn a_file_is_read_once_and_anew_when_it_has_changed() {
    let (old, new) = (Authority::new(), Authority::new());
    let identity = new.sign(&["www.example.com"], (1, 90));
    let lines = format!("ca_file = \"{}\"", old.path());
    let store = TrustStore::new(Files::new());
    let (one, other) = (judge_of(&store, &lines, TIMEOUT).await, judge_of(&store, &lines, TIMEOUT).await);
    assert!(Arc::ptr_eq(one.trusted.as_ref().unwrap(), other.trusted.as_ref().unwrap()));
    assert_eq!(said(&one, &identity).await, UNTRUSTED);
    let before = one.trusted.as_ref().unwrap().roots();
    assert_eq!(said(&one, &identity).await, UNTRUSTED);
    assert!(Arc::ptr_eq(&before, &one.trusted.as_ref().unwrap().roots()), "read without need");
    std::fs::write(old.path(), new.issuer.pem()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(2);
    std::fs::File::options().write(true).open(old.path()).unwrap().set_modified(later).unwrap();
    assert_eq!(said(&one, &identity).await, "good");
    assert_eq!(said(&other, &identity).await, "good");
}

#[tokio::test]
async fn without_authorities_nobody_is_trusted_and_it_is_said_why() {
    let identity = Authority::new().sign(&["www.example.com"], (1, 90));
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().display().to_string();
    std::fs::write(&path, "no certificate\n").unwrap();
    assert_eq!(
        said(&judge(&format!("ca_file = \"{path}\"")).await, &identity).await,
        format!("there are no trusted certificates: `{path}` has no certificate")
    );
    drop(empty);
    assert_eq!(
        said(&judge(&format!("ca_file = \"{path}\"")).await, &identity).await,
        format!("there are no trusted certificates: `{path}`: No such file or directory")
    );
}

#[tokio::test]
async fn an_intermediate_certificate_is_used_and_its_end_is_reported_too() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let root = Authority::new();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, "between");
    let soon = SystemTime::now() + Duration::from_secs(5 * 86_400);
    params.not_after = soon.into();
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root.issuer).unwrap();
    let key = KeyPair::generate().unwrap();
    let end = CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
    let end = end.signed_by(&key, &between).unwrap();
    let judge = judge(&format!("ca_file = \"{}\"", root.path())).await;
    let whole = [end.der().clone(), between.der().clone()];
    assert_eq!(judge.judge(&whole[..1]).flaw, Some(Flaw::Untrusted), "the server sent too little");
    let ends = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(judge.judge(&whole), CertificateFindings { flaw: None, ends: Some(Date::of_unix(ends)) });
    let later = SystemTime::now() + Duration::from_secs(6 * 86_400);
    assert_eq!(judge.judge_at(&whole, later).flaw, Some(Flaw::Expired(Date::of_unix(ends))));
}

#[tokio::test]
async fn what_is_no_certificate_is_reported_and_harms_nobody() {
    let judge = judge("").await;
    for chain in [vec![], vec![CertificateDer::from(vec![0x30, 0x80, 0xff])]] {
        let found = judge.judge(&chain);
        assert!(matches!(found.flaw, Some(Flaw::Other(_) | Flaw::NoRoots(_))) && found.ends.is_none());
    }
}

/// Replaces a file by a FIFO.
fn into_fifo(path: &str) {
    std::fs::remove_file(path).unwrap();
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

// W3: the file was read during the handshake, which stopped the whole daemon.
#[tokio::test]
async fn what_takes_the_place_of_a_ca_file_costs_those_who_are_not_trusted_yet() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (good, wrong) =
        (ours.sign(&["www.example.com"], (1, 90)), theirs.sign(&["www.example.com"], (1, 90)));
    let lines = format!("ca_file = \"{}\"", ours.path());
    let judge_before = judge(&lines).await;
    for change in [into_fifo as fn(&str), |path| std::fs::remove_file(path).unwrap()] {
        change(ours.path());
        assert_eq!(said(&judge_before, &wrong).await, UNTRUSTED, "those that were read last stay in use");
        assert_eq!(said(&judge_before, &good).await, "good", "those that were read last stay in use");
        let _ = std::fs::remove_file(ours.path()); // the second change has removed it
        std::fs::write(ours.path(), ours.issuer.pem()).unwrap();
    }
    into_fifo(ours.path());
    let none = judge(&lines).await;
    let why = format!("there are no trusted certificates: `{}`: it is not a regular file", ours.path());
    assert_eq!(said(&none, &good).await, why);
    std::fs::remove_file(ours.path()).unwrap();
    std::fs::write(ours.path(), ours.issuer.pem()).unwrap();
    assert_eq!(said(&none, &good).await, "good", "it is read once it can be");
}

#[tokio::test]
async fn a_ca_file_whose_disk_hangs_takes_a_part_of_the_probe_and_is_read_later() {
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com"], (1, 90));
    let files = Files::new();
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let hung = files.clone();
    let path = ours.file.path().to_owned();
    let hanging = tokio::spawn(async move {
        let _ = hung.run(&path, move |_| Ok(hang.recv())).await;
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (start, store) = (std::time::Instant::now(), TrustStore::new(files));
    let judge = judge_of(&store, &format!("ca_file = \"{}\"", ours.path()), Duration::from_millis(200)).await;
    assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
    let why = "there are no trusted certificates: the file system has not answered yet";
    assert_eq!(judge.judge(&identity.chain).flaw.unwrap().to_string(), why);
    drop(release);
    hanging.await.unwrap();
    while said(&judge, &identity).await != "good" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
