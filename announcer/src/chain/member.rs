//! What this host knows of one other member.
//!
//! Pure.
