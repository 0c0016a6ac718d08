//! Checks of the kinds that need other sockets or files than `http`, in the sandbox of the shipped unit.

use crate::machine::Machine;

const SITES: &str = "
server {
  listen 127.0.0.1:8443 ssl;
  listen 127.0.0.1:8444 ssl proxy_protocol;
  ssl_certificate /etc/announcer/server.pem;
  ssl_certificate_key /etc/announcer/server.key;
  ssl_client_certificate /etc/announcer/ca.pem;
  ssl_verify_client on;
  location / { return 200 \"ok\\n\"; }
}
";

/// The checks of [`kinds`]: the name, its lines, and what is seen. Nothing listens at port 9 of the host.
const KINDS: [(&str, &str, &str); 10] = [
    ("echo", "icmp = 56\ntarget = \"127.0.0.1\"", "echo reply"),
    ("echo6", "icmp = 56\ntarget = \"::1\"", "echo reply"),
    ("names", "dns = \"www.example.com\"\ntarget = \"127.0.0.1:9\"", "connection refused"),
    (
        "names-tcp",
        "dns = \"www.example.com\"\ntransport = \"tcp\"\ntarget = \"127.0.0.1:9\"",
        "connection refused",
    ),
    ("datagram", "udp = 9\ntarget = \"127.0.0.1\"", "connection refused"),
    ("time", "ntp = 9\ntarget = \"127.0.0.1\"", "connection refused"),
    ("health", "grpc = \"http://www.example.com:9\"\ntarget = \"127.0.0.1\"", "connection refused"),
    (
        "client",
        "http = \"https://www.example.com:8443/\"\ntarget = \"127.0.0.1\"\nverify = \"off\"\n\
         client_certificate = \"/etc/announcer/client.pem\"\nclient_key = \"/etc/announcer/client.key\"",
        "HTTP 200",
    ),
    (
        "behind",
        "http = \"https://www.example.com:8444/\"\ntarget = \"127.0.0.1\"\nverify = \"off\"\nsend_proxy = \"v2\"\n\
         client_certificate = \"/etc/announcer/client.pem\"\nclient_key = \"/etc/announcer/client.key\"",
        "HTTP 200",
    ),
    (
        "denied",
        "http = \"https://www.example.com:8443/\"\ntarget = \"127.0.0.1\"\nverify = \"off\"\n\
         client_certificate = \"/etc/announcer/client.pem\"\nclient_key = \"/etc/announcer/root.key\"",
        "the client certificate cannot be used: `/etc/announcer/root.key`: Permission denied: the group of announcer has to be \
         able to read it (`chgrp announcer`, `chmod 640`)",
    ),
];

fn called(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(rcgen::DnType::CommonName, name);
    names
}

/// Writes the certificates of [`SITES`], and a key that only root can read.
fn certificates(machine: &Machine) {
    let put = |name: &str, text: &str| machine.write(&format!("/etc/announcer/{name}"), text);
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    // Names of their own: OpenSSL takes a certificate whose subject is its issuer for a self-signed one.
    params.distinguished_name = called("authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    put("ca.pem", &issuer.pem());
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
        params.distinguished_name = called(name);
        put(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
        put(&format!("{name}.key"), &key.serialize_pem());
    }
    machine.must(
        "cd /etc/announcer && cp client.key root.key && chmod 600 root.key server.key && chmod 640 client.key && \
         chgrp announcer client.key && chmod 644 *.pem",
    );
}

/// The kinds of checks that need other sockets or files than `http`, in the sandbox of the unit and as its user.
pub(crate) fn kinds(machine: &Machine) {
    certificates(machine);
    machine.write("/etc/nginx/conf.d/kinds.conf", SITES);
    machine.must("nginx -t && systemctl reload nginx");
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    let checks = KINDS.map(|(name, lines, _)| {
        format!(
            "[[service.check]]\nname = \"{name}\"\n{lines}\non_failure = \"warn\"\ninterval = \"200ms\"\n"
        )
    });
    machine.write("/tmp/kinds", &checks.concat());
    machine
        .must("cat /tmp/kinds >>/etc/announcer/announcer.toml && sysctl -qw 'net.ipv4.ping_group_range=1 0'");
    machine.must("systemctl restart announcer");
    let denied = "this host does not let the group of announcer ping: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`";
    machine.until("not permitted", |machine| {
        machine.run("announcer explain www").1.matches(denied).count() >= 2
    });
    machine.must("sysctl -qw 'net.ipv4.ping_group_range=0 2147483647'");
    for (name, _, seen) in KINDS {
        let heading = format!("Check `{name}` asks ");
        machine.until(name, |machine| {
            let explained = machine.run("announcer explain www").1;
            let mut lines = explained.lines().skip_while(|line| !line.trim_start().starts_with(&heading));
            lines.nth(1).is_some_and(|newest| newest.contains(seen))
        });
    }
    println!("{}", machine.run("announcer explain www").1);
    machine
        .must("cd /etc/announcer && mv before announcer.toml && rm *.pem *.key /etc/nginx/conf.d/kinds.conf");
    machine.must("systemctl reload nginx && systemctl restart announcer");
    machine.announced();
}
