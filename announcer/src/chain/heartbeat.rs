//! The datagram that the members of a chain send to each other.
//!
//! Pure.
