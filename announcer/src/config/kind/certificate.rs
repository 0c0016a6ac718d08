//! How the certificate of a server is verified: the keys that the kinds with TLS share, and the flaws of a certificate.
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
    /// How the certificate of a server is verified.
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
    }
}

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

    /// Records an error for keys that contradict each other.
    pub(super) fn judge(&self, faults: &mut Vec<Fault>) {
        let off = self.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Off);
        if let (Some(off), Some(ca_file)) = (off, &self.ca_file) {
            let help = "write `verify = \"warn\"` or `\"require\"`, or leave it out";
            let fault =
                Fault::new(ca_file.span(), "`ca_file` has no effect if certificates are not verified", help);
            faults.push(fault.beside(off.span(), "switched off here"));
        }
    }

    /// Checks the `ca_file`, if the check always fails without it.
    pub(super) fn look(&self, look: &dyn Fn(&Path) -> Result<(), String>, faults: &mut Vec<Fault>) {
        let require = self.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Require);
        let (Some(require), Some(ca_file)) = (require, &self.ca_file) else { return };
        if let Err(why) = look(ca_file.get_ref()) {
            let message = format!("there are no trusted certificates: {why}");
            let help = "write the path of a file with certificates in PEM, or `verify = \"warn\"`";
            let fault = Fault::new(ca_file.span(), message, help);
            faults.push(fault.beside(require.span(), "so the check always fails"));
        }
    }
}
