//! The ring: who forwards to whom.
//!
//! Pure.
