//! How the certificate of a server is verified, and our own certificate: the keys that the kinds with TLS share, and the flaws of a
//! certificate.
//!
//! Pure. The words of the results are in [`super::handshake`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value as Toml;

use super::super::error::Fault;
use super::super::reader::{PresentKeys, Table};
use super::super::table::table;
use super::super::value::{Value, ValueError, YEAR, path, text, within, wrong};
use super::super::writer::{self, ToToml};

mod flaw;

pub use flaw::{Date, Flaw};

table! {
    /// How the certificate of a server is verified, and which one it gets.
    pub struct CertificateConfig as Written {
        /// The effect of a wrong certificate.
        verify: one Verify, default "\"warn\"", verify,
            "TLS: the effect of a certificate with a wrong chain, name or dates: `warn`, `require` (the probe fails) or `off`";
        /// The file of the trusted certificates; `None`: those that the host trusts.
        ca_file: one PathBuf, optional "\"/etc/announcer/ca.pem\"", path,
            "TLS: the file of the trusted certificates, in PEM; without it, those that the host trusts. With `verify = \"require\"` a file that cannot be used is logged at the start and stops a reload";
        /// A certificate that ends within this time is warned about, whatever `verify` is; zero: never.
        expires_within("cert_expires_within"): one Duration, default "\"14days\"", within(Duration::ZERO..=YEAR * 10),
            "TLS: warn of a certificate that ends within this time, and never fail; 0s (never) to 10years";
        /// The file of our own certificate; `None`: we have none. It is there if and only if `client_key` is.
        client_certificate: one PathBuf, optional "\"/etc/announcer/client.pem\"", path,
            "TLS: the file of announcer's own certificate, for servers that require one of their clients: in PEM, followed by its intermediate certificates; needs `client_key`. A file that cannot be used is logged at the start and stops a reload";
        /// The file of its private key.
        client_key: one PathBuf, optional "\"/etc/announcer/client.key\"", path,
            "TLS: the file of the private key of `client_certificate`, in PEM without a passphrase; others should not be able to read it";
    }
}

impl CertificateConfig {
    /// The files of our own certificate; `None`: we have none.
    pub fn client_files(&self) -> Option<ClientFiles> {
        let (certificate, key) = (self.client_certificate.clone()?, self.client_key.clone()?);
        Some(ClientFiles { certificate, key })
    }
}

/// The files of our own certificate, for servers that require one of their clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientFiles {
    /// The certificate, and the intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Files that a check needs, beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckFiles {
    /// The trusted certificates, of a check with `verify = "require"`.
    CaFile(PathBuf),
    /// Our own certificate and its key.
    Client(ClientFiles),
}

impl CheckFiles {
    /// One of the files.
    pub fn path(&self) -> &Path {
        match self {
            CheckFiles::CaFile(file) => file,
            CheckFiles::Client(files) => &files.key,
        }
    }
}

/// Returns the problem with the files of a check.
pub type LookAtFiles<'a> = &'a dyn Fn(&CheckFiles) -> Result<(), String>;

/// `verify`: the effect of a certificate whose chain, name or dates are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// The probe passes with a warning. All hosts often share one certificate, and otherwise they would all withdraw at the same
    /// time.
    Warn,
    /// The probe fails.
    Require,
    /// There is no effect.
    Off,
}

impl ToToml for Verify {
    fn to_toml(&self) -> Toml {
        writer::text(match self {
            Verify::Warn => "warn",
            Verify::Require => "require",
            Verify::Off => "off",
        })
    }
}

fn verify(value: &Value<'_>) -> Result<Verify, ValueError> {
    match text(value)? {
        "warn" => Ok(Verify::Warn),
        "require" => Ok(Verify::Require),
        "off" => Ok(Verify::Off),
        other => wrong(
            format!("`{}` is not a value of `verify`", other.escape_debug()),
            "write `\"warn\"`, `\"require\"` or `\"off\"`",
        ),
    }
}

/// Records an error for each of these keys that is written although the server's URL at `url` begins with `http://`; `label`: what
/// stands there.
pub(super) fn without_tls(
    present: &PresentKeys,
    url: &Range<usize>,
    label: &'static str,
    help: &str,
    faults: &mut Vec<Fault>,
) {
    for key in Written::KEYS {
        let Some(place) = present.place(key.name) else { continue };
        let message = format!("`{}` is not allowed with `http://`", key.name);
        faults.push(Fault::new(place, message, help).beside(url.clone(), label));
    }
}

impl Written {
    /// Takes back a default `ca_file` if certificates are not verified.
    pub(super) fn fit(&mut self, table: &Table<'_>) {
        if self.verify.as_ref().is_some_and(|verify| *verify.get_ref() == Verify::Off) {
            table.own_only("ca_file", &mut self.ca_file);
        }
    }

    /// Records an error for keys that contradict each other, and for a key that is missing.
    pub(super) fn judge(&self, present: &PresentKeys, faults: &mut Vec<Fault>) {
        let (certificate, key) = (&self.client_certificate, &self.client_key);
        match (certificate, key) {
            (Some(certificate), None) if !present.has("client_key") => {
                let message = "`client_certificate` needs `client_key`, the file of its private key";
                let help = "add a line such as `client_key = \"/etc/announcer/client.key\"`";
                faults.push(Fault::new(certificate.span(), message, help).absence());
            }
            (None, Some(key)) if !present.has("client_certificate") => {
                let message = "`client_key` needs `client_certificate`, the file of its certificate";
                let help = "add a line such as `client_certificate = \"/etc/announcer/client.pem\"`";
                faults.push(Fault::new(key.span(), message, help).absence());
            }
            (Some(_) | None, _) => {}
        }
        let off = self.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Off);
        if let (Some(off), Some(ca_file)) = (off, &self.ca_file) {
            let help = "write `verify = \"warn\"` or `\"require\"`, or leave it out";
            let fault =
                Fault::new(ca_file.span(), "`ca_file` has no effect if certificates are not verified", help);
            faults.push(fault.beside(off.span(), "switched off here"));
        }
    }

    /// Checks the `ca_file`, if the check always fails without it, and the files of our own certificate.
    pub(super) fn look(&self, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            let files =
                ClientFiles { certificate: certificate.get_ref().clone(), key: key.get_ref().clone() };
            if let Err(why) = look(&CheckFiles::Client(files)) {
                let message = format!("the client certificate cannot be used: {why}");
                let help = "write the paths of a certificate and of its key, both in PEM";
                let fault = Fault::new(certificate.span(), message, help);
                faults.push(fault.beside(key.span(), "its key"));
            }
        }
        let require = self.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Require);
        let (Some(require), Some(ca_file)) = (require, &self.ca_file) else { return };
        if let Err(why) = look(&CheckFiles::CaFile(ca_file.get_ref().clone())) {
            let message = format!("there are no trusted certificates: {why}");
            let help = "write the path of a file with certificates in PEM, or `verify = \"warn\"`";
            let fault = Fault::new(ca_file.span(), message, help);
            faults.push(fault.beside(require.span(), "so the check always fails"));
        }
    }
}
