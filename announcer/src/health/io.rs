//! The probes: one loop per check and VIP, one file per kind, and the list of the kinds. The pure half of a kind, with the words of
//! its results, is `config/kind/NAME.rs`.
//!
//! Touches the network, processes and files: it connects to the VIPs of this host and to the targets in the configuration.

mod connect;
mod datagram;
pub mod dns;
pub mod exec;
pub mod file;
pub mod finding;
pub mod grpc;
pub mod http;
pub mod icmp;
pub mod identity;
pub mod listener;
pub mod ntp;
pub mod one_shot;
pub mod probe;
pub mod prober;
mod result;
mod stream;
pub mod tcp;
pub mod tls;
pub mod trust;
pub mod udp;

use nix::errno::Errno;

use self::prober::Prober;
use crate::config::ProbeConfig;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason};

macro_rules! kinds {
    ($($Kind:ident = $module:ident::$Probe:ident;)*) => {
        /// A prepared probe of one of the kinds.
        enum KindProbe {
            $( $Kind(Box<$module::$Probe>), )*
        }

        impl KindProbe {
            fn new(prober: &Prober, target: &Target) -> Self {
                match &target.config.probe {
                    $( ProbeConfig::$Kind(kind) => KindProbe::$Kind(Box::new($module::$Probe::of(prober, target, kind))), )*
                }
            }

            /// Each kind is boxed separately: the largest one is four times as large as the most frequent one.
            async fn probe(&self) -> Outcome {
                match self {
                    $( KindProbe::$Kind(probe) => Box::pin(probe.probe()).await, )*
                }
            }
        }
    };
}

kinds! {
    Http = http::HttpProbe;
    Tls = tls::TlsProbe;
    Tcp = tcp::TcpProbe;
    Exec = exec::ExecProbe;
    File = file::FileProbe;
    Dns = dns::DnsProbe;
    Icmp = icmp::IcmpProbe;
    Udp = udp::UdpProbe;
    Ntp = ntp::NtpProbe;
    Grpc = grpc::GrpcProbe;
}

/// A prepared probe, which can be repeated.
struct PreparedProbe {
    kind: KindProbe,
    /// The VRF to whose device its sockets are bound.
    vrf: Option<String>,
}

impl PreparedProbe {
    fn new(prober: &Prober, target: &Target) -> Self {
        let vrf = target.vrf.clone().filter(|_| target.config.probe.is_of_the_network());
        PreparedProbe { kind: KindProbe::new(prober, target), vrf }
    }

    /// Makes one probe.
    async fn probe(&self) -> Outcome {
        match (self.kind.probe().await, &self.vrf) {
            // Only SO_BINDTODEVICE says that there is no such device.
            (Outcome::Fail { reason: Reason::Os(Errno::ENODEV), took }, Some(vrf)) => {
                Outcome::Fail { reason: Reason::VrfMissing(vrf.clone()), took }
            }
            (outcome, _) => outcome,
        }
    }
}
