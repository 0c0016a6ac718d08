//! The BGP speaker: pure machine and codec here, sockets below `io/`.
