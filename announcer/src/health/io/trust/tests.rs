//! Those who are trusted, read, shared and read anew.

use super::*;
use crate::config::Probe;
use crate::config::tests::a_check;
use crate::health::io::tls::tests::{Authority, Identity};

fn judge(lines: &str) -> Judge {
    let Probe::Tls(tls) = a_check(&format!("tls = \"www.example.com\"\n{lines}")).probe else {
        panic!("no tls")
    };
    Judge::new(ServerName::try_from("www.example.com").unwrap(), &tls.certificate)
}

fn said(judge: &Judge, identity: &Identity) -> String {
    judge.judge(&identity.chain).flaw.map_or("good".into(), |flaw| flaw.to_string())
}

#[test]
fn a_file_is_read_once_and_anew_when_it_has_changed() {
    let (old, new) = (Authority::new(), Authority::new());
    let identity = new.sign(&["www.example.com"], (1, 90));
    let lines = format!("ca_file = \"{}\"", old.path());
    let (one, other) = (judge(&lines), judge(&lines));
    assert!(Arc::ptr_eq(one.trusted.as_ref().unwrap(), other.trusted.as_ref().unwrap()));
    let untrusted = "the certificate was signed by nobody who is trusted";
    assert_eq!(said(&one, &identity), untrusted);
    let before = one.trusted.as_ref().unwrap().roots();
    assert_eq!(said(&one, &identity), untrusted);
    assert!(Arc::ptr_eq(&before, &one.trusted.as_ref().unwrap().roots()), "read without need");
    std::fs::write(old.path(), new.issuer.pem()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(2);
    std::fs::File::options().write(true).open(old.path()).unwrap().set_modified(later).unwrap();
    assert_eq!(said(&one, &identity), "good");
    assert_eq!(said(&other, &identity), "good");
}

#[test]
fn without_authorities_nobody_is_trusted_and_it_is_said_why() {
    let identity = Authority::new().sign(&["www.example.com"], (1, 90));
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().display().to_string();
    std::fs::write(&path, "no certificate\n").unwrap();
    assert_eq!(
        said(&judge(&format!("ca_file = \"{path}\"")), &identity),
        format!("nobody is trusted to sign certificates: `{path}` has no certificate")
    );
    drop(empty);
    assert_eq!(
        said(&judge(&format!("ca_file = \"{path}\"")), &identity),
        format!("nobody is trusted to sign certificates: `{path}`: No such file or directory (os error 2)")
    );
}

#[test]
fn a_certificate_between_is_used_and_its_end_is_told_too() {
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
    let judge = judge(&format!("ca_file = \"{}\"", root.path()));
    let whole = [end.der().clone(), between.der().clone()];
    assert_eq!(judge.judge(&whole[..1]).flaw, Some(Flaw::Untrusted), "the server sent too little");
    let ends = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(judge.judge(&whole), Findings { flaw: None, ends: Some(Date::of_unix(ends)) });
    let later = SystemTime::now() + Duration::from_secs(6 * 86_400);
    assert_eq!(judge.judge_at(&whole, later).flaw, Some(Flaw::Expired(Date::of_unix(ends))));
}

#[test]
fn what_is_no_certificate_is_told_and_harms_nobody() {
    let judge = judge("");
    for chain in [vec![], vec![CertificateDer::from(vec![0x30, 0x80, 0xff])]] {
        let found = judge.judge(&chain);
        assert!(matches!(found.flaw, Some(Flaw::Other(_) | Flaw::NoRoots(_))) && found.ends.is_none());
    }
}
