//! The digest of a configuration's files, by which hosts with different files are found.
//!
//! Pure.

use std::fmt;

use ring::digest::{Context, SHA256};

/// The SHA-256 of the octets of a configuration's files, one after the other, as `cat FILES | sha256sum` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigDigest([u8; 32]);

impl ConfigDigest {
    /// Of these octets.
    pub fn of(octets: &[u8]) -> Self {
        Self::of_parts([octets])
    }

    /// Of these octets, one after the other.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        parts.into_iter().for_each(|part| context.update(part));
        let mut digest_of = [0; 32];
        digest_of.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        ConfigDigest(digest_of)
    }
}

impl fmt::Display for ConfigDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ConfigDigest::of(b"abc").to_string(), want, "FIPS 180-4");
        assert_eq!(ConfigDigest::of_parts([&b"a"[..], b"bc"]), ConfigDigest::of(b"abc"));
        assert_ne!(ConfigDigest::of(b"abd"), ConfigDigest::of(b"abc"));
    }
}
