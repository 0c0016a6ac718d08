//! The rules of nftables that forward packets, as text.
//!
//! Pure.
