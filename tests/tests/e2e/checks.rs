//! Tests each kind of check with real servers: what passes, what fails, and the messages.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use scene::{PATIENCE, Scene};
use serde_json::Value;
use time::OffsetDateTime;
use until::until;

use crate::support::{configure, reason, status, with_own_configuration};

/// The expected result of a check on fe1.
#[derive(Clone, Copy)]
enum ExpectedResult {
    /// It passes without a warning.
    Passes,
    /// It passes, and `status` has a warning with these words.
    Warns(&'static str),
    /// It fails, and the reason has these words.
    Fails(&'static str),
}
use ExpectedResult::{Fails, Passes, Warns};

/// The lines of a check, and its expected result; each check has its own service.
const CHECKS: &[(&str, ExpectedResult)] = &[
    // HTTP, over each version.
    ("http = \"http://www.example.com/\"\nexpect_body = \"^fe1\"", Passes),
    ("http = \"http://www.example.com/\"\nexpect_body = \"^fe2\"", Fails("`expect_body` is not in the body")),
    (
        "http = \"http://www.example.com/\"\n\
         expect_digest = \"7a4f4a1ccbed0c9dfd14104b36c1a47b1b7a1f38\"",
        Fails("body has the digest"),
    ),
    ("http = \"http://www.example.com/\"\ntarget = \"127.0.0.1:80\"", Passes),
    ("http = \"http://www.example.com/\"\ntarget = \"127.0.0.1:81\"", Fails("connection refused")),
    ("http = \"http://www.example.com:8082/\"\nhttp_version = \"2\"", Passes),
    ("http = \"http://www.example.com/\"\nhttp_version = \"2\"", Fails("answer is not HTTP/2")),
    ("http = \"http://www.example.com:443/\"", Fails("HTTP 400")),
    // HTTPS.
    (
        "http = \"https://www.example.com/\"\nverify = \"require\"\nca_file = \"/run/ca.pem\"\nexpect_body = \"HTTP/2\"",
        Passes,
    ),
    (
        "http = \"https://www.example.com/\"\nhttp_version = \"1.1\"\nverify = \"off\"\nexpect_body = \"HTTP/1.1\"",
        Passes,
    ),
    (
        "http = \"https://www.example.com/moved\"\nverify = \"off\"",
        Fails("HTTP 301 to https://www.example.com/elsewhere"),
    ),
    ("http = \"https://www.example.com/moved\"\nverify = \"off\"\nexpect_status = \"200-399\"", Passes),
    ("http = \"https://www.example.com/down\"\nverify = \"off\"", Fails("HTTP 503")),
    ("http = \"https://www.example.com:80/\"\nverify = \"off\"", Fails("answer is not TLS")),
    (
        "http = \"https://www.example.com:8443/\"\nca_file = \"/run/ca.pem\"",
        Warns("the certificate ended on"),
    ),
    (
        "http = \"https://www.example.com:8443/\"\nca_file = \"/run/ca.pem\"\nverify = \"require\"",
        Fails("the certificate ended on"),
    ),
    (
        "http = \"https://www.example.com:9443/\"\nca_file = \"/run/ca.pem\"",
        Warns("the certificate is not for `www.example.com`"),
    ),
    (
        "http = \"https://www.example.com:9443/\"\nca_file = \"/run/ca.pem\"\nverify = \"require\"",
        Fails("the certificate is not for `www.example.com`"),
    ),
    ("http = \"https://www.example.com/\"", Warns("chain does not end at a trusted certificate")),
    (
        "http = \"https://www.example.com/\"\nverify = \"require\"",
        Fails("chain does not end at a trusted certificate"),
    ),
    (
        "http = \"https://www.example.com/\"\nca_file = \"/run/ca.pem\"\ncert_expires_within = \"60days\"",
        Warns("the certificate ends on"),
    ),
    // TLS, by HAProxy.
    (
        "tls = \"www.example.com:7444\"\nalpn = [\"h2\"]\nverify = \"require\"\nca_file = \"/run/ca.pem\"",
        Passes,
    ),
    (
        "tls = \"www.example.com:7443\"\nalpn = [\"h2\"]\nca_file = \"/run/ca.pem\"",
        Fails("the server chose none of the offered protocols"),
    ),
    (
        "http = \"https://www.example.com:7443/\"\nhttp_version = \"2\"\nca_file = \"/run/ca.pem\"",
        Fails("the server chose none of the offered protocols"),
    ),
    // TCP, of HAProxy and nginx.
    ("tcp = 7443", Passes),
    ("tcp = 81", Fails("connection refused")),
    ("tcp = 80\nsend = \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect = \"^HTTP/1.1 200\"", Passes),
    (
        "tcp = 80\nsend = \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect = \"^220 \"",
        Fails("answered unexpectedly: HTTP/1.1 200 OK"),
    ),
    // Programs and files.
    ("exec = [\"/bin/true\"]", Passes),
    ("exec = [\"/bin/sh\", \"-c\", \"[ $(id -un) = nobody ] && [ $ANNOUNCER_CHECK = exec ]\"]", Passes),
    ("exec = [\"/bin/sh\", \"-c\", \"echo DISK CRITICAL; exit 2\"]", Fails("exit code 2: DISK CRITICAL")),
    (
        "exec = [\"/bin/sh\", \"-c\", \"echo LOAD WARNING; exit 1\"]\nexit_codes = \"nagios\"",
        Warns("LOAD WARNING"),
    ),
    ("exec = [\"/bin/sleep\", \"9\"]", Fails("no end of the program within 1000 ms")),
    ("exec = [\"/nowhere\"]", Fails("the program cannot be run")),
    ("file = \"/run/www.up\"", Passes),
    ("file = \"/run/www.down\"", Fails("the file is not there")),
];

/// All of them at once, each with a VIP.
pub(crate) fn kinds(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let played = with_own_configuration(scene, "fe1", || {
        certificates(scene)?;
        let run = node.root().join("run");
        std::fs::write(run.join("servers.conf"), include_str!("checks/servers.conf"))?;
        std::fs::write(run.join("servers.cfg"), include_str!("checks/haproxy.cfg"))?;
        let begin = "touch /run/www.up; /usr/sbin/nginx -c /run/servers.conf; \
                     /usr/sbin/haproxy -D -p /run/servers-haproxy.pid -f /run/servers.cfg";
        node.must(&["/bin/sh", "-ec", begin])?;
        let services: String =
            CHECKS.iter().enumerate().map(|(index, (check, _))| service(index, check)).collect();
        let first = "[[service]]\nname = \"www\"";
        configure(scene, "fe1", &[(first, &format!("{services}{first}"))])?;
        node.must(&["announcer", "reload"])?;
        let wanted: Vec<_> =
            CHECKS.iter().enumerate().map(|(index, (check, want))| (index, *check, *want)).collect();
        all_as_wanted(scene, &wanted)?;

        // A file is removed, and a certificate has expired: checks that require them fail, checks that only warn do not.
        let change = "rm /run/www.up; cp /run/expired.pem /run/good.pem; cp /run/expired.key /run/good.key; \
                      kill -HUP $(cat /run/servers.pid)";
        node.must(&["/bin/sh", "-ec", change])?;
        let after = |(index, check, want): &(usize, &'static str, ExpectedResult)| {
            let at_443 = check.contains("https://www.example.com/\"") && check.contains("ca_file");
            match want {
                Passes if check.contains("www.up") => Some((*index, *check, Fails("the file is not there"))),
                Passes if at_443 => Some((*index, *check, Fails("the certificate ended on"))),
                Warns(_) if at_443 => Some((*index, *check, Warns("the certificate ended on"))),
                Passes | Warns(_) | Fails(_) => None,
            }
        };
        let fallen: Vec<_> = wanted.iter().filter_map(after).collect();
        ensure!(fallen.len() == 3, "{} change", fallen.len());
        all_as_wanted(scene, &fallen)
    });
    let end = "for pid in /run/servers.pid /run/servers-haproxy.pid; do [ ! -e $pid ] || kill $(cat $pid); done; rm -f /run/www.up";
    node.must(&["/bin/sh", "-c", end])?;
    played
}

fn vip(index: usize) -> String {
    format!("192.0.2.{}", 100 + index)
}

fn service(index: usize, check: &str) -> String {
    let on_time = "interval = \"250ms\"\nfall = 2\n";
    format!(
        "[[service]]\nname = \"kind-{index}\"\nvips = [\"{}\"]\nflap_damping = false\n[[service.check]]\n{check}\n{on_time}\n",
        vip(index)
    )
}

/// Waits until the reasons of the VIPs and the warnings are as expected.
fn all_as_wanted(scene: &Scene, wanted: &[(usize, &str, ExpectedResult)]) -> Result<()> {
    until(PATIENCE, || {
        let status = status(scene, "fe1")?;
        let differs = |(index, check, want): &(usize, &str, ExpectedResult)| {
            let said = reason(&status, &vip(*index));
            let warnings = warnings_of(&status, *index);
            let fits = match want {
                Passes => said == "announced" && warnings.is_empty(),
                Warns(words) => said == "announced" && warnings.contains(words),
                Fails(words) => said.starts_with("not announced") && said.contains(words),
            };
            (!fits).then(|| format!("\n{check}\n  -> {said}; warnings: {warnings}"))
        };
        let differing: Vec<String> = wanted.iter().filter_map(differs).collect();
        ensure!(differing.is_empty(), "not as wanted: {}", differing.concat());
        Ok(())
    })
}

/// The warnings of `status` about one of the services.
fn warnings_of(status: &Value, index: usize) -> String {
    let warnings = status["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let name = vip(index);
    warnings.filter(|warning| warning.contains(&name)).collect::<Vec<_>>().join("; ")
}

/// Makes certificates on fe1: an authority in `/run/ca.pem`, and from it a good one, an expired one, and one for another name.
fn certificates(scene: &Scene) -> Result<()> {
    let root = scene.node("fe1")?.root().join("run");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let day = |days: i64| -> Result<OffsetDateTime> {
        Ok(OffsetDateTime::from_unix_timestamp(i64::try_from(now)? + days * 86_400)?)
    };
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "the lab's authority");
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    std::fs::write(root.join("ca.pem"), issuer.pem())?;
    for (file, name, days) in [
        ("good", "www.example.com", (-1, 30)),
        ("expired", "www.example.com", (-30, -1)),
        ("other", "other.example.com", (-1, 30)),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (day(days.0)?, day(days.1)?);
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &issuer)?.pem();
        std::fs::write(root.join(format!("{file}.pem")), &chain)?;
        std::fs::write(root.join(format!("{file}.key")), key.serialize_pem())?;
        if file == "good" {
            std::fs::write(root.join("haproxy.pem"), chain + &key.serialize_pem())?;
        }
    }
    Ok(())
}
