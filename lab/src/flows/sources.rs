//! Which address and port the next connection comes from.
//!
//! Pure.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

/// The first port; the lab's topologies let the kernel use the same ones.
const FIRST: u16 = 1024;
/// The number of ports.
const PORTS: usize = 65536 - FIRST as usize;

/// Addresses with their ports: each pair comes once before one comes again.
#[derive(Debug)]
pub(super) struct Sources {
    addresses: Vec<IpAddr>,
    next: Cell<usize>,
}

impl Sources {
    /// `first` is where to begin, so that the next run does not begin with the ports of the last one.
    pub(super) fn new(addresses: &[IpAddr], first: usize) -> Sources {
        Sources { addresses: addresses.to_vec(), next: Cell::new(first) }
    }

    /// The next one; `None`: the kernel chooses.
    pub(super) fn next(&self) -> Option<SocketAddr> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let address = *self.addresses.get(number.checked_rem(self.addresses.len())?)?;
        let port = (number / self.addresses.len()) % PORTS;
        Some(SocketAddr::new(address, FIRST + u16::try_from(port).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_pair_comes_once_before_one_comes_again() {
        let addresses = [IpAddr::from([10, 9, 0, 2]), IpAddr::from([10, 9, 0, 3])];
        let sources = Sources::new(&addresses, 12345);
        let all: BTreeSet<SocketAddr> = (0..2 * PORTS).map(|_| sources.next().unwrap()).collect();
        assert_eq!(all.len(), 2 * PORTS);
        assert!(all.iter().all(|source| source.port() >= FIRST));
        assert!(all.contains(&sources.next().unwrap()));
        assert_eq!(Sources::new(&[], 0).next(), None);
    }
}
