//! BFD: asks a router several times a second whether it still forwards packets, and answers its questions (RFC 5880, 5881, 5883).
//!
//! [`packet`] and [`fsm`] are pure. Only [`io`] has sockets and a thread. Nothing here knows BGP: the daemon joins both.

pub mod fsm;
pub mod io;
pub mod packet;
pub mod status;
